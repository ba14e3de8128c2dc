"""What a local SES keeps in a file: everything that an account remembers, whole, or a clear no."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tenantry.emulator import Options
from tenantry.emulator.account import Account
from tenantry.emulator.accounts import Accounts
from tenantry.emulator.kept import NOT_KEPT, OF_ACCOUNT, StateError, StateFile, _taken
from tenantry.emulator.kept_values import KeptError, from_text, to_text
from tests.emulator.worlds import FREE, World, world

NOW = 1_800_000_000.0


def filled(ses: World) -> None:
    """Make one of most things, in two accounts."""
    ses.sender()
    ses.ses.create_dedicated_ip_pool(PoolName="gold")
    ses.ses.create_email_template(
        TemplateName="welcome", TemplateContent={"Subject": "Hi", "Text": "Hi {{name}}", "Html": "<p>Hi"}
    )
    ses.ses.create_contact_list(ContactListName="readers", Topics=[])
    ses.ses.put_suppressed_destination(EmailAddress="gone@inbox.example", Reason="BOUNCE")
    ses.ses.put_configuration_set_suppression_options(ConfigurationSetName="acme-set", SuppressedReasons=["BOUNCE"])
    ses.sqs.create_queue(QueueName="dead")
    ses.sqs.create_queue(QueueName="mine", Attributes={"RedrivePolicy": _redrive("dead")})
    topic = ses.client("sns").create_topic(Name="news")["TopicArn"]
    ses.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:mine")
    ses.client("events").put_rule(Name="all", EventPattern='{"source": ["aws.ses"]}')
    ses.client("cloudwatch").put_metric_alarm(
        AlarmName="bounces", Namespace="AWS/SES", MetricName="Reputation.BounceRate", Statistic="Average",
        Period=300, EvaluationPeriods=1, Threshold=0.05, ComparisonOperator="GreaterThanThreshold",
    )  # fmt: skip
    ses.client("sesv2", key_id="111122223333", region="eu-west-1").create_email_identity(EmailIdentity="other.example")
    ses.send("ann@inbox.example", "bounce@simulator.amazonses.com")


def _redrive(name: str) -> str:
    return f'{{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:{name}", "maxReceiveCount": 3}}'


def known(ses: World) -> dict[str, Any]:
    """Return what an SDK sees of it."""
    other = ses.client("sesv2", key_id="111122223333", region="eu-west-1")
    answers = {
        "tenant": ses.ses.get_tenant(TenantName="acme"),
        "resources": ses.ses.list_tenant_resources(TenantName="acme"),
        "users": ses.ses.list_resource_tenants(ResourceArn=ses.arn("identity", "acme.example")),
        "set": ses.ses.get_configuration_set(ConfigurationSetName="acme-set"),
        "destinations": ses.ses.get_configuration_set_event_destinations(ConfigurationSetName="acme-set"),
        "identity": ses.ses.get_email_identity(EmailIdentity="acme.example"),
        "pools": ses.ses.list_dedicated_ip_pools(),
        "ips": ses.ses.get_dedicated_ips(PoolName="gold"),
        "template": ses.ses.get_email_template(TemplateName="welcome"),
        "list": ses.ses.get_contact_list(ContactListName="readers"),
        "suppressed": ses.ses.get_suppressed_destination(EmailAddress="gone@inbox.example"),
        "quota": ses.ses.get_account()["SendQuota"],
        "queues": [url.rpartition("/")[2] for url in ses.sqs.list_queues()["QueueUrls"]],
        "topics": ses.client("sns").list_topics(),
        "rules": ses.client("events").list_rules(),
        "alarms": [each["AlarmName"] for each in ses.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "elsewhere": other.list_email_identities(),
        "messages": ses.admin("messages"),
    }
    for each in answers.values():
        if isinstance(each, dict):
            each.pop("ResponseMetadata", None)
            each.pop("VerificationInfo", None)  # when it was last looked at: now
    return answers


def test_what_an_account_remembers_is_there_after_a_restart(tmp_path: Path) -> None:
    """Tenants, identities, sets, pools, templates, lists, sent mail and the neighbours' things: all as they were."""
    state = tmp_path / "ses.state"
    with world(state=state) as ses:
        filled(ses)
        before = known(ses)
    assert state.stat().st_mode & 0o077 == 0
    with world(state=state) as ses:
        assert known(ses) == before
        third = ses.send("ben@inbox.example")
        kinds = ses.kinds(wait_seconds=2)
        assert {"Send", "Delivery"} <= set(kinds)
        assert third != before["messages"]["messages"][0]["message_id"]
        assert len(ses.admin("messages")["messages"]) == 2
        dead = ses.sqs.list_dead_letter_source_queues(QueueUrl=ses.local.queue_url.replace("tenantry-events", "dead"))
        assert [url.rpartition("/")[2] for url in dead["queueUrls"]] == ["mine"]
    with world(state=state) as ses:
        assert [each["recipients"][0] for each in ses.admin("messages")["messages"]] == [
            "ann@inbox.example",
            "ben@inbox.example",
        ]


def test_everything_of_an_account_is_kept_or_named_as_not_kept() -> None:
    """Who adds something to the state of an account decides whether it outlives the process."""
    assert set(vars(Account(Options(**FREE), NOW))) == set(OF_ACCOUNT) | NOT_KEPT


def test_what_was_read_is_written_again_alike(tmp_path: Path) -> None:
    """A save and a load lose nothing, so that two restarts are as good as one."""
    with world(state=tmp_path / "a") as ses:
        filled(ses)
    texts = []
    for _ in range(2):
        accounts = Accounts(Options(**FREE), NOW)
        file = StateFile(tmp_path / "a")
        file.load(accounts)
        texts.append(to_text(_taken(accounts.home)))
        file.save(accounts)
        file.close()
    assert texts[0] == texts[1]
    assert '"Alarm"' in texts[0]


@pytest.mark.parametrize("harm", ["cut", "noise", "text", "form", "foreign", "class"])
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, harm: str) -> None:
    """No half of a state is ever served, and nothing is written over what somebody may still want to mend."""
    path = tmp_path / "ses.state"
    file, accounts = StateFile(path), Accounts(Options(**FREE), NOW)
    file.load(accounts)
    file.save(accounts)
    file.close()
    _harm(path, harm)
    before = path.read_bytes()
    with pytest.raises(StateError, match=str(path)):
        StateFile(path).load(Accounts(Options(**FREE), NOW))
    assert path.read_bytes() == before


def _harm(path: Path, harm: str) -> None:
    whole = path.read_bytes()
    if harm == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif harm == "noise":
        path.write_bytes(b"\x7f" * 5_000)
    else:
        statement = {
            "text": "update place set state = substr(state, 1, 1000)",
            "form": "pragma user_version = 99",
            "foreign": "pragma application_id = 1",
            "class": "update place set state = replace(state, 'Profile', 'Popen')",
        }[harm]
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()


def test_a_file_is_held_by_one_process(tmp_path: Path) -> None:
    """Two servers cannot write over each other."""
    first = StateFile(tmp_path / "a")
    with pytest.raises(StateError, match="in use"):
        StateFile(tmp_path / "a")
    first.close()
    StateFile(tmp_path / "a").close()


def test_only_known_classes_are_made_of_a_file() -> None:
    """A file that somebody else wrote runs nothing."""
    with pytest.raises(KeptError):
        from_text('{"$": "Popen", "args": ["true"]}')
    with pytest.raises(TypeError):
        to_text(object())
