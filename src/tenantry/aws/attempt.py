"""Owns one attempt of a boto3 call: in a thread, its errors as the port's; leaves trying again to the flows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from tenantry.ports import ControlBusy, ControlRefused

T = TypeVar("T")
LATER = frozenset(
    {
        "TooManyRequestsException",
        "ThrottlingException",
        "Throttling",
        "RequestLimitExceeded",
        "ConcurrentModificationException",
        "ServiceUnavailable",
        "RequestTimeout",
    }
)


class Missing(ControlRefused):
    """What the call names is not there."""


class Exists(ControlRefused):
    """What the call would make is there."""


async def call(make: Callable[[], T]) -> T:
    """Make one call in a thread and turn its errors into the port's."""
    try:
        return await asyncio.to_thread(make)
    except ClientError as error:
        raise _port_error(error) from error
    except ParamValidationError as error:
        raise ControlRefused(str(error)) from error
    except BotoCoreError as error:  # no answer: timeout, reset, no credentials; the change is idempotent
        raise ControlBusy(str(error)) from error


def _port_error(error: ClientError) -> ControlRefused | ControlBusy:
    code, words = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
    text = f"{code}: {words}"
    if code in LATER or error.response["ResponseMetadata"].get("HTTPStatusCode", 0) >= 500:
        return ControlBusy(text)
    kinds = {"NotFoundException": Missing, "AlreadyExistsException": Exists}
    return kinds.get(code, ControlRefused)(text)
