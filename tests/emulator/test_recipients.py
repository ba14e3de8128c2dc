"""What scripted recipients do, as the events of the local SES tell it to an unmodified boto3."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.emulator import RecipientRule
from tenantry.emulator.links import link_of
from tenantry.emulator.operations.outgoing import takes
from tenantry.emulator.recipients import Recipients
from tenantry.emulator.records import Pool
from tenantry.emulator.scripts import BOUNCES, FATES
from tests.emulator.test_events import form
from tests.emulator.worlds import EVENT_TYPES, World, world

DATA = Path(__file__).parent / "data"
HOUR, DAY = 3_600, 86_400
HTML = '<p>Hi <a ses:tags="place:top;colour:red" href="https://shop.example/?a=1&amp;b=2">shop</a></p>'


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with world() as made:
        made.admin("clock", {"stopped": True})
        made.sender()
        topic = {"TopicArn": made.local.account.options.topic_arn}
        kinds = {"Enabled": True, "MatchingEventTypes": [*EVENT_TYPES, "OPEN", "CLICK"], "SnsDestination": topic}
        made.ses.update_configuration_set_event_destination(
            ConfigurationSetName="acme-set", EventDestinationName="feed", EventDestination=kinds
        )
        yield made


@pytest.fixture
def ses(shared: World) -> World:
    shared.admin("clock", {"advance": 40 * HOUR})
    shared.events()
    shared.admin("options", {"recipients": []})
    return shared


def script(ses: World, *rules: str) -> None:
    ses.admin("options", {"recipients": list(rules)})


def later(ses: World, seconds: float) -> list[dict[str, Any]]:
    ses.admin("clock", {"advance": seconds})
    return ses.events()


def content(html: str = HTML) -> dict[str, Any]:
    return {"Simple": {"Subject": {"Data": "Hi"}, "Body": {"Html": {"Data": html}, "Text": {"Data": "Hi"}}}}


@pytest.mark.parametrize("setting", BOUNCES)
def test_each_kind_of_bounce(ses: World, setting: str) -> None:
    """Every type and subtype can be ordered; hard ones of a mailbox are put on the suppression list."""
    script(ses, f"broken.example:{setting}=1")
    address = f"{setting}@broken.example"
    ses.send(address)
    _, bounce = ses.events()
    assert (bounce["bounce"]["bounceType"], bounce["bounce"]["bounceSubType"]) == BOUNCES[setting]
    assert bounce["bounce"]["bouncedRecipients"][0]["emailAddress"] == address
    listed = {each["EmailAddress"] for each in ses.ses.list_suppressed_destinations()["SuppressedDestinationSummaries"]}
    assert (address in listed) == (setting in ("bounce", "no_email"))


@pytest.mark.parametrize(("name", "kind"), [("open", "Open"), ("click", "Click")])
def test_opens_and_clicks_have_the_documented_form(ses: World, name: str, kind: str) -> None:
    """They come after the delivery with their own delays, with the link's tags, in the form of the guide's examples."""
    script(ses, "keen.example:open=1,click=1,delay=10,open_delay=600,click_delay=30")
    ses.send("ann@keen.example", Content=content())
    assert [each["eventType"] for each in later(ses, 609)] == ["Send", "Delivery"]
    told = {each["eventType"]: each for each in later(ses, 31)}
    assert list(told) == ["Open", "Click"]
    event, example = told[kind], json.loads((DATA / f"documented-{name}.json").read_text())
    assert event.keys() == example.keys()
    own, documented = form(event[name]), form(example[name])
    if name == "click":  # tags are free by name, and are arrays of text
        assert set(map(str, own.pop("linkTags").values())) == set(map(str, documented.pop("linkTags").values()))
    assert own == documented
    assert example["mail"].keys() <= event["mail"].keys()
    if name == "click":
        assert event["click"]["link"] == "https://shop.example/?a=1&b=2"
        assert event["click"]["linkTags"] == {"place": ["top"], "colour": ["red"]}


def test_what_cannot_be_tracked_is_not_told(ses: World) -> None:
    """Text is not seen opened, a mail without links not clicked, and a call may turn both off."""
    script(ses, "keen.example:open=1,click=1")
    ses.send("a@keen.example", Content={"Simple": {"Subject": {"Data": "x"}, "Body": {"Text": {"Data": "Hi"}}}})
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery"]
    ses.send("a@keen.example", Content=content('<a ses:no-track href="https://shop.example">x</a>'))
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery", "Open"]
    off = {"Tracking": {"OpenTrackingEnabled": "DISABLED", "ClickTrackingEnabled": "DISABLED"}}
    ses.send("a@keen.example", Content=content(), ConfigurationOverrides=off)
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery"]


def test_raw_mail_is_clicked(ses: World) -> None:
    """Links are found in the HTML part of raw mail too."""
    raw = b"From: news@acme.example\r\nTo: a@keen.example\r\nContent-Type: text/html\r\n\r\n" + HTML.encode()
    script(ses, "keen.example:open=1,click=1")
    ses.send("a@keen.example", Content={"Raw": {"Data": raw}})
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery", "Open", "Click"]


def test_out_of_office_is_a_soft_bounce_after_the_delivery(ses: World) -> None:
    """An automatic reply is told as Transient/General of a recipient who was delivered to, and counts as no bounce."""
    script(ses, "*+away@*:out_of_office=1,out_of_office_delay=60")
    ses.send("ann+away@inbox.example", "bob@inbox.example")
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery", "Delivery"]
    (bounce,) = later(ses, 60)
    assert (bounce["bounce"]["bounceType"], bounce["bounce"]["bounceSubType"]) == ("Transient", "General")
    assert bounce["bounce"]["bouncedRecipients"] == [{"emailAddress": "ann+away@inbox.example"}]


def test_silence(ses: World) -> None:
    """Of a silent recipient nothing is heard but that it was sent; the record says so."""
    script(ses, "void.example:silence=1")
    message_id = ses.send("ann@void.example")
    assert [each["eventType"] for each in later(ses, 30 * HOUR)] == ["Send"]
    (kept,) = ses.admin(f"messages?message_id={message_id}")["messages"]
    assert kept["outcomes"] == {"ann@void.example": "silent"}


def test_complaints_are_told_by_providers_with_a_feedback_loop(ses: World) -> None:
    """Gmail tells nobody, others do; a script may say otherwise of a domain. Complaints of a message come together."""
    script(ses, "*:complaint=1,complaint_delay=3600", "loud.example:complaint=1,feedback_loop=1",
           "mute.example:complaint=1,feedback_loop=0")  # fmt: skip
    ses.send("a@gmail.com", "b@mute.example", "c@loud.example", "d@other.example", "e@other.example")
    first = [each for each in ses.events() if each["eventType"] == "Complaint"]
    assert [each["complaint"]["complainedRecipients"] for each in first] == [[{"emailAddress": "c@loud.example"}]]
    (second,) = later(ses, 3_600)
    told = [each["emailAddress"] for each in second["complaint"]["complainedRecipients"]]
    assert told == ["d@other.example", "e@other.example"]


def test_a_provider_that_is_down_for_a_while(ses: World) -> None:
    """Mail for it is reported delayed once, with the time at which SES gives up, and delivered when it is up again."""
    script(ses, "slow.example:down_for=7200")
    message_id = ses.send("a@slow.example", "b@slow.example")
    _, delay = ses.events()
    assert (delay["eventType"], len(delay["deliveryDelay"]["delayedRecipients"])) == ("DeliveryDelay", 2)
    assert delay["deliveryDelay"]["expirationTime"][:19] > delay["deliveryDelay"]["timestamp"][:19]
    (kept,) = ses.admin(f"messages?message_id={message_id}")["messages"]
    assert set(kept["outcomes"].values()) == {"deferred"}
    assert later(ses, 7_000) == []
    (delivery,) = later(ses, 300)
    assert delivery["delivery"]["recipients"] == ["a@slow.example", "b@slow.example"]
    assert delivery["delivery"]["processingTimeMillis"] == 7_200_000
    (kept,) = ses.admin(f"messages?message_id={message_id}")["messages"]
    assert set(kept["outcomes"].values()) == {"delivered"}
    ses.send("a@slow.example")
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery"]


def test_mail_for_a_provider_that_stays_down_expires(ses: World) -> None:
    """After 14 hours, or the set's own MaxDeliverySeconds, it bounces softly, with the subtype for each."""
    script(ses, "gone.example:down_for=1000000,down_after=60")
    ses.send("a@gone.example")
    assert [each["eventType"] for each in ses.events()] == ["Send", "Delivery"], "it is not down yet"
    ses.admin("clock", {"advance": 60})
    ses.send("a@gone.example")
    ses.events()
    assert later(ses, 50_000) == []
    (bounce,) = later(ses, 400)
    assert (bounce["bounce"]["bounceType"], bounce["bounce"]["bounceSubType"]) == ("Transient", "General")
    ses.ses.put_configuration_set_delivery_options(ConfigurationSetName="acme-set", MaxDeliverySeconds=300)
    try:
        ses.send("a@gone.example")
        ses.events()
        (bounce,) = later(ses, 300)
    finally:
        ses.ses.put_configuration_set_delivery_options(ConfigurationSetName="acme-set")
    assert bounce["bounce"]["bounceSubType"] == "CustomTimeoutExceeded"


