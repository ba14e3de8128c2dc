"""How the local SES judges: tenants by findings and policies, the account by its lines. Seen by an unmodified boto3."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.emulator import RecipientRule
from tenantry.emulator.justice import HOUR_SECONDS, STATUSES, Conduct, Window, account_status
from tests.emulator.worlds import World, world

RULES = (
    RecipientRule("bad-*@*", bounce=1.0),
    RecipientRule("angry-*@*", complaint=1.0),
)
NEW = count()  # who has bounced is suppressed, and counts no more
POLICY = "arn:aws:ses:us-east-1:aws:reputation-policy/"


@dataclass
class Court:
    """A local SES whose time a test moves, with acme as the tenant and a queue that hears the default bus."""

    ses: World
    arn: str
    inbox: str

    def act(self, good: int, **bad: int) -> None:
        """Send to so many good recipients and others (`bad=2`, `angry=1`), then let SES look at it."""
        names = [f"ok-{n}" for n in range(good)]
        names += [f"{kind}-{next(NEW)}" for kind, number in bad.items() for _ in range(number)]
        for start in range(0, len(names), 50):
            self.ses.send(*(f"{each}@inbox.example" for each in names[start : start + 50]))
        self.pass_by(300)

    def pass_by(self, seconds: float) -> None:
        self.ses.admin("clock", {"advance": seconds})

    def policy(self, name: str) -> None:
        place = {"ReputationEntityType": "RESOURCE", "ReputationEntityReference": self.arn}
        self.ses.ses.update_reputation_entity_policy(**place, ReputationEntityPolicy=POLICY + name)

    def say(self, status: str) -> None:
        place = {"ReputationEntityType": "RESOURCE", "ReputationEntityReference": self.arn}
        self.ses.ses.update_reputation_entity_customer_managed_status(**place, SendingStatus=status)

    def entity(self) -> Any:
        place = {"ReputationEntityType": "RESOURCE", "ReputationEntityReference": self.arn}
        return self.ses.ses.get_reputation_entity(**place)["ReputationEntity"]

    def status(self) -> tuple[str, str, str]:
        """The customer's status, Amazon's, and what comes of both."""
        found = self.entity()
        sides = (found[f"{side}ManagedStatus"]["Status"] for side in ("Customer", "AwsSes"))
        return *sides, found["SendingStatusAggregate"]  # type: ignore[return-value]

    def account(self) -> tuple[str, bool]:
        found = self.ses.ses.get_account()
        return found["EnforcementStatus"], found["SendingEnabled"]

    def findings(self, **wanted: str) -> list[tuple[str, str, str]]:
        more = {"Filter": {"RESOURCE_ARN": self.arn, **wanted}}
        found = self.ses.ses.list_recommendations(**more)["Recommendations"]
        return sorted((each["Type"], each["Impact"], each["Status"]) for each in found)

    def heard(self) -> list[dict[str, Any]]:
        """Take what the default bus brought of acme."""
        answer = self.ses.sqs.receive_message(QueueUrl=self.inbox, MaxNumberOfMessages=10).get("Messages", [])
        for each in answer:
            self.ses.sqs.delete_message(QueueUrl=self.inbox, ReceiptHandle=each["ReceiptHandle"])
        return [json.loads(each["Body"]) for each in answer]


@contextmanager
def court(**options: Any) -> Iterator[Court]:
    with world(recipients=RULES, **options) as ses:
        ses.admin("clock", {"stopped": True})
        ses.sender()
        inbox = ses.sqs.create_queue(QueueName="inbox")["QueueUrl"]
        bus = ses.client("events")
        bus.put_rule(Name="tenants", EventPattern=json.dumps({"source": ["aws.ses"]}))
        target = "arn:aws:sqs:us-east-1:123456789012:inbox"
        bus.put_targets(Rule="tenants", Targets=[{"Id": "inbox", "Arn": target}])
        yield Court(ses, ses.ses.get_tenant(TenantName="acme")["Tenant"]["TenantArn"], inbox)


@pytest.fixture
def acme() -> Iterator[Court]:
    with court() as made:
        yield made


@pytest.mark.parametrize(
    ("policy", "bad", "impact", "paused"),
    [
        ("none", 25, "HIGH", False),
        ("standard", 13, "LOW", False),
        ("standard", 25, "HIGH", True),
        ("strict", 12, None, False),  # exactly 10 %
        ("strict", 13, "LOW", True),
    ],
)
def test_a_policy_pauses_a_tenant_that_bounces(acme: Court, policy: str, bad: int, impact: str, paused: bool) -> None:
    """Of 120 recipients: above 10 % is a low finding, above 15 % a high one; standard pauses on high, strict on either."""
    acme.policy(policy)
    acme.act(120 - bad, bad=bad)
    assert acme.entity().get("ReputationImpact") == impact
    assert acme.findings() == ([("BOUNCE", impact, "OPEN")] if impact else [])
    status = "DISABLED" if paused else "ENABLED"
    assert acme.status() == (status, "ENABLED", status)
    assert acme.ses.ses.get_tenant(TenantName="acme")["Tenant"]["SendingStatus"] == status
    if paused:
        assert "Bounce rate" in acme.entity()["CustomerManagedStatus"]["Cause"]
        with pytest.raises(acme.ses.ses.exceptions.MessageRejected, match=f"Sending disabled for {acme.arn}"):
            acme.ses.send()
    else:
        assert acme.ses.send()


def test_a_pause_is_told_on_the_bus(acme: Court) -> None:
    """The finding and the pause come as events with the tenant's ARN, in the shapes of EventBridge's reference."""
    acme.act(90, bad=30)
    finding, pause = acme.heard()
    assert (finding["detail-type"], pause["detail-type"]) == (
        "Advisor Recommendation Status Open",
        "Sending Status Disabled",
    )
    assert finding["resources"] == pause["resources"] == [acme.arn]
    assert finding["detail"]["metadata"] == {"impact": "HIGH", "type": "BOUNCE"}
    assert "25.00% over 120 emails" in finding["detail"]["data"]
    record = pause["detail"]["data"]["record"]
    assert pause["detail"]["data"]["origin"] == "CUSTOMER_MANAGED"
    assert (record["status"], len(record["lastUpdatedTimestamp"])) == ("DISABLED", 7)
    acme.say("ENABLED")
    assert [each["detail-type"] for each in acme.heard()] == ["Sending Status Enabled"]
    acme.say("ENABLED")
    assert acme.heard() == []


def test_reinstated_until_the_findings_are_resolved(acme: Court) -> None:
    """A reinstated tenant sends despite its findings, and is ENABLED again once they no longer hold."""
    acme.act(90, bad=30)
    acme.say("REINSTATED")
    assert acme.status() == ("REINSTATED", "ENABLED", "REINSTATED")
    acme.act(10)
    assert acme.status()[2] == "REINSTATED"
    acme.pass_by(25 * HOUR_SECONDS)
    assert acme.status() == ("ENABLED", "ENABLED", "ENABLED")
    assert acme.findings() == [("BOUNCE", "HIGH", "FIXED")]
    kinds = [each["detail-type"] for each in acme.heard()]
    assert kinds[-2:] == ["Advisor Recommendation Status Resolved", "Sending Status Enabled"]


def test_reinstated_until_a_new_violation(acme: Court) -> None:
    """A finding of another kind pauses a reinstated tenant again; the old one did not."""
    acme.act(90, bad=30)
    acme.say("REINSTATED")
    acme.act(580, angry=20)
    assert acme.status()[2] == "DISABLED"
    assert ("COMPLAINT", "HIGH", "OPEN") in acme.findings()


def test_enabled_with_findings_is_paused_at_the_next_look(acme: Court) -> None:
    """Whoever is enabled without being reinstated is paused again by what is still found."""
    acme.act(90, bad=30)
    acme.say("ENABLED")
    assert acme.ses.send()
    acme.pass_by(300)
    assert acme.status()[2] == "DISABLED"


def test_a_paused_tenant_stays_paused(acme: Court) -> None:
    """Findings of a tenant that cannot send are resolved by time; its pause is not lifted by that."""
    acme.act(90, bad=30)
    acme.pass_by(30 * 24 * HOUR_SECONDS)
    assert acme.findings(STATUS="OPEN") == []
    assert acme.status() == ("DISABLED", "ENABLED", "DISABLED")


def test_amazons_own_stop_is_not_the_customers_to_lift(acme: Court) -> None:
    """Either side stops a tenant; what Amazon's people decided holds whatever the customer says."""
    acme.ses.admin("tenants/acme/status", {"status": "DISABLED", "cause": "Spam traps."})
    acme.say("REINSTATED")
    assert acme.status() == ("REINSTATED", "DISABLED", "DISABLED")
    assert acme.entity()["AwsSesManagedStatus"]["Cause"] == "Spam traps."
    told = acme.heard()[0]["detail"]["data"]
    assert (told["origin"], told["record"]["cause"]) == ("AWS_MANAGED", "Spam traps.")
    with pytest.raises(acme.ses.ses.exceptions.MessageRejected):
        acme.ses.send()
    acme.ses.admin("tenants/acme/status", {"status": "ENABLED"})
    assert acme.ses.send()


