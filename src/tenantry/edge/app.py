"""Owns the ASGI app: which door a request goes to, its id, and what is answered when something breaks.

Leaves each answer to the doors and routes. The two doors that mail comes through are bare ASGI; the rest is FastAPI.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantry.edge import errors
from tenantry.edge.api.rest import management_api
from tenantry.edge.asgi import ClientGoneError, answer
from tenantry.edge.auth import Keyring
from tenantry.edge.doors import Doors
from tenantry.edge.send import PATH as MESSAGES
from tenantry.edge.send import REQUEST_ID, SendDoor
from tenantry.edge.send_many import PATHS as MANY
from tenantry.edge.send_many import SendManyDoor
from tenantry.edge.ses import PREFIX as SES
from tenantry.edge.ses import REQUEST_ID as SES_REQUEST_ID
from tenantry.edge.ses import SesDoor
from tenantry.edge.ses_v1 import PATH as SES_V1
from tenantry.edge.ses_v1 import SesV1Door
from tenantry.edge.watch import WatchDoor
from tenantry.flow.accept import busy
from tenantry.ports import StoreBusy


def create_app(doors: Doors) -> ASGIApp:
    """Return the app that serves every HTTP door."""
    keyring = Keyring(doors.store, doors.clock)
    sending = SendDoor(doors, keyring), SendManyDoor(doors, keyring)
    ses = SesDoor(doors, keyring), SesV1Door(doors, keyring)
    return Dispatcher(doors, ses, sending, management_api(doors, keyring))


class Dispatcher:
    """Sends each request to its door, and answers in the door's own shape when that breaks."""

    def __init__(
        self, doors: Doors, ses: tuple[SesDoor, ASGIApp], sending: tuple[ASGIApp, ASGIApp], rest: ASGIApp
    ) -> None:
        self._doors, self._rest = doors, rest
        self._ses, self._v1 = ses
        self._send, self._many = sending
        self._watch = WatchDoor(doors.pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        request_id = scope["tenantry.request_id"] = self._doors.new_request_id()
        path: str = scope["path"]
        if path.startswith(SES) and path[len(SES) : len(SES) + 1] in ("", "/"):
            await self._answer_ses(scope, receive, send)
        elif path == MESSAGES and scope["method"] == "POST":
            await self._guarded(self._send, scope, receive, send)
        elif path in MANY and scope["method"] == "POST":
            await self._guarded(self._many, scope, receive, send)
        elif path == SES_V1 and scope["method"] == "POST":
            await self._v1(scope, receive, send)
        elif self._watch.serves(path):
            await self._watch(scope, receive, send)
        else:
            await self._guarded(self._rest, scope, receive, _with_request_id(send, request_id))

    async def _answer_ses(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer on the SES wire, as a whole or not at all."""
        request_id: str = scope["tenantry.request_id"]
        try:
            reply = await self._ses.reply(scope, receive)
        except ClientGoneError:
            return
        except StoreBusy as error:
            reply = errors.ses_answer(busy(error))
        except Exception as error:
            self._doors.report_bug(request_id, error)
            reply = errors.ses_answer(errors.INTERNAL)
        if reply.code is not None:
            self._doors.refused(reply.code)
        await answer(send, reply, SES_REQUEST_ID, request_id)

    async def _guarded(self, door: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a REST door; what it did not foresee is reported, and answered unless an answer has begun."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await door(scope, receive, watched)
        except ClientGoneError:
            return
        except StoreBusy as error:
            refusal = busy(error)
        except Exception as error:
            self._doors.report_bug(scope["tenantry.request_id"], error)
            refusal = errors.INTERNAL
        else:
            return
        self._doors.refused(refusal.code)
        if not begun:
            request_id: str = scope["tenantry.request_id"]
            reply = errors.rest_answer(refusal, request_id, self._doors.docs_url_prefix)
            await answer(send, reply, REQUEST_ID, request_id)


def _with_request_id(send: Send, request_id: str) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [row for row in message["headers"] if row[0] != REQUEST_ID]
            message = {**message, "headers": [*headers, (REQUEST_ID, request_id.encode())]}
        await send(message)

    return send_with_id
