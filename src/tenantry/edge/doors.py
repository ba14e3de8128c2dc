"""Owns what the composition root hands to the doors, and the promise of each part.

Leaves how any of it is made to `app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tenantry.core.message import Accepted, Refusal, RefusalCode, Submission
from tenantry.edge.watch import Pages
from tenantry.ports import Clock, Store

BODY_BYTES_MAX = 41_000_000  # SES takes 40 MB after base64; the rest of a request is small
OFF_LOOP_BYTES = 256_000  # a larger body is checked and decoded in a thread: it would hold everybody else up


def ignore(_: RefusalCode) -> None:
    """Do nothing with a refusal."""


@dataclass(frozen=True, slots=True)
class Doors:
    """All that the doors need.

    accept: returns after the commit; may raise StoreBusy or StoreRejected, which the doors answer as `busy` and
    `invalid_field`. sesv2_model, ses_model: botocore's service models as `botocore.loaders` reads them. new_request_id: a short
    text that is unique among gateways. report_bug: is told (request id, error) of what should not happen; the caller gets
    `internal`. docs_url_prefix: goes before a refusal's code in each error body. pages: what is served to machines that
    watch the process. refused: is told the code of each submission that is refused, and of each call that broke.
    """

    store: Store
    clock: Clock
    accept: Callable[[Submission], Awaitable[Accepted | Refusal]]
    sesv2_model: Mapping[str, object]
    ses_model: Mapping[str, object]
    region: str
    version: str
    new_request_id: Callable[[], str]
    report_bug: Callable[[str, BaseException], None]
    max_body_bytes: int = BODY_BYTES_MAX
    pages: Pages = field(default_factory=dict)
    refused: Callable[[RefusalCode], None] = ignore
    docs_url_prefix: str = "docs/errors.md#"
