"""What reports add to a message: a function of the set of reports, so order and repetition cannot matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.event import Fact, RecipientRow, Report
from tenantry.core.ids import MessageId
from tenantry.core.news import News, news

MESSAGE = MessageId.of(UUID(int=1))
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUEUED = int(Fact.QUEUED | Fact.HANDED)
ADDRESSES = ("ann@one.example", "bob@one.example", "cat@gmail.com", "dan@two.example")


def row(number: int, address: str, facts: int = QUEUED, ordinal: int | None = -1) -> RecipientRow:
    return RecipientRow(MESSAGE, number, address, facts, 0, number if ordinal == -1 else ordinal)


def report(fact: Fact, *recipients: str, counts: bool = False, suppresses: bool = False, seconds: int = 0) -> Report:
    return Report(
        kind=fact.name or "",
        fact=fact,
        ses_id="ses-1",
        digest=f"{fact}/{recipients}/{seconds}/{counts}/{suppresses}".encode(),
        at=NOON + timedelta(seconds=seconds),
        recipients=recipients,
        tags={},
        counts=counts,
        suppresses=suppresses,
        detail={},
        raw="{}",
    )


@st.composite
def reports(draw: st.DrawFn) -> Report:
    fact = draw(st.sampled_from([Fact.HANDED, Fact.DELIVERED, Fact.BOUNCED, Fact.COMPLAINED, Fact.DELAYED, Fact.NONE]))
    whom = draw(st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=4, unique=True))
    bad = fact in (Fact.BOUNCED, Fact.COMPLAINED)
    counts = bad and draw(st.booleans())
    return report(fact, *whom, counts=counts, suppresses=bad and draw(st.booleans()), seconds=draw(st.integers(0, 5)))


class Kept:
    """A store in miniature: applies news to rows and adds up what counts."""

    def __init__(self, *, simulator: bool = False) -> None:
        ordinals = (None if simulator else -1, -1, -1, -1)
        self.rows = [row(number, address, ordinal=ordinals[number]) for number, address in enumerate(ADDRESSES)]
        self.bounced: list[int] = []
        self.complained: list[int] = []
        self.suppressed: set[tuple[str, Fact]] = set()
        self.seen: set[bytes] = set()

    def take(self, batch: list[Report]) -> None:
        fresh = list({one.digest: one for one in batch if one.digest not in self.seen}.values())
        self.seen |= {one.digest for one in fresh}
        found: News = news(self.rows, fresh)
        for fact in found.facts:
            old = self.rows[fact.number]
            assert not old.facts & fact.facts, "a fact is told once"
            self.rows[fact.number] = old._replace(facts=old.facts | fact.facts)
        self.bounced += [one.number for one in found.bounced]
        self.complained += [found.complained.number] if found.complained else []
        self.suppressed |= set(found.suppressed)

    def state(self) -> object:
        return [one.facts for one in self.rows], sorted(self.bounced), self.complained, self.suppressed


@given(st.lists(reports(), max_size=12), st.data())
def test_any_order_repetition_and_batching_ends_the_same(history: list[Report], data: st.DataObject) -> None:
    """However events arrive, facts, counted bounces, the complaint and suppressions are the same in the end."""
    once, again = Kept(), Kept()
    once.take(history)
    shuffled = data.draw(st.permutations(history + history[: len(history) // 2]))
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        again.take(list(shuffled[:size]))
        shuffled = shuffled[size:]
    assert again.state() == once.state()


@given(st.lists(reports(), max_size=12))
def test_nothing_counts_twice(history: list[Report]) -> None:
    """A recipient's bounce and a message's complaint count at most once, whatever SES reports."""
    kept = Kept()
    for one in history:
        kept.take([one])
    assert len(kept.bounced) == len(set(kept.bounced))
    assert len(kept.complained) <= 1


@given(st.lists(reports(), max_size=12))
def test_only_what_ses_counts_is_counted(history: list[Report]) -> None:
    """No counting report, no count; and a recipient without a place in the sending order never counts."""
    kept = Kept(simulator=True)
    kept.take(history)
    assert 0 not in kept.bounced
    assert 0 not in kept.complained
    if not any(one.counts for one in history):
        assert kept.bounced == kept.complained == []


def test_a_report_adds_to_those_it_names_only() -> None:
    """A bounce of one recipient leaves the others of the message as they were."""
    rows = [row(0, "ann@one.example"), row(1, "bob@one.example")]
    found = news(rows, [report(Fact.BOUNCED, "bob@one.example", counts=True, suppresses=True, seconds=3)])
    assert [(one.number, one.bounced_at) for one in found.facts] == [(1, NOON + timedelta(seconds=3))]
    assert [one.number for one in found.bounced] == [1]
    assert found.suppressed == (("bob@one.example", Fact.BOUNCED),)


def test_a_redacted_complaint_counts_at_the_first_who_can_have_made_it() -> None:
    """SES names everybody at the domain; Gmail reports nothing, so the place is another's; all are suppressed."""
    rows = [row(0, "cat@gmail.com"), row(1, "ann@one.example"), row(2, "bob@one.example")]
    found = news(rows, [report(Fact.COMPLAINED, *(one.address for one in rows), counts=True, suppresses=True)])
    assert found.complained is not None
    assert found.complained.number == 1
    assert len(found.suppressed) == 3


def test_an_echo_leaves_its_fact_and_no_count() -> None:
    """A bounce that SES does not count (its list kept the mail back) is shown, and held against nobody."""
    found = news([row(0, "ann@one.example")], [report(Fact.BOUNCED, "ann@one.example")])
    assert [one.facts for one in found.facts] == [int(Fact.BOUNCED)]
    assert (found.bounced, found.suppressed) == ((), ())


def test_a_count_may_follow_its_fact() -> None:
    """An echo first and the real bounce later still count, once."""
    kept = Kept()
    kept.take([report(Fact.BOUNCED, "ann@one.example")])
    kept.take([report(Fact.BOUNCED, "ann@one.example", counts=True)])
    kept.take([report(Fact.BOUNCED, "ann@one.example", counts=True, seconds=9)])
    assert kept.bounced == [0]


def test_one_address_twice_in_a_message_is_two_recipients() -> None:
    """SES sends to each; a report about the address is about both."""
    rows = [row(0, "ann@one.example"), row(1, "ann@one.example")]
    found = news(rows, [report(Fact.DELIVERED, "ann@one.example")])
    assert [one.number for one in found.facts] == [0, 1]