def test_a_provider_comes_back_when_the_script_says_so(ses: World) -> None:
    """New rules count at once for mail that waits."""
    script(ses, "slow.example:down_for=40000")
    ses.send("a@slow.example")
    ses.events()
    script(ses)
    assert [each["eventType"] for each in later(ses, 1)] == ["Delivery"]


def test_a_managed_pool_spills_over_while_it_warms(ses: World) -> None:
    """Its address comes after 300 recipients on three days, and takes 1,111 of a provider's mail on its first day."""
    ses.ses.create_dedicated_ip_pool(PoolName="managed", ScalingMode="MANAGED")
    ses.ses.put_configuration_set_delivery_options(ConfigurationSetName="acme-set", SendingPoolName="managed")
    try:
        by = []
        for number in (3, 2, 1, 23, 1):
            ses.admin("clock", {"advance": DAY})
            used: Counter[str] = Counter()
            for batch in range(number):
                ses.send(*(f"u{batch}-{n}@yahoo.com" for n in range(50)))
                for event in ses.events():
                    if event["eventType"] == "Delivery":
                        used[event["mail"]["tags"]["ses:outgoing-ip"][0]] += 50
            by.append(dict(used))
    finally:
        ses.ses.put_configuration_set_delivery_options(ConfigurationSetName="acme-set")
    shared, (own,) = "192.0.2.1", [each["Ip"] for each in ses.ses.get_dedicated_ips(PoolName="managed")["DedicatedIps"]]
    assert by[:3] == [{shared: 150}, {shared: 100}, {own: 50}]
    assert by[3] == {own: 1_150}, "the second day's share is twice the first's"
    assert by[4] == {own: 50}


