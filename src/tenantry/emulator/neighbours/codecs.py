"""Owns how calls of the neighbours are read and answered: which service, operation and protocol a request is in.

Leaves parameters and XML to `wire`, and every answer to the services. A model is loaded when its service is first called.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.loaders import Loader

from tenantry.emulator.errors import SesError
from tenantry.wire.aws import Service, WireError, encode_error
from tenantry.wire.aws_query import QueryService, query_codes, sqs_query_model

# Service -> its error for parameters that do not fit its model, named as the model names it where it does.
INVALID: Mapping[str, str] = {
    "sqs": "InvalidParameterValue",
    "sns": "InvalidParameterException",
    "events": "ValidationException",
    "cloudwatch": "ValidationException",
    "sts": "ValidationError",
    "service-quotas": "ValidationException",
    "support": "ValidationException",
    "organizations": "InvalidInputException",
}
JSON_SERVICES = frozenset(INVALID) - {"sns", "sts"}
QUERY_SERVICES = frozenset({"sqs", "sns", "cloudwatch", "sts"})
TARGETS = {
    "AmazonSQS": "sqs",
    "AWSEvents": "events",
    "GraniteServiceVersion20100801": "cloudwatch",
    "ServiceQuotasV20190624": "service-quotas",
    "AWSSupport_20130415": "support",
    "AWSOrganizationsV20161128": "organizations",
}
SIGNING_NAMES = {"sqs": "sqs", "sns": "sns", "monitoring": "cloudwatch", "sts": "sts", "events": "events"}
FORM = "application/x-www-form-urlencoded"
OPEN_ACTIONS = frozenset({"ConfirmSubscription", "Unsubscribe"})  # a subscriber follows these links without a key


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it was read: whose it is and what it says, or what is wrong with it."""

    service: str
    operation: str
    params: dict[str, Any] | WireError
    is_query: bool = False


def model_of(service: str) -> dict[str, Any]:
    """Return botocore's latest model of a service, without a look at the folders of all others."""
    loader = Loader()
    latest = max(loader.list_api_versions(service, "service-2"))
    model: dict[str, Any] = loader.load_data(f"{service}/{latest}/service-2")
    return model


@cache
def json_codec(service: str) -> Service:
    """Return the JSON codec of a neighbour."""
    model = model_of(service)
    if service == "sqs":
        # ReceiveMessage takes names of message attributes where its model lists only those of queues.
        model["shapes"]["QueueAttributeName"].pop("enum", None)
    return Service(model, service, INVALID[service])


@cache
def query_codec(service: str) -> QueryService:
    """Return the query codec of a neighbour."""
    model = model_of(service)
    if service == "sqs":
        model["shapes"]["QueueAttributeName"].pop("enum", None)
        model = sqs_query_model(model)
    return QueryService(model, service, INVALID[service])


@cache
def _content_type(service: str) -> str:
    return f"application/x-amz-json-{json_codec(service).model.metadata.get('jsonVersion', '1.0')}"


@cache
def _codes(service: str) -> dict[str, str]:
    """Return the codes that JSON answers of a service which once spoke query tell beside its new names."""
    model = json_codec(service).model
    return query_codes(model) if "awsQueryCompatible" in model.metadata else {}


def read_json(target: str, body: bytes) -> Asked | None:
    """Read a call that names its operation in X-Amz-Target; None if the service is none of ours."""
    prefix, _, operation = target.partition(".")
    service = TARGETS.get(prefix)
    if service is None:
        return None
    codec = json_codec(service)
    if codec.target(target) is None:
        return Asked(
            service, operation, WireError("UnknownOperationException", f"{target} is no operation.", 404), False
        )
    return Asked(service, operation, codec.decode(operation, body), False)


def read_query(signing_name: str, path: str, form: bytes) -> Asked | None:
    """Read a form with an Action; None if the service that the signature is for speaks no query here.

    A link in a notice of SNS has no signature, and an old SDK names its queue by the path alone.
    """
    service = SIGNING_NAMES.get(signing_name, "sns" if not signing_name else "")
    if service not in QUERY_SERVICES:
        return None
    read = query_codec(service).read(form)
    if isinstance(read, WireError):
        if service == "sqs" and read.field == "QueueUrl" and path.count("/") >= 2:
            return read_query(signing_name, "/", form + b"&QueueUrl=" + path.encode())
        return Asked(service, "", read, True)
    operation, params = read
    if service == "sqs" and path.count("/") >= 2:
        params.setdefault("QueueUrl", path)
    return Asked(service, operation, params, True)


def answer(asked: Asked, result: Mapping[str, Any] | None, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of a success."""
    if asked.is_query:
        body = query_codec(asked.service).encode(asked.operation, result, request_id)
        return 200, {"content-type": "text/xml", "x-amzn-requestid": request_id}, body
    codec = json_codec(asked.service)
    return (
        200,
        {"content-type": _content_type(asked.service), "x-amzn-requestid": request_id},
        codec.encode(asked.operation, result),
    )


def refuse(asked: Asked, error: SesError, request_id: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of a service's no, in the names of the protocol."""
    if asked.is_query:
        wire = WireError(error.code, error.message, error.status)
        return query_codec(asked.service).encode_error(wire, request_id)
    status, headers, body = encode_error(error.code, error.message, error.status, request_id)
    codes = _codes(asked.service)
    if codes:
        fault = "Receiver" if status >= 500 else "Sender"
        headers["x-amzn-query-error"] = f"{codes.get(error.code, error.code)};{fault}"
    headers["content-type"] = _content_type(asked.service)
    return status, headers, body
