"""Owns one run of the lab: everything simulated from one seed, and what of it was to be reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tenantry.core.policy import POLICIES, Action, Policy
from tenantry.lab.fleets import CHUNK, REPRESENTATIVE, Fleet, Played, Way
from tenantry.lab.goals import Bad, Caught, Healthy, Tell, caught, healthy

FALSE_PAUSES_MOST = 10 / 10_000  # of healthy tenant-months


@dataclass(frozen=True, slots=True)
class Aim:
    """A bad sender, and within how many mails 95 of 100 like it are to be caught."""

    words: str
    bad: Bad
    within: int
    weight: int = 1  # how many fewer trials it is worth


AIMS = (
    Aim("12 % bounces: paused", Bad(bounce_rate=0.12), 450),
    Aim("30 % bounces: paused", Bad(bounce_rate=0.30), 60),
    Aim("2 % complaints: paused", Bad(complaint_rate=0.02), 550),
    Aim("0.5 % complaints: paused", Bad(complaint_rate=0.005), 4_600),
    Aim(
        "0.5 % bounces turn 20 % after 100,000: throttled",
        Bad(bounce_rate=0.20, after_good=100_000, until=Action.THROTTLE),
        150,
        weight=4,
    ),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated: healthy tenants, trials of each bad sender, fleets under each way."""

    tenants: int = 1_000
    trials: int = 400
    fleets: int = 20


@dataclass(frozen=True, slots=True)
class Results:
    """What one run of the lab found."""

    seed: int
    size: Size
    policy: str
    healthy: Healthy
    aims: tuple[tuple[Aim, Caught], ...]
    ways: Mapping[Way, tuple[Played, ...]]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table; met: None where it is only told."""

    what: str
    to_reach: str
    reached: str
    met: bool | None


def run(seed: int, size: Size, tried: Policy = POLICIES["standard"], tell: Tell = lambda done, of: None) -> Results:
    """Simulate everything; the same seed and size give the same results.

    tried: the policy. tell: healthy tenants done, and of how many.
    """
    return Results(
        seed=seed,
        size=size,
        policy=tried.name,
        healthy=healthy(seed, range(size.tenants), tried, tell),
        aims=tuple((aim, caught(seed, max(20, size.trials // aim.weight), aim.bad, tried)) for aim in AIMS),
        ways={way: tuple(Fleet(seed * 100_000 + n, way, tried).play() for n in range(size.fleets)) for way in Way},
    )


def goals(found: Results) -> list[Goal]:
    """Return the table: what was to be reached, and what was."""
    one = found.healthy
    most = max(1, round(FALSE_PAUSES_MOST * one.tenants))
    table = [
        Goal(
            f"{one.tenants:,} healthy tenants, 30 days, {one.mails:,} mails: full pauses",
            f"at most {most}",
            f"{one.paused} ({one.throttled} throttled for a while)",
            one.paused <= most,
        )
    ]
    for aim, result in found.aims:
        at = result.quantile(0.95)
        half = result.quantile(0.5)
        reached = "never" if at is None else f"{at:,} (half of them by {half:,})"
        table.append(Goal(aim.words, f"p95 at most {aim.within:,} mails", reached, at is not None and at <= aim.within))
    played = found.ways[Way.TRIED]
    bounces = max((one.bounce_peak for one in played), default=0.0)
    complaints = max((one.complaint_peak for one in played), default=0.0)
    table += [
        Goal(
            f"{len(played)} fleets with adversaries, newest {REPRESENTATIVE:,} mails: worst account bounce rate",
            "never 4.5 %",
            f"{bounces * 100:.2f} %",
            bounces < 0.045,
        ),
        Goal(
            "the same fleets: worst account complaint rate",
            f"told only; bound by what leaves in the day until complaints come ({CHUNK:,} mails in 45 s for bounces)",
            f"{complaints * 100:.3f} %",
            None,
        ),
        Goal(
            "good tenants paused in those fleets",
            "0",
            str(sum(one.good_paused for one in played)),
            not any(one.good_paused for one in played),
        ),
    ]
    return table


def compared(found: Results) -> list[tuple[str, ...]]:
    """Return one row a way of isolation: accounts stopped, worst rates, good mail sent and clean, bad mail that left."""
    rows: list[tuple[str, ...]] = []
    for way, played in found.ways.items():
        wanted = sum(one.good_wanted for one in played) or 1
        rows.append(
            (
                way.value,
                f"{sum(one.account_stopped for one in played)} of {len(played)}",
                f"{max(one.bounce_peak for one in played) * 100:.2f} %",
                f"{max(one.complaint_peak for one in played) * 100:.3f} %",
                f"{sum(one.good_sent for one in played) / wanted * 100:.1f} %",
                f"{sum(one.good_clean for one in played) / wanted * 100:.1f} %",
                f"{sum(one.good_paused for one in played)}",
                f"{sum(one.leaked for one in played) / len(played):,.0f}",
            )
        )
    return rows


COMPARED = (
    "how tenants are kept apart",
    "accounts stopped by Amazon",
    "worst bounce rate",
    "worst complaint rate",
    "good mail sent",
    "good mail sent from a clean pool",
    "good tenants paused",
    "bad mail that left, a fleet",
)
