"""How far SNS's deliveries over HTTP reach: this machine, unless it is allowed otherwise."""

from tests.e2e.running import until
from tests.emulator.neighbours.around import around
from tests.emulator.neighbours.receiver import receiver


def test_deliveries_leave_the_loopback_only_when_allowed() -> None:
    """An address that is not the loopback's is refused with a reason; with `deliver_anywhere` it is posted to."""
    with receiver() as hook:
        elsewhere = hook.url.replace("127.0.0.1", "0.0.0.0")  # no loopback address, yet it leads here
        for allowed in (False, True):
            with around(deliver_anywhere=allowed) as world:
                sns = world.client("sns")
                arn = sns.create_topic(Name="news")["TopicArn"]
                sns.subscribe(TopicArn=arn, Protocol="http", Endpoint=elsewhere)
                until(lambda world=world: world.admin("deliveries")["deliveries"])
                [attempt] = world.admin("deliveries")["deliveries"]
                assert attempt["status"] == (200 if allowed else None)
                assert ("must be allowed" in attempt["reason"]) is not allowed
                assert len(hook.posts) == int(allowed)
