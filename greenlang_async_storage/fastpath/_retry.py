"""
What follows a first answer that is not a plain success: botocore's own machinery, with that answer in its
hands.

The compiled call makes the first attempt. For anything but the answers it knows, the original call is run
from the start with one difference: when it comes to sending its first attempt, it gets the answer (or the
error) that has already come. Parsing, retry decision, quota, rate limiter, waiting, redirects and later
attempts are then botocore's, so the number of requests on the wire and all counters are the same as without
us.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from aiobotocore.awsrequest import AioAWSResponse


@dataclass(slots=True)
class FirstAnswer:
    """The outcome of the first attempt, to be handed over once."""

    operation: str
    invocation_id: str
    response: AioAWSResponse | None = None
    error: BaseException | None = None
    used: bool = False


class _Succeeded:
    """Stands for a response of status 200 where botocore's handlers look at nothing else."""

    status_code = 200


_answer: ContextVar[FirstAnswer | None] = ContextVar("greenlang_fastpath_first_answer", default=None)
SUCCEEDED = _Succeeded()


async def hand_over(
    answer: FirstAnswer, call: Callable[[str, dict[str, Any]], Awaitable[Any]], parameters: dict[str, Any]
) -> Any:
    """What botocore's *call* returns or raises when *answer* is the outcome of its first attempt."""
    token = _answer.set(answer)
    try:
        return await call(answer.operation, parameters)
    finally:
        _answer.reset(token)


def before_call(event_name: str, context: dict[str, Any], **_: object) -> None:
    """Handler: the later attempts carry the invocation id of the first one."""
    answer = _answer.get()
    if answer is not None and not answer.used and event_name == f"before-call.s3.{answer.operation}":
        context["retries"] = {"invocation-id": answer.invocation_id}


def before_send(event_name: str, **_: object) -> AioAWSResponse | None:
    """Handler: the first attempt has been made."""
    answer = _answer.get()
    if answer is None or answer.used or event_name != f"before-send.s3.{answer.operation}":
        return None
    answer.used = True
    if answer.error is not None:
        raise answer.error
    return answer.response


def received(url: str, status: int, headers: dict[str, str], body: bytes, raw: object) -> AioAWSResponse:
    """A response as aiobotocore's session returns it, its body read unless *raw* still streams."""
    response = AioAWSResponse(url, status, headers, raw)
    if raw is None:
        response._content = body
    return response


def success_event(operation_model: object, parsed: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `needs-retry` after a first attempt that succeeded."""
    return {
        "response": (SUCCEEDED, parsed),
        "operation": operation_model,
        "attempts": 1,
        "caught_exception": None,
        "request_dict": {"context": {}},
    }
