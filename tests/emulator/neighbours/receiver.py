"""Owns a web server that receives what SNS posts, and the check of a signature as a subscriber makes it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.e2e.running import until


@dataclass
class Receiver:
    """What came, and with which status it is answered: the first of `statuses` once each, then 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    posts: list[tuple[dict[str, str], str]] = field(default_factory=list)

    def wait(self, number: int) -> list[tuple[dict[str, str], str]]:
        """Wait until so many posts have come."""
        until(lambda: len(self.posts) >= number)
        return self.posts

    def notice(self, number: int) -> dict[str, Any]:
        """Wait for the post of this number (from 1) and read it."""
        found: dict[str, Any] = json.loads(self.wait(number)[number - 1][1])
        return found


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port of the loopback."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            made.posts.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(made.statuses.pop(0) if made.statuses else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}/hook?x=1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def verify(notice: dict[str, Any]) -> None:
    """Verify a notice by Amazon's page on it, with the certificate that the notice names; raises if it is not genuine."""
    names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    if notice["Type"] != "Notification":
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    text = "".join(f"{name}\n{notice[name]}\n" for name in names if name in notice)
    with urlopen(notice["SigningCertURL"], timeout=10) as answer:
        certificate = x509.load_pem_x509_certificate(answer.read())
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    digest = {"1": hashes.SHA1, "2": hashes.SHA256}[notice["SignatureVersion"]]()
    key.verify(base64.b64decode(notice["Signature"]), text.encode(), padding.PKCS1v15(), digest)