def test_a_managed_address_warms_by_the_day_and_provider() -> None:
    """Each day has a share of its own at each provider: a 45th of 50,000, twice that, and at last all of it."""
    pool = Pool("p", "arn", "MANAGED", {})
    taken = [sum(takes(pool, ["a@yahoo.com"], day) for _ in range(60_000)) for day in (0, 1, 44, 45)]
    assert taken == [1_111, 2_222, 50_000, 50_000]
    assert sum(takes(pool, ["a@gmx.de"], 45) for _ in range(3_000)) == 1_111


def test_a_cold_address_takes_its_percentage(ses: World) -> None:
    """A standard address that warms up takes that part of the mail, the shared ones the rest; a warm one takes all."""
    ses.ses.create_dedicated_ip_pool(PoolName="cold")
    for ip in ses.ses.get_dedicated_ips(PoolName="cold")["DedicatedIps"]:
        ses.ses.put_dedicated_ip_warmup_attributes(Ip=ip["Ip"], WarmupPercentage=30)
    ses.ses.put_configuration_set_delivery_options(ConfigurationSetName="acme-set", SendingPoolName="cold")
    try:
        for _ in range(100):
            ses.send()
    finally:
        ses.ses.put_configuration_set_delivery_options(ConfigurationSetName="acme-set")
    told = [each["mail"]["tags"].get("ses:outgoing-ip") for each in ses.events() if each["eventType"] == "Delivery"]
    assert 15 <= sum(each != ["192.0.2.1"] for each in told) <= 45


