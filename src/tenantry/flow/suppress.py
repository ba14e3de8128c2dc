"""Owns which changes people may make to a tenant's suppressions; leaves keeping them to the store, those by events to ingest.

Every door uses these: REST, the SES wire, and the unsubscribe page. Reading is the store's `suppressions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenantry.core.ids import StreamId, TenantId
from tenantry.core.message import Refusal, RefusalCode
from tenantry.core.suppression import NewSuppression
from tenantry.ports import Store, StoreRejected
from tenantry.wire.address import AddressError, parse_mailbox

ENTRIES_MOST = 1_000  # of one call
ADDRESS_CHARS_MAX = 320


@dataclass(frozen=True, slots=True)
class Added:
    """What adding came to: how many entries are new, and for each given entry why it was left out, or None."""

    new: int
    refused: tuple[Refusal | None, ...]


async def add(store: Store, tenant_id: TenantId, entries: Sequence[NewSuppression]) -> Added | Refusal:
    """Suppress these addresses of one tenant, at most 1,000; one that is no address is left out and named.

    An entry that is there already gets the new cause and time. A stream that is not the tenant's refuses the whole call.
    """
    if len(entries) > ENTRIES_MOST:
        return Refusal(RefusalCode.INVALID_FIELD, f"Give at most {ENTRIES_MOST:,} addresses a call.", "addresses")
    kept: list[NewSuppression] = []
    refused: list[Refusal | None] = []
    for entry in entries:
        address = address_as_kept(entry.address)
        if isinstance(address, Refusal):
            refused.append(address)
        else:
            refused.append(None)
            kept.append(replace(entry, address=address))
    try:
        new = await store.of(tenant_id).suppress(kept) if kept else 0
    except StoreRejected as error:
        return Refusal(RefusalCode.NOT_FOUND, str(error), "stream")
    return Added(new, tuple(refused))


async def remove(
    store: Store, tenant_id: TenantId, addresses: Sequence[str], stream_id: StreamId | None = None
) -> int | Refusal:
    """Let these addresses be mailed again, by one stream or (None) by all; return how many were suppressed.

    What is no address cannot be on the list and counts as not there.
    """
    if len(addresses) > ENTRIES_MOST:
        return Refusal(RefusalCode.INVALID_FIELD, f"Give at most {ENTRIES_MOST:,} addresses a call.", "addresses")
    kept = [one for one in map(address_as_kept, addresses) if not isinstance(one, Refusal)]
    return await store.of(tenant_id).unsuppress(kept, stream_id) if kept else 0


def address_as_kept(text: str) -> str | Refusal:
    """Return an address in the one form that it is suppressed in (lower case, ASCII domain), or say what is wrong."""
    if len(text) > ADDRESS_CHARS_MAX:
        return Refusal(
            RefusalCode.INVALID_ADDRESS, f"An address has at most {ADDRESS_CHARS_MAX} characters.", "address"
        )
    try:
        mailbox = parse_mailbox(text.strip())
    except AddressError as error:
        return Refusal(RefusalCode.INVALID_ADDRESS, str(error), "address")
    if mailbox.display:
        return Refusal(RefusalCode.INVALID_ADDRESS, "Give the address alone, without a display name.", "address")
    return mailbox.address.lower()
