"""Owns how the management routes are put together: their error shape and their limit of size.

Leaves each route to its module, and what is written about them to `openapi` and `page`.
"""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tenantry.core.message import Refusal, RefusalCode
from tenantry.edge import errors
from tenantry.edge.api import (
    counts,
    explain,
    fleet,
    keys,
    messages,
    pauses,
    policies,
    recovery,
    suppressions,
    templates,
    tenants,
)
from tenantry.edge.api.openapi import describe
from tenantry.edge.api.page import add_page
from tenantry.edge.api.suppressions import IMPORT_BYTES_MAX, IMPORT_PATH
from tenantry.edge.api.templates import PLACE as TEMPLATES
from tenantry.edge.api.templates import TEMPLATE_BODY_BYTES_MAX
from tenantry.edge.asgi import JSON, read_body
from tenantry.edge.auth import Keyring
from tenantry.edge.doors import Doors
from tenantry.edge.errors import RefusedError, rest_answer
from tenantry.edge.rest_message import field_refusal
from tenantry.flow.accept import busy
from tenantry.ports import StoreBusy, StoreConflict, StoreRejected

MANAGEMENT_BODY_BYTES_MAX = 65_536
_NO_SUCH_ROUTE = Refusal(RefusalCode.NOT_FOUND, "There is no such route: see /docs.")
_PLACES = frozenset({"body", "query", "path", "header"})


def management_api(doors: Doors, keyring: Keyring) -> ASGIApp:
    """Return the app of every route but the two that mail comes through."""
    app = FastAPI(
        title="Tenantry",
        version=doors.version,
        summary="Many tenants send email through Amazon SES, each behind its own walls",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        redirect_slashes=False,
    )
    app.state.doors, app.state.keyring = doors, keyring
    for module in (
        messages,
        tenants,
        keys,
        suppressions,
        templates,
        pauses,
        explain,
        counts,
        policies,
        fleet,
        recovery,
    ):
        app.include_router(module.router)

    _add_handlers(app)
    describe(app)
    add_page(app)
    return _Capped(app, doors)


def _add_handlers(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return _response(request, error.refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return _response(request, _validation_refusal(error))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            refusal = Refusal(RefusalCode.UNSUPPORTED, f"This route does not take {request.method}: see /docs.")
        else:
            refusal = _NO_SUCH_ROUTE if error.status_code == 404 else Refusal(RefusalCode.MALFORMED, str(error.detail))
        response = _response(request, refusal, error.status_code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(StoreRejected)
    async def unkeepable(request: Request, error: StoreRejected) -> Response:
        # The one parameter of a list that the store itself reads.
        field = "cursor" if "cursor" in request.query_params else None
        return _response(request, Refusal(RefusalCode.INVALID_FIELD, str(error), field))

    @app.exception_handler(StoreConflict)
    async def conflict(request: Request, error: StoreConflict) -> Response:
        return _response(request, Refusal(RefusalCode.CONFLICT, str(error)))

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        # The framework passes the error on once this is sent, so that the dispatcher reports it.
        return _response(request, errors.INTERNAL)

    @app.exception_handler(StoreBusy)
    async def away(request: Request, error: StoreBusy) -> Response:
        return _response(request, busy(error))


def _response(request: Request, refusal: Refusal, status: int | None = None) -> Response:
    doors: Doors = request.app.state.doors
    reply = rest_answer(refusal, request.scope["tenantry.request_id"], doors.docs_url_prefix, status)
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, media_type="application/json")


def _validation_refusal(error: RequestValidationError) -> Refusal:
    first = error.errors()[0]
    loc = [part for number, part in enumerate(first["loc"]) if number or part not in _PLACES]
    return field_refusal(first["type"], loc, first["msg"])


def _json_refusal(body: bytes) -> Refusal | None:
    """Refuse what is not JSON, or holds half a surrogate pair, which Python's own reader would let through."""
    try:
        if body:
            from_json(body, allow_inf_nan=False)
    except ValueError as error:
        return Refusal(RefusalCode.MALFORMED, f"Send a JSON object in UTF-8: {error}.", "body")
    return None


class _Capped:
    """Reads a body whole before the framework sees it, so that its size is limited whatever it announces."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        is_file = scope["path"] == IMPORT_PATH
        most = IMPORT_BYTES_MAX if is_file else MANAGEMENT_BODY_BYTES_MAX
        if scope["path"].startswith(TEMPLATES):
            most = TEMPLATE_BODY_BYTES_MAX
        body = await read_body(scope, receive, most)
        refusal = errors.too_large(most) if body is None else None if is_file else _json_refusal(body)
        if refusal:
            reply = rest_answer(refusal, scope["tenantry.request_id"], self._doors.docs_url_prefix)
            head = [JSON, *reply.headers]
            await send({"type": "http.response.start", "status": reply.status, "headers": head})
            await send({"type": "http.response.body", "body": reply.body})
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        # Whatever a client calls its body, it is read as JSON: a key in a header, not a browser's cookie, lets it in.
        headers = [row for row in scope["headers"] if row[0] != b"content-type"]
        await self._app({**scope, "headers": [*headers, JSON]}, replay, send)