@pytest.mark.parametrize(
    ("address", "pattern"),
    [
        ("ann@a.example", "ann@a.example"),
        ("ANN@A.example", "ann@a.example"),
        ("bad-1@a.example", "bad-*@*"),
        ("bob@a.example", "a.example"),
        ("bob@b.a.example", "*.a.example"),
        ("bob@c.test", "*"),
    ],
)
def test_the_most_specific_rule_counts(address: str, pattern: str) -> None:
    """An address before patterns of addresses, a domain before patterns of domains, * last."""
    patterns = ("*", "*.a.example", "a.example", "bad-*@*", "ann@a.example")
    found = Recipients(tuple(RecipientRule(each) for each in patterns)).rule_for(address)
    assert found == RecipientRule(pattern)
    last = Recipients((RecipientRule(pattern), RecipientRule(pattern, bounce=1.0))).rule_for(address)
    assert last == RecipientRule(pattern, bounce=1.0)


@given(st.lists(st.floats(0, 0.1), min_size=len(FATES), max_size=len(FATES)), st.integers(0, 99))
def test_shares_are_kept(shares: list[float], seed: int) -> None:
    """Of many recipients each fate befalls its share, and the same seed decides the same."""
    rule = RecipientRule("x.example", **dict(zip(FATES, shares, strict=True)))  # type: ignore[arg-type]
    runs = []
    for _ in range(2):
        world, random = Recipients((rule,)), Random(seed)
        fates = [world.fate(f"{n}@x.example", random, 0.0) for n in range(400)]
        runs.append(Counter((each.bounce_type, each.sub_type) for each in fates if each.kind == "bounced"))
    assert runs[0] == runs[1]
    for name, kind in BOUNCES.items():
        assert abs(runs[0][kind] / 400 - getattr(rule, name)) < 0.1


@pytest.mark.parametrize(
    ("html", "link"),
    [
        ("<a href='http://a.example/x'>", "http://a.example/x"),
        ("<A HREF=https://a.example>", "https://a.example"),
        ("<a href='mailto:a@a.example'>", None),
        ("<a " * 50_000, None),
        ("<p>https://a.example</p>", None),
    ],
)
def test_links_of_html(html: str, link: str | None) -> None:
    """Only anchors with a web address are links, and odd HTML costs little."""
    found = link_of({"Simple": {"Body": {"Html": {"Data": html}}}}, Random(0))
    assert (found.url if found else None) == link


def test_a_rule_is_read_as_it_is_shown(ses: World) -> None:
    """What the admin API shows of rules can be given back to it, and says the same."""
    script(ses, "slow.example:down_for=60,open=0.5,open_delay=3,feedback_loop=0", "*:mailbox_full=0.1,delay=2")
    shown = ses.admin("options")["recipients"]
    assert ses.admin("options", {"recipients": shown})["recipients"] == shown
    assert [each["pattern"] for each in shown] == ["slow.example", "*"]


@pytest.mark.parametrize(
    "wrong",
    [
        "a:open=2",
        "a:down_for=-1",
        "a:down_for=inf",
        "a:feedback_loop=2",
        "a:silence=0.6,no_email=0.6",
        "a:click_delay=nan",
    ],
)
def test_odd_scripts_are_refused(wrong: str) -> None:
    """What cannot be meant is a ValueError that names the setting."""
    with pytest.raises(ValueError, match="a: "):
        RecipientRule.from_text(wrong)
