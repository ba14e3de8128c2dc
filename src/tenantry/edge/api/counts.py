"""Owns the routes of a tenant's counts: its mail by day and provider, and the check of what is kept against its recipients."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from tenantry.core.counts import BucketKey, CountCheck, Counts, DayCounts, Difference, day_of
from tenantry.edge.api.reach import Reader
from tenantry.edge.api.shapes import Listing, Shape

router = APIRouter(prefix="/v1")


class DaysQuery(BaseModel):
    """How many days, today being one."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[int, Field(ge=1, le=31)] = 7


class DayOut(Shape):
    """A day's mail of one stream to one provider; bounces and complaints stand on the day of sending."""

    stream_id: str
    cohort: int
    day: date
    provider: str
    handed: int
    reporting: int
    bounced: int
    complained: int

    @classmethod
    def of(cls, one: DayCounts) -> DayOut:
        """Show a day."""
        return cls(
            stream_id=one.stream_id,
            cohort=one.cohort,
            day=one.day,
            provider=one.provider,
            **one.counts._asdict(),
        )


class CountsOut(Shape):
    """Recipients: handed, of them with providers that report complaints, bounced, complained."""

    handed: int
    reporting: int
    bounced: int
    complained: int

    @classmethod
    def of(cls, counts: Counts) -> CountsOut:
        """Show counts."""
        return cls(**counts._asdict())


class DifferenceOut(Shape):
    """A bucket (by its first place in sending order) or a day and provider whose count is kept otherwise than it is."""

    stream_id: str
    cohort: int
    first_recipient: int | None
    day: date | None
    provider: str | None
    kept: CountsOut
    counted: CountsOut

    @classmethod
    def of(cls, one: Difference) -> DifferenceOut:
        """Show a difference."""
        key = one.key
        return cls(
            stream_id=key.stream_id,
            cohort=key.cohort,
            first_recipient=key.first_recipient if isinstance(key, BucketKey) else None,
            day=None if isinstance(key, BucketKey) else day_of(key.day),
            provider=None if isinstance(key, BucketKey) else key.provider,
            kept=CountsOut.of(one.kept),
            counted=CountsOut.of(one.counted),
        )


class CountCheckOut(Shape):
    """How kept counts compare with the recipients: over how many recipients and counts, and all that differ."""

    recipients: int
    counts: int
    differences: list[DifferenceOut]

    @classmethod
    def of(cls, check: CountCheck) -> CountCheckOut:
        """Show a check."""
        return cls(
            recipients=check.recipients,
            counts=check.counts,
            differences=[DifferenceOut.of(one) for one in check.differences],
        )


@router.get("/tenants/{tenant}/counts")
async def list_counts(caller: Reader, tenant: str, query: Annotated[DaysQuery, Query()]) -> Listing[DayOut]:
    """List what each stream sent to each provider, by day of sending."""
    found = await caller.of(await caller.tenant(tenant)).mail_days(query.days)
    return Listing(items=[DayOut.of(one) for one in found])


@router.get("/tenants/{tenant}/counts/check")
async def check_counts(caller: Reader, tenant: str, query: Annotated[DaysQuery, Query()]) -> CountCheckOut:
    """Count the recipients of the last days anew and say where the kept counts differ; reads all their mail."""
    return CountCheckOut.of(await caller.of(await caller.tenant(tenant)).count_check(query.days))
