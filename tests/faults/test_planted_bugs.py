"""Protections taken away one by one: the row that guards each of them notices, every time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    S3Error,
    _body,
    _connection,
    _listing,
    _requests,
    _retry,
    _verify,
)
from greenlang_async_storage._batch import _deletes
from greenlang_async_storage._multipart import _abort, _complete
from greenlang_async_storage._ranges import _get, _reader
from greenlang_async_storage._uploads import _parts, _put, _source
from greenlang_async_storage.testing import Fault
from tests.faults import test_rows_requests as requests
from tests.faults import test_rows_transfers as transfers
from tests.support.faults import PART, Lab, laboratory

pytestmark = pytest.mark.asyncio

Row = Callable[[Lab, Path], Awaitable[None]]
Patch = tuple[object, str, object]
NOTICED_WITHIN = 6.0
"""Seconds: a row that hangs without its protection has noticed."""


@dataclass(frozen=True)
class Planted:
    """A protection that is gone, and the row that must fail without it."""

    patches: tuple[Patch, ...]
    row: Row
    settings: tuple[tuple[str, Any], ...] = ()


async def _none(*_: object, **__: object) -> None:
    return None


def _nothing(*_: object, **__: object) -> None:
    return None


def _unpinned(pin: _get.Pin, start: int, stop: int) -> dict[str, str]:
    return {"Range": f"bytes={start}-{stop - 1}"}


async def _unsettled(_conn: object, _written: object, failure: BaseException) -> None:
    raise failure


def _without_last(sender: _parts.PartSender) -> list[Any]:
    return [sender._parts[number] for number in sorted(sender._parts)][:-1]


def _endless(engine: _requests.RequestEngine, *arguments: Any, **options: Any) -> Any:
    made = _JOB(engine, *arguments, **options)
    made.limit, made.ends = 1e6, None
    return made


_JOB = _requests.RequestEngine.job


async def _silent_attempt(lab: Lab, _: Path) -> None:
    lab.plan(Fault("PutObject", 1, "unforwarded", "stall"))
    await lab.lake.upload_bytes("key", requests.SMALL)


async def _silent_body(lab: Lab, _: Path) -> None:
    lab.store.put("lake", "key", transfers.LARGE)
    lab.plan(Fault("GetObject", 1, "reply_body", "stall", at=9))
    assert await lab.lake.download_bytes("key") == transfers.LARGE


async def _lost_complete(lab: Lab, _: Path) -> None:
    lab.plan(Fault("CompleteMultipartUpload", 0, "withheld", "reset"))
    await requests.upload_large(lab)


PLANTED = {
    "no retry": Planted(
        ((_retry.RetryPolicy, "again", lambda *_: False),),
        lambda lab, _: requests.test_f02_reset_in_the_request_body(lab, 1, 1),
    ),
    "retry of what is final": Planted(
        ((_retry.RetryPolicy, "again", lambda *_: True),),
        lambda lab, _: requests.test_f10_permanent_refusals_are_sent_once(
            lab, {"status": 403, "code": "AccessDenied"}, S3Error
        ),
    ),
    "no deadline of an attempt": Planted(
        ((_requests.RequestEngine, "job", _endless),), _silent_attempt, (("attempt_timeout", 0.2),)
    ),
    "no stall limit": Planted(((_body.Body, "_check", _nothing),), _silent_body, (("stall_timeout", 0.2),)),
    "a lost Complete is not proved": Planted(((_complete, "prove", _none),), _lost_complete),
    "the echo of a conditional put is not proved": Planted(
        ((_put, "_settle", _unsettled),),
        lambda lab, _: requests.test_f03_reply_lost_of_a_conditional_write(lab),
    ),
    "no abort": Planted(
        ((_abort, "abort", _none),), lambda lab, _: transfers.test_f27_the_producer_raises(lab, 7)
    ),
    "no clean-up": Planted(
        ((_connection.Connection, "clean_up", _none),),
        lambda lab, _: transfers.test_f28_the_producer_blocks(lab),
    ),
    "the last part is lost": Planted(
        ((_parts.PartSender, "_ordered", _without_last),),
        lambda lab, path: transfers.test_f32_odd_sizes(lab, path, PART + 1),
    ),
    "no slot given back": Planted(
        ((_connection.Connection, "_body_closed", _nothing),),
        lambda lab, _: transfers.test_f09_a_reader_that_leaves(lab),
    ),
    "checksums of reads not compared": Planted(
        (
            (_verify, "matches_at_once", lambda *_: True),
            (_verify.Check, "matches", lambda *_: True),
            (_verify.Verifier, "demand", _nothing),
        ),
        lambda lab, path: transfers.test_f05_flips_that_stay(lab, path),
    ),
    "ranges not pinned": Planted(
        ((_get.Pin, "args", _unpinned), (_reader.RangeReader, "_check", _nothing)),
        lambda lab, path: transfers.test_f26_the_object_is_overwritten(lab, path, "always"),
    ),
    "the source is not watched": Planted(
        ((_source.SourceFile, "check", _nothing),),
        lambda lab, path: transfers.test_f25_the_source_changes(lab, path, "append"),
    ),
    "a repeated token is taken": Planted(
        ((_listing._RepeatGuard, "checked", lambda _self, position, _nowhere: position),),
        lambda lab, _: transfers.test_f30_a_token_that_repeats(lab),
    ),
    "errors inside a 200 of DeleteObjects are ignored": Planted(
        ((_deletes, "_failures", lambda *_: {}),),
        lambda lab, _: transfers.test_f31_deletes_that_fail_inside_a_200(lab),
    ),
}


async def _run(planted: Planted, folder: Path) -> None:
    async with laboratory(**dict(planted.settings)) as lab:
        async with asyncio.timeout(NOTICED_WITHIN):
            await planted.row(lab, folder)
        lab.assert_at_rest()


@pytest.mark.parametrize("name", PLANTED)
async def test_the_row_holds(tmp_path: Path, name: str) -> None:
    """With the protection in place the row passes: it does not fail for another reason."""
    await _run(PLANTED[name], tmp_path)


@pytest.mark.allow_blocking("without its protection a listing never lets the loop go")
@pytest.mark.parametrize("name", PLANTED)
async def test_the_row_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without the protection the row fails, or hangs."""
    planted = PLANTED[name]
    for target, attribute, value in planted.patches:
        assert hasattr(target, attribute), f"{attribute} was renamed: nothing would be taken away"
        monkeypatch.setattr(target, attribute, value)
    with pytest.raises((Exception, pytest.fail.Exception)):
        await _run(planted, tmp_path)
