"""Promises of standing: history is a set, and each word of SES means one fact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.event import Fact
from tenantry.core.standing import (
    PRECEDENCE,
    counts_as_bounce,
    counts_as_complaint,
    fact_of,
    standing,
    suppresses_bounce,
)

histories = st.lists(st.sampled_from(list(Fact)))
PROOF = {Fact.OPENED: Fact.DELIVERED, Fact.CLICKED: Fact.DELIVERED}
COUNTED = {Fact.BOUNCE_COUNTED, Fact.COMPLAINT_COUNTED}  # whether the guard counts it; says nothing about standing


def joined(history: list[Fact]) -> Fact:
    facts = Fact.NONE
    for fact in history:
        facts |= fact
    return facts


@given(histories)
def test_standing_is_the_maximum_of_the_precedence(history: list[Fact]) -> None:
    """The bit set gives what the obvious maximum over a list gives."""
    meant = [PROOF.get(fact, fact) for fact in history if fact and fact not in COUNTED]
    assert standing(joined(history)) is max(meant, key=PRECEDENCE.index, default=Fact.QUEUED)


@given(histories, st.randoms(use_true_random=False))
def test_order_and_repetition_of_facts_change_nothing(history: list[Fact], random: object) -> None:
    """However often and in whatever order events arrive, the end is the same."""
    again = history + history[: len(history) // 2]
    random.shuffle(again)  # type: ignore[attr-defined]
    assert standing(joined(again)) is standing(joined(history))


@given(histories, histories)
def test_a_later_fact_never_lowers_a_standing(earlier: list[Fact], later: list[Fact]) -> None:
    """Standing is a join: of two parts of a history the higher one stands."""
    parts = standing(joined(earlier)), standing(joined(later))
    assert standing(joined(earlier + later)) is max(parts, key=PRECEDENCE.index)


def test_every_fact_has_a_place() -> None:
    """A fact that is added must be given a place in the precedence, prove delivery, or be one that only counts."""
    assert set(Fact) == set(PRECEDENCE) | set(PROOF) | COUNTED


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Fact.NONE, Fact.QUEUED),
        (Fact.QUEUED | Fact.HANDED | Fact.DELIVERED | Fact.BOUNCED_SOFT, Fact.DELIVERED),
        (Fact.HANDED | Fact.DELIVERED | Fact.BOUNCED, Fact.BOUNCED),
        (Fact.HANDED | Fact.OPENED, Fact.DELIVERED),
        (Fact.DELIVERED | Fact.CLICKED | Fact.COMPLAINED, Fact.COMPLAINED),
        (Fact.QUEUED | Fact.EXPIRED | Fact.HANDED, Fact.HANDED),
        (Fact.QUEUED | Fact.SUPPRESSED, Fact.SUPPRESSED),
    ],
)
def test_histories_that_happen(facts: Fact, expected: Fact) -> None:
    """Out-of-office replies, late bounces, opens before deliveries, an expired unknown that SES had taken after all."""
    assert standing(facts) is expected


@pytest.mark.parametrize(
    ("kind", "bounce", "feedback", "expected"),
    [
        ("Send", None, None, Fact.HANDED),
        ("Delivery", None, None, Fact.DELIVERED),
        ("Bounce", "Permanent", None, Fact.BOUNCED),
        ("Bounce", "Transient", None, Fact.BOUNCED_SOFT),
        ("Bounce", "Undetermined", None, Fact.BOUNCED_SOFT),
        ("Bounce", "SomethingNew", None, Fact.BOUNCED_SOFT),
        ("Complaint", None, None, Fact.COMPLAINED),
        ("Complaint", None, "abuse", Fact.COMPLAINED),
        ("Complaint", None, "not-spam", Fact.NONE),
        ("Reject", None, None, Fact.REJECTED),
        ("Rendering Failure", None, None, Fact.REJECTED),
        ("DeliveryDelay", None, None, Fact.DELAYED),
        ("Open", None, None, Fact.OPENED),
        ("Click", None, None, Fact.CLICKED),
        ("Subscription", None, None, Fact.NONE),
        ("SomethingNew", None, None, Fact.NONE),
    ],
)
def test_each_report_states_one_fact(kind: str, bounce: str | None, feedback: str | None, expected: Fact) -> None:
    """SES's words have one meaning; words that it may add are harmless."""
    assert fact_of(kind, bounce, feedback) is expected


@pytest.mark.parametrize(
    ("bounce", "subtype", "counts"),
    [
        ("Permanent", "General", True),
        ("Permanent", "NoEmail", True),
        ("Permanent", "Suppressed", True),
        ("Permanent", "OnAccountSuppressionList", False),
        ("Permanent", "OnTenantSuppressionList", False),
        ("Permanent", "EmailValidationSuppressed", False),
        ("Permanent", "UnsubscribedRecipient", False),
        ("Permanent", "SomethingNew", False),
        ("Transient", "General", False),
        ("Transient", "MailboxFull", False),
        ("Undetermined", "Undetermined", False),
    ],
)
def test_only_what_ses_counts_counts(bounce: str, subtype: str, counts: bool) -> None:
    """A tenant is judged by SES's own rules, and an echo of a known suppression is held against nobody."""
    assert counts_as_bounce(bounce, subtype) is counts
    assert suppresses_bounce(bounce, subtype) is counts


@pytest.mark.parametrize(
    ("feedback", "subtype", "counts"),
    [
        (None, None, True),
        ("abuse", None, True),
        ("not-spam", None, False),
        (None, "OnAccountSuppressionList", False),
        (None, "OnTenantSuppressionList", False),
    ],
)
def test_only_real_complaints_count(feedback: str | None, subtype: str | None, counts: bool) -> None:
    """Taking a mail out of the spam folder, or mail that never left, is no complaint."""
    assert counts_as_complaint(feedback, subtype) is counts
