"""Owns the reading routes of messages; leaves handing them in to the door of `POST /v1/messages`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from tenantry.core.ids import MessageId
from tenantry.core.message import MessageState
from tenantry.edge.api.reach import Reader, TenantPaging, found, the_id
from tenantry.edge.api.shapes import Listing, MessageOut, MessageSummaryOut
from tenantry.ports import MessageFilter

router = APIRouter(prefix="/v1")


class MessagePaging(TenantPaging):
    """Which messages to list."""

    stream: str | None = None
    state: MessageState | None = None
    recipient: str | None = None


@router.get("/messages")
async def list_messages(caller: Reader, paging: Annotated[MessagePaging, Query()]) -> Listing[MessageSummaryOut]:
    """List one tenant's messages, newest first."""
    store = caller.of(await caller.tenant(paging.tenant))
    stream_id = found(await store.stream(paging.stream)).id if paging.stream is not None else None
    wanted = MessageFilter(stream_id, paging.state, paging.recipient)
    page = await store.messages(wanted, paging.cursor, paging.limit)
    shown = [MessageSummaryOut.of(view, ses_id=caller.is_operator) for view in page.items]
    return Listing(items=shown, next_cursor=page.next_cursor)


@router.get("/messages/{message}")
async def show_message(caller: Reader, message: str) -> MessageOut:
    """Show a message with all that happened to it."""
    message_id = the_id(MessageId, message)
    view = found(await (await caller.holding(message_id)).message(message_id))
    return MessageOut.whole(view, ses_id=caller.is_operator)
