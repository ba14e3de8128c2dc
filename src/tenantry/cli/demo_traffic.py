"""Owns the tenants' applications in the demo, as a process of its own: unmodified boto3 and plain HTTP that send mail.

Leaves who sends what to the process that starts it: a Mailing as JSON on each line of standard input starts one, a
line `{"stop": name}` ends one; each answer is written as a line of JSON. It ends with its input.
"""

from __future__ import annotations

import json
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from functools import cache
from itertools import count, cycle
from typing import TYPE_CHECKING, TextIO

import boto3

from tenantry.cli.api import Api
from tenantry.cli.demo_cast import Mailing, read
from tenantry.cli.document import Document, Json
from tenantry.cli.failure import Failure
from tenantry.cli.profile import Profile

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client
    from mypy_boto3_sesv2.type_defs import MessageTypeDef

Sent = dict[str, str]
"""What one call came to: the message's id and any hold, or an error."""

PIXEL = b64encode(b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,").decode()


def run(lines: TextIO, out: TextIO) -> None:
    """Play until the input ends, then wait for what is on its way."""
    lock, stops, threads = threading.Lock(), dict[str, threading.Event](), list[threading.Thread]()

    def tell(name: str, sent: Sent) -> None:
        with lock:
            out.write(json.dumps({"mailing": name, **sent}) + "\n")
            out.flush()

    for line in lines:
        asked = read(line)
        if isinstance(asked, str):
            stops[asked].set()
            continue
        stops[asked.name] = threading.Event()
        threads.append(threading.Thread(target=_play, args=(asked, stops[asked.name], tell), daemon=True))
        threads[-1].start()
    for stop in stops.values():
        stop.set()
    for thread in threads:
        thread.join(10.0)


def _play(mailing: Mailing, stop: threading.Event, tell: Callable[[str, Sent], None]) -> None:
    try:
        _send_all(mailing, stop, lambda sent: tell(mailing.name, sent))
    finally:
        tell(mailing.name, {"done": "yes"})


def _send_all(mailing: Mailing, stop: threading.Event, tell: Callable[[Sent], None]) -> None:
    send = _wire(mailing) if mailing.door == "wire" else _rest(mailing)
    for number, to in zip(range(mailing.count) if mailing.count else count(), _people(mailing), strict=False):
        try:
            sent = send(number, to)
        except Failure as failure:
            sent = {"error": f"{failure.word}: {failure.message}"}
        tell(sent)
        if (mailing.stops_when_held and sent.get("hold") == "paused") or stop.wait(1 / mailing.per_second):
            break


def _people(mailing: Mailing) -> Iterator[str]:
    if mailing.addresses:
        return cycle(mailing.addresses)
    return (f"{mailing.name}-{number}@{domain}" for number, domain in enumerate(cycle(mailing.domains)))


@cache
def _session() -> boto3.Session:
    return boto3.Session()


_making = threading.Lock()  # making a client is the one thing in boto3 that threads may not do side by side


def _client(mailing: Mailing) -> SESV2Client:
    with _making:
        return _session().client(
            "sesv2",
            region_name="us-east-1",
            endpoint_url=mailing.url,
            aws_access_key_id=mailing.key_id,
            aws_secret_access_key=mailing.secret,
        )


def _wire(mailing: Mailing) -> Callable[[int, str], Sent]:
    """Send as an application does that was written for Amazon SES: every other message as raw MIME."""
    client = _client(mailing)

    def send(number: int, to: str) -> Sent:
        try:
            if number % 2:
                raw = _mime(mailing, number, to).as_bytes()
                answer = client.send_email(ConfigurationSetName=mailing.stream, Content={"Raw": {"Data": raw}})
            else:
                answer = client.send_email(
                    ConfigurationSetName=mailing.stream,
                    FromEmailAddress=mailing.sender,
                    Destination={"ToAddresses": [to]},
                    Content={"Simple": _simple(mailing, number)},
                )
        except client.exceptions.ClientError as error:
            return {"error": str(error)}
        return {"id": answer["MessageId"]}

    return send


def _simple(mailing: Mailing, number: int) -> MessageTypeDef:
    return {
        "Subject": {"Data": f"{mailing.subject} {number}"},
        "Body": {"Text": {"Data": _text(mailing)}, "Html": {"Data": _html(mailing)}},
    }


def _rest(mailing: Mailing) -> Callable[[int, str], Sent]:
    """Send as an application does that was written for the REST door."""
    api = Api(Profile(mailing.url, f"{mailing.key_id}.{mailing.secret}"))

    def send(number: int, to: str) -> Sent:
        body: dict[str, Json] = {
            "from": mailing.sender,
            "to": [to],
            "subject": f"{mailing.subject} {number}",
            "text": _text(mailing),
            "html": _html(mailing),
            "stream": mailing.stream,
        }
        if number % 4 == 0:
            body["attachments"] = [{"filename": "logo.gif", "content": PIXEL, "content_type": "image/gif"}]
        answer: Document = api.post("/v1/messages", body)
        return {"id": answer.text("id"), "hold": answer.text("hold")}

    return send


def _mime(mailing: Mailing, number: int, to: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = mailing.sender, to, f"{mailing.subject} {number}"
    message.set_content(_text(mailing))
    message.add_alternative(_html(mailing), subtype="html")
    message.add_attachment(b"%PDF-1.4 demo", maintype="application", subtype="pdf", filename="details.pdf")
    return message


def _text(mailing: Mailing) -> str:
    return f"Hello,\n\nhere is your {mailing.subject}. Grüße\n"


def _html(mailing: Mailing) -> str:
    return f"<p>Hello,</p><p>here is your <b>{mailing.subject}</b>. Grüße</p>"


if __name__ == "__main__":
    run(sys.stdin, sys.stdout)