def test_a_finding_by_hand(acme: Court) -> None:
    """A blocklisted address is found by hand, acts like any finding, and stays until it is ended by hand."""
    acme.ses.admin("tenants/acme/findings", {"type": "IP_LISTING", "impact": "HIGH"})
    assert acme.status()[2] == "DISABLED"
    acme.pass_by(30 * 24 * HOUR_SECONDS)
    assert acme.findings() == [("IP_LISTING", "HIGH", "OPEN")]
    listed = acme.ses.ses.list_reputation_entities(Filter={"REPUTATION_IMPACT": "HIGH"})["ReputationEntities"]
    assert [each["ReputationEntityReference"] for each in listed] == [acme.arn]
    acme.ses.admin("tenants/acme/findings", {"type": "IP_LISTING", "impact": None})
    assert acme.findings() == [("IP_LISTING", "HIGH", "FIXED")]
    for path, body in (("status", {"status": "REINSTATED"}), ("findings", {"type": "SPF", "impact": "LOW"})):
        with pytest.raises(HTTPError):
            acme.ses.admin(f"tenants/acme/{path}", body)


def test_complaints_that_gmail_tells_nobody(acme: Court) -> None:
    """Complaints at a provider without a feedback loop are no events, but third-party feedback; the list stays empty."""
    for start in range(0, 550, 50):
        acme.ses.send(*(f"ok-{n}@gmail.com" for n in range(start, start + 50)))
    acme.ses.send(*(f"angry-{n}@gmail.com" for n in range(3)))
    acme.pass_by(300)
    assert acme.findings() == [("FEEDBACK_3P", "HIGH", "OPEN")]
    assert "Complaint" not in acme.ses.kinds()
    assert acme.ses.ses.list_suppressed_destinations()["SuppressedDestinationSummaries"] == []


