"""Owns values generated from botocore's shapes, and real requests of boto3 that carry them; leaves the claims to tests."""

from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.loaders import Loader
from botocore.model import Shape

SAMPLES = {
    "^[a-zA-Z0-9+\\/]+={0,2}$": "YWJj",
    "^[!-9;-@A-~]+$": "X-Header",
    "arn:[\\w+=/,.@-]+:[\\w+=/,.@-]+:[\\w+=/,.@-]*:[0-9]+:certificate/[\\w+=,.@-]+": "arn:aws:acm:eu-west-1:1:certificate/a",
    "^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\\-]*[a-zA-Z0-9]))$": "selector1",
    "arn:(aws|aws-[a-z-]+):ses:[a-z]{2,4}-[a-z-]+-[0-9]:[0-9]{1,20}:mailmanager-archive/a-[a-z0-9]{24,62}": (
        "arn:aws:ses:eu-west-1:1:mailmanager-archive/a-" + "a" * 24
    ),
    "^(.+)@(.+)$": "a+b@example.com",
    "^[\\w\\-_]+$": "name-1",
    "^^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$": "YWJjZA==",
    "^s3:\\/\\/([^\\/]+)\\/(.*?([^\\/]+)\\/?)$": "s3://bucket/key",
    "^(([^:/?#]+):)?(//([^/?#]*))?([^?#]*)(\\?([^#]*))?(#(.*))?": "https://example.com/",
    "[ -~]*": "plain text",
}
UNSENDABLE = {"EndpointId"}  # sends boto3 to another host, with a signer that is not installed
TEXTS = ("a", "arn:aws:ses:eu-west-1:123456789012:identity/a b+c@example.com", "Grüße/%2F?&=#", '日本 \\ "')


def model(service: str) -> dict[str, Any]:
    """Return botocore's model of a service as a plain dict."""
    return Loader().load_service_model(service, "service-2")


def value(shape: Shape, random: Random, depth: int = 0) -> Any:
    """Return a value that fits the shape, as boto3 takes and gives it."""
    match shape.type_name:
        case "structure":
            return structure(shape, random, depth)
        case "list":
            most = max(shape.metadata.get("min", 0), random.randint(1, 1 if depth > 4 else 2))
            most = min(shape.metadata.get("max", most), most)
            return [value(shape.member, random, depth + 1) for _ in range(most)]
        case "map":
            return {value(shape.key, random, depth + 1): value(shape.value, random, depth + 1)}
        case "string":
            return text(shape, random)
        case "integer" | "long":
            return random.randint(shape.metadata.get("min", 0), shape.metadata.get("max", 1000))
        case "float" | "double":
            return random.randint(0, 1000) / 8
        case "boolean":
            return random.random() < 0.5
        case "timestamp":
            return datetime.fromtimestamp(random.randint(0, 2**31), UTC)
        case "blob":
            return random.randbytes(random.randint(0, 20))
    raise AssertionError(shape.type_name)


def structure(shape: Shape, random: Random, depth: int) -> dict[str, Any]:
    """Return a structure with its required members and some of the others."""
    if shape.is_tagged_union:
        name = random.choice(list(shape.members))
        return {name: value(shape.members[name], random, depth + 1)}
    likely = 0.7 if depth < 5 else 0.0
    return {
        name: value(member, random, depth + 1)
        for name, member in shape.members.items()
        if name in shape.required_members or (name not in UNSENDABLE and random.random() < likely)
    }


def text(shape: Shape, random: Random) -> str:
    """Return a text within the shape's length, enum and pattern."""
    if shape.enum:
        return random.choice(shape.enum)
    if pattern := shape.metadata.get("pattern"):
        return SAMPLES[pattern]
    low, high = shape.metadata.get("min", 1), shape.metadata.get("max", 10_000)
    return random.choice(TEXTS).ljust(low, "x")[:high]


class Wiretap:
    """A boto3 client whose requests are caught before they leave, and answered with what is set."""

    def __init__(self, service: str) -> None:
        self.client = boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url="http://ses.invalid",
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"{}")
        self.request: Any = None
        self.client.meta.events.register("before-send", self._catch)

    def _catch(self, request: Any, **_: Any) -> AWSResponse:
        self.request = request
        status, headers, body = self.answer
        return AWSResponse(request.url, status, headers, _Raw(body))

    def call(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """Call an operation by its API name and return its result without metadata."""
        names = self.client.meta.method_to_api_mapping
        method = next(method for method, name in names.items() if name == operation)
        result = getattr(self.client, method)(**params)
        result.pop("ResponseMetadata")
        return result

    @property
    def sent(self) -> tuple[str, str, str, bytes]:
        """Method, raw path, raw query and body of the last request."""
        url = urlsplit(self.request.url)
        body = self.request.body or b""
        return self.request.method, url.path, url.query, body.encode() if isinstance(body, str) else body


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> list[bytes]:
        return [self._body]
