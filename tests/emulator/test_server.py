"""The shell of the local SES: raw HTTP, the queue's protocol, the admin API, settings."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from tenantry.emulator import Options, RecipientRule, running
from tenantry.emulator.scripts import rules_from_file
from tests.emulator.worlds import World, world

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/ses/aws4_request, Signature=x"}


@pytest.fixture
def ses() -> Iterator[World]:
    with world() as made:
        made.sender()
        yield made


def http(
    url: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, Any]:
    """Ask by plain HTTP; return status, headers and the JSON body."""
    try:
        with urlopen(Request(url, body, SIGNED if headers is None else headers, method=method), timeout=10) as answer:
            return answer.status, answer.headers, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, error.headers, json.load(error)


def test_both_generations_of_the_list_calls_answer(ses: World) -> None:
    """An SDK that GETs the List calls and one that POSTs them get the same."""
    for get, post, key in (
        ("identities", "list-identities", "EmailIdentities"),
        ("configuration-sets", "list-configuration-sets", "ConfigurationSets"),
    ):
        base = f"{ses.local.url}/v2/email"
        answers = [http(f"{base}/{get}?PageSize=5"), http(f"{base}/{post}", "POST", b'{"PageSize": 5}')]
        assert [status for status, _, _ in answers] == [200, 200]
        assert answers[0][2] == answers[1][2]
        assert len(answers[0][2][key]) == 1


def test_times_are_numbers_and_ids_are_there(ses: World) -> None:
    """SDKs that read only numbers as times, and the request id from its header, are served."""
    status, headers, body = http(f"{ses.local.url}/v2/email/tenants/get", "POST", b'{"TenantName": "acme"}')
    assert status == 200
    assert headers["x-amzn-requestid"]
    assert isinstance(body["Tenant"]["CreatedTimestamp"], float)


@pytest.mark.parametrize(
    ("path", "method", "body", "headers", "status", "code"),
    [
        ("v2/email/nothing", "GET", None, None, 404, "UnknownOperationException"),
        ("v2/email/account", "DELETE", None, None, 404, "UnknownOperationException"),
        ("v2/email/account", "GET", None, {}, 403, "MissingAuthenticationTokenException"),
        ("v2/email/tenants", "POST", b"{", None, 400, "SerializationException"),
        ("v2/email/tenants", "POST", b"{}", None, 400, "BadRequestException"),
        ("v2/email/deliverability-dashboard/campaigns/c-1", "GET", None, None, 400, "UnsupportedOperation"),
        ("", "POST", b"{}", {**SIGNED, "X-Amz-Target": "AmazonSQS.Nothing"}, 404, "UnknownOperationException"),
        ("", "POST", b"{}", {**SIGNED, "X-Amz-Target": "AmazonSQS.PurgeQueue"}, 400, "InvalidParameterValue"),
    ],
)  # fmt: skip
def test_errors_have_type_and_request_id(
    ses: World, path: str, method: str, body: bytes | None, headers: dict[str, str] | None, status: int, code: str
) -> None:
    """Whatever is wrong, the answer has the error type in header and body and a request id."""
    answer = http(f"{ses.local.url}/{path}", method, body, headers)
    assert answer[0] == status
    assert answer[1]["x-amzn-errortype"] == answer[2]["__type"] == code
    assert answer[1]["x-amzn-requestid"]
    assert answer[2]["message"]


def test_a_received_message_is_invisible_until_its_time(ses: World) -> None:
    """A message comes back after its visibility timeout with a new receipt, and the old receipt deletes nothing."""
    ses.send("bounce@simulator.amazonses.com")
    ask = {"QueueUrl": ses.local.queue_url, "MaxNumberOfMessages": 10}
    first = ses.sqs.receive_message(**ask, VisibilityTimeout=1, AttributeNames=["All"])["Messages"]
    assert len(first) == 2
    assert "Messages" not in ses.sqs.receive_message(**ask)
    again = ses.sqs.receive_message(**ask, WaitTimeSeconds=5, AttributeNames=["ApproximateReceiveCount"])["Messages"]
    assert {each["MessageId"] for each in again} == {each["MessageId"] for each in first}
    assert {each["Attributes"]["ApproximateReceiveCount"] for each in again} == {"2"}
    ses.sqs.delete_message(QueueUrl=ses.local.queue_url, ReceiptHandle=first[0]["ReceiptHandle"])
    assert depth(ses) == (0, 2)
    for each in again:
        ses.sqs.delete_message(QueueUrl=ses.local.queue_url, ReceiptHandle=each["ReceiptHandle"])
    assert depth(ses) == (0, 0)


def depth(ses: World) -> tuple[int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = ses.sqs.get_queue_attributes(QueueUrl=ses.local.queue_url, AttributeNames=names)
    return tuple(int(answer["Attributes"][name]) for name in names)


def test_batches_delete_what_they_can(ses: World) -> None:
    """A batch tells entry by entry what was deleted; more than ten, none, or equal ids are refused."""
    ses.send()
    url = ses.local.queue_url
    (message,) = ses.sqs.receive_message(QueueUrl=url)["Messages"]
    entries = [{"Id": "good", "ReceiptHandle": message["ReceiptHandle"]}, {"Id": "bad", "ReceiptHandle": "x"}]
    answer = ses.sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == ["good"]
    assert [(each["Id"], each["SenderFault"]) for each in answer["Failed"]] == [("bad", True)]
    for wrong, code in (
        ([{"Id": str(number), "ReceiptHandle": "x"} for number in range(11)], "TooManyEntriesInBatchRequest"),
        ([], "EmptyBatchRequest"),
        ([{"Id": "a", "ReceiptHandle": "x"}] * 2, "BatchEntryIdsNotDistinct"),
    ):
        with pytest.raises(ClientError, match=code):
            ses.sqs.delete_message_batch(QueueUrl=url, Entries=wrong)


def test_queue_is_found_by_name(ses: World) -> None:
    """The queue has its fixed name and a URL on this server; another name does not exist."""
    url = ses.sqs.get_queue_url(QueueName="tenantry-events")["QueueUrl"]
    assert url == f"{ses.local.url}/123456789012/tenantry-events" == ses.local.queue_url
    assert ses.sqs.list_queues()["QueueUrls"] == [url]
    with pytest.raises(ses.sqs.exceptions.QueueDoesNotExist):
        ses.sqs.get_queue_url(QueueName="other")
    with pytest.raises(ClientError, match="MaxNumberOfMessages"):
        ses.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=11)


def test_a_long_poll_ends_when_something_arrives(ses: World) -> None:
    """A waiting receive is answered by the next event, long before its wait is over."""
    got: list[Any] = []

    def poll() -> None:
        got.append(ses.sqs.receive_message(QueueUrl=ses.local.queue_url, WaitTimeSeconds=15, MaxNumberOfMessages=10))

    thread = threading.Thread(target=poll)
    thread.start()
    ses.send()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert got[0]["Messages"]


def test_a_long_poll_ends_when_its_caller_hangs_up(ses: World) -> None:
    """A caller that hung up takes no message: the next one gets it, not only when it would come back."""
    address = urlsplit(ses.local.url)
    body = json.dumps({"QueueUrl": ses.local.queue_url, "WaitTimeSeconds": 20, "VisibilityTimeout": 600}).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: {SIGNED['Authorization']}\r\n"
        f"X-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(3):
        with socket.create_connection((address.hostname, address.port)) as caller:
            caller.sendall(head.encode() + body)
            ses.admin("health")  # answered after the poll has begun
    ses.send()
    for _ in range(10):
        ses.admin("health")  # time for whoever would still take something
    assert depth(ses) == (2, 0)  # Send and Delivery, in nobody's hands


def test_a_receive_that_does_not_wait_is_answered_at_once(ses: World) -> None:
    """No wait is asked for and none is made, though the queue is empty."""
    assert "Messages" not in ses.sqs.receive_message(QueueUrl=ses.local.queue_url, WaitTimeSeconds=0)


def test_a_server_stops_although_somebody_polls() -> None:
    """Stopping answers the long polls that wait."""
    with world() as ses:
        thread = threading.Thread(
            target=ses.sqs.receive_message, kwargs={"QueueUrl": ses.local.queue_url, "WaitTimeSeconds": 20}
        )
        thread.start()
        while ses.admin("health")["status"] != "ok":
            pass
    thread.join(timeout=8)
    assert not thread.is_alive()


def test_every_call_is_written_down(ses: World) -> None:
    """Calls have operation, time below a millisecond, status and key; SendEmail also set, tenant and tags."""
    message_id = ses.send(EmailTags=[{"Name": "k", "Value": "v"}])
    with pytest.raises(ClientError):
        ses.send(TenantName="nobody")
    good, bad = ses.admin("calls?operation=SendEmail")["calls"]
    assert (good["status"], good["key_id"], good["message_id"]) == (200, "AKIDEXAMPLE", message_id)
    assert (good["configuration_set"], good["tenant"], good["tags"]) == ("acme-set", "acme", {"k": "v"})
    assert (bad["status"], bad["error"], bad["message_id"]) == (404, "NotFoundException", None)
    assert good["time"] < bad["time"]
    assert len(good["at"].partition(".")[2]) == len("123456+00:00")
    assert ses.admin(f"calls?operation=SendEmail&since={bad['time']}")["calls"] == [bad]
    assert len(ses.admin("calls?limit=3")["calls"]) == 3


def test_messages_are_filtered(ses: World) -> None:
    """Delivered mail is found by recipient, tenant, set, time and number."""
    ids = [ses.send(f"u{number}@x.example") for number in range(4)]
    ses.send("bcc@x.example", TenantName=None)
    found = ses.admin("messages?tenant=acme")["messages"]
    assert [each["message_id"] for each in found] == ids
    assert [each["message_id"] for each in ses.admin("messages?to=U2@x.example")["messages"]] == [ids[2]]
    assert [each["message_id"] for each in ses.admin("messages?tenant=acme&limit=1")["messages"]] == [ids[3]]
    assert len(ses.admin("messages?configuration_set=acme-set")["messages"]) == 5
    assert ses.admin(f"messages?since={found[3]['time']}")["messages"][0]["message_id"] == ids[3]
    with pytest.raises(HTTPError, match="400") as caught:
        ses.admin("messages?since=yesterday")
    caught.value.close()


def test_the_ledger_is_bounded() -> None:
    """Only the latest calls and messages are kept, and contents of fewer; the totals go on."""
    with world(ledger_max=5, ledger_contents_max=2) as ses:
        ses.sender()
        for number in range(8):
            ses.send(f"u{number}@x.example")
        answer = ses.admin("messages")
        assert answer["total"] == 8
        assert [each["to"][0][:2] for each in answer["messages"]] == ["u3", "u4", "u5", "u6", "u7"]
        assert [each["content"] is not None for each in answer["messages"]] == [False, False, False, True, True]
        assert len(ses.admin("calls")["calls"]) == 5


def test_options_change_at_run_time(ses: World) -> None:
    """Rate, rules and latency are changed while it runs; what cannot be changed is refused and changes nothing."""
    answer = ses.admin("options", {"max_send_rate": 1, "recipients": ["bad.example:bounce=1"], "latency_seconds": 0.01})
    assert answer["max_send_rate"] == 1.0
    ses.send("a@bad.example")
    assert ses.kinds() == ["Send", "Bounce"]
    with pytest.raises(ses.ses.exceptions.TooManyRequestsException):
        ses.send("a@bad.example")
    for wrong in (
        {"region": "eu-west-1"},
        {"max_send_rate": -1},
        {"recipients": ["x:bounce=2"]},
        {"sandbox": "x", "seed": 1},
    ):
        with pytest.raises(HTTPError, match="400") as caught:
            ses.admin("options", wrong)
        caught.value.close()
    assert ses.admin("options")["max_send_rate"] == 1.0


def test_the_account_is_stopped_and_started_at_run_time(ses: World) -> None:
    """Amazon's stop and the owner's own answer each send with its error and show in GetAccount; nonsense changes nothing."""
    assert ses.admin("account") == {"sending_enabled": True, "enforcement": "HEALTHY"}
    ses.admin("account", {"enforcement": "SHUTDOWN"})
    with pytest.raises(ses.ses.exceptions.AccountSuspendedException):
        ses.send()
    account = ses.ses.get_account()
    assert (account["SendingEnabled"], account["EnforcementStatus"]) == (False, "SHUTDOWN")
    ses.admin("account", {"sending_enabled": False, "enforcement": "PROBATION"})
    with pytest.raises(ses.ses.exceptions.SendingPausedException):
        ses.send()
    for wrong in ({"enforcement": "BORED"}, {"sending_enabled": "no"}, {"enabled": True}):
        with pytest.raises(HTTPError, match="400") as caught:
            ses.admin("account", wrong)
        caught.value.close()
    assert ses.admin("account", {"sending_enabled": True}) == {"sending_enabled": True, "enforcement": "PROBATION"}
    ses.send()


def test_state_is_summarised(ses: World) -> None:
    """One page tells what the account has."""
    ses.send()
    state = ses.admin("state")
    assert state["tenants"][0]["name"] == "acme"
    assert len(state["tenants"][0]["resources"]) == 2
    assert state["configuration_sets"][0]["event_destinations"] == ["feed"]
    assert state["identities"] == [{"name": "acme.example", "status": "SUCCESS"}]
    assert state["queue"]["visible"] == 2
    assert state["messages"] == 1


async def test_it_runs_beside_a_program() -> None:
    """The async form serves while the block runs and is gone after it."""
    async with running(Options()) as url:
        status, _, body = await asyncio.to_thread(http, f"{url}/_local/health")
        assert (status, body["status"]) == (200, "ok")
    with pytest.raises(URLError):
        await asyncio.to_thread(urlopen, f"{url}/_local/health", None, 2)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("rotten.example:bounce=0.3,complaint=0.01,delay=0.2",
         RecipientRule("rotten.example", bounce=0.3, complaint=0.01, delay_seconds=0.2)),
        ("*:soft_bounce=1,defer=0.5", RecipientRule("*", soft_bounce=1.0, defer=0.5)),
        ("Good.example", RecipientRule("good.example")),
    ],
)  # fmt: skip
def test_rules_are_read_from_text(text: str, rule: RecipientRule) -> None:
    """The flag's form is read to a rule."""
    assert RecipientRule.from_text(text) == rule


@pytest.mark.parametrize("text", ["", ":bounce=1", "a:bounce", "a:bounce=x", "a:bounce=2", "a:jump=1", "a:delay=-1",
                                  "a:bounce=0.6,soft_bounce=0.6", "a:bounce=nan"])  # fmt: skip
def test_odd_rules_are_refused(text: str) -> None:
    """A rule that cannot be meant is a ValueError with a sentence."""
    with pytest.raises(ValueError, match=r"."):
        RecipientRule.from_text(text)


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    """A JSON file holds a list of rules, with the same names."""
    file = tmp_path / "rules.json"
    file.write_text('[{"pattern": "rotten.example", "bounce": 0.3, "delay": 1}]')
    assert rules_from_file(file) == (RecipientRule("rotten.example", bounce=0.3, delay_seconds=1.0),)
    file.write_text("{}")
    with pytest.raises(ValueError, match="list"):
        rules_from_file(file)


@pytest.mark.parametrize("wrong", [{"account_id": "12"}, {"max_send_rate": 0}, {"latency_seconds": -1}])
def test_odd_options_are_refused(wrong: dict[str, Any]) -> None:
    """Options that cannot be meant are a ValueError."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)