def test_few_mails_are_not_judged(acme: Court) -> None:
    """Below 100 recipients nothing is found, whatever the rate."""
    acme.act(69, bad=30)
    assert (acme.findings(), acme.status()[2]) == ([], "ENABLED")


def test_what_does_not_count(acme: Court) -> None:
    """Neither the simulator nor one's own domains nor what a suppression list keeps back counts as a bounce."""
    acme.ses.ses.put_suppressed_destination(EmailAddress="bad-x@inbox.example", Reason="BOUNCE")
    for _ in range(3):
        acme.ses.send(*(f"bounce+{n}@simulator.amazonses.com" for n in range(40)))
        acme.ses.send(*(f"bad-{n}@acme.example" for n in range(40)), "bad-x@inbox.example")
    acme.act(100)
    assert (acme.findings(), acme.status()[2]) == ([], "ENABLED")


def test_the_account_is_reviewed_then_paused_and_starts_afresh(acme: Court) -> None:
    """At 5 % of bounces it is under review, at 10 % at the next look it is paused; people alone let it go again."""
    acme.policy("none")
    acme.act(900, bad=60)
    assert acme.account() == ("HEALTHY", True), "below 1,000 recipients nobody is judged"
    acme.act(80, bad=60)
    assert acme.account() == ("PROBATION", True), "a review comes first"
    acme.act(1)
    assert acme.account() == ("SHUTDOWN", False)
    with pytest.raises(acme.ses.ses.exceptions.AccountSuspendedException):
        acme.ses.send()
    acme.pass_by(90 * 24 * HOUR_SECONDS)
    assert acme.account() == ("SHUTDOWN", False)
    acme.ses.admin("account", {"enforcement": "HEALTHY"})
    acme.act(10)
    assert acme.account() == ("HEALTHY", True)
    assert acme.ses.ses.get_configuration_set(ConfigurationSetName="acme-set")["ReputationOptions"]["LastFreshStart"]


def test_what_people_decided_of_the_account_stays(acme: Court) -> None:
    """A review ordered by hand does not end because the figures are good."""
    acme.ses.admin("account", {"enforcement": "PROBATION"})
    acme.act(1_100)
    assert acme.account() == ("PROBATION", True)


def test_nobody_is_judged_if_told_so() -> None:
    """With no looks at all neither account nor tenant is stopped; metrics are published all the same."""
    with court(judge_seconds=0.0) as free:
        free.act(700, bad=500)
        free.pass_by(24 * HOUR_SECONDS)
        assert (free.account(), free.status()[2], free.findings()) == (("HEALTHY", True), "ENABLED", [])
        found = free.ses.client("cloudwatch").list_metrics(Namespace="AWS/SES", MetricName="Reputation.BounceRate")
        assert found["Metrics"]


def test_a_deleted_tenant_leaves_nothing(acme: Court) -> None:
    """Its findings go with it, and time passes without it."""
    acme.act(90, bad=30)
    acme.ses.ses.delete_tenant(TenantName="acme")
    acme.pass_by(48 * HOUR_SECONDS)
    assert acme.ses.ses.list_recommendations()["Recommendations"] == []


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 9), st.integers(0, 9)), max_size=60), st.floats(0, 2e6))
def test_a_window_forgets_whole_hours_and_nothing_else(happened: list[tuple[float, int, int]], later: float) -> None:
    """Its sums are those of the hours that began within it, never below zero."""
    window, happened = Window(24 * HOUR_SECONDS), sorted(happened)
    for at, volume, bad in happened:
        window.add(at, volume, bad)
    now = max(later, happened[-1][0] if happened else 0.0)
    window.move_to(now)
    kept = [each for each in happened if each[0] - each[0] % HOUR_SECONDS > now - 24 * HOUR_SECONDS]
    assert (window.volume, window.bad) == (sum(each[1] for each in kept), sum(each[2] for each in kept))


@given(st.sampled_from(STATUSES), st.floats(0, 1e5), st.floats(0, 1), st.floats(0, 1))
def test_an_account_gets_worse_a_step_at_a_time(before: str, sends: float, bounces: float, complaints: float) -> None:
    """No look jumps over the review, none lifts a pause, and small volumes change nothing."""
    weights = {"Sends": sends, "Bounces": sends * bounces, "Complaints": sends * complaints}
    after = account_status(before, weights)
    assert STATUSES.index(after) <= STATUSES.index(before) + 1
    if before == "SHUTDOWN" or sends < 1_000:
        assert after == before


def test_findings_name_rate_volume_and_time() -> None:
    """The sentence of a finding has what SES's has: the rate, how many emails, and within what time."""
    conduct = Conduct()
    conduct.add(0.0, {"Sends": 197, "Bounces": 32})
    assert conduct.findings(0.0) == {
        "BOUNCE": ("HIGH", "Bounce rate of 16.24% over 197 emails sent in the last 24 hours.")
    }
