"""Protections taken away one by one: what is patched, and the row that must notice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import botocore.handlers
import pytest

from greenlang_async_storage import (
    S3Error,
    S3PreconditionFailedError,
    UploadResult,
    _body,
    _connection,
    _deadline,
    _download_file,
    _error_map,
    _listing,
    _local_files,
    _partial_file,
    _presign,
    _requests,
    _retry,
    _verify,
)
from greenlang_async_storage._batch import _deletes
from greenlang_async_storage._bucket import _view
from greenlang_async_storage._info import object_info
from greenlang_async_storage._multipart import _abort, _complete
from greenlang_async_storage._multipart import _parts as _sending
from greenlang_async_storage._ranges import _get, _reader
from greenlang_async_storage._uploads import _parts, _put, _source
from greenlang_async_storage.fastpath.transport import _connection as _wire
from greenlang_async_storage.testing import MemoryS3
from tests.faults import _planted_rows as rows
from tests.faults import test_rows_requests as requests
from tests.faults import test_rows_transfers as transfers
from tests.support.faults import PART, Door, Lab, laboratory

Row = Callable[[Lab, Path], Awaitable[None]]
Patch = tuple[object, str, object]
NOTICED_WITHIN: Final = 4.0
"""Seconds: a row that hangs without its protection has noticed."""
HOLDS_WITHIN: Final = 40.0
"""Seconds that a row may take with it, on a busy machine too."""


@dataclass(frozen=True)
class Planted:
    """A protection that is gone, and the row that must fail without it."""

    patches: tuple[Patch, ...]
    row: Row
    settings: tuple[tuple[str, Any], ...] = ()
    fast_only: bool = False
    """It is one of the fast path's own."""
    behaviour: Any = "aws"


async def run(planted: Planted, folder: Path, door: Door, seconds: float, **settings: Any) -> None:
    """The row on a fresh store; raises where it fails, or leaves something behind."""
    store = MemoryS3(behaviour=planted.behaviour)
    async with laboratory(door, store=store, **dict(planted.settings), **settings) as lab:
        async with asyncio.timeout(seconds):
            await planted.row(lab, folder)
        lab.assert_at_rest()


async def notices(planted: Planted, folder: Path, door: Door, **settings: Any) -> bool:
    """Whether the row fails, or hangs, without the protection."""
    with pytest.MonkeyPatch.context() as patched:
        for target, attribute, value in planted.patches:
            assert hasattr(target, attribute), f"{attribute} was renamed: nothing would be taken away"
            patched.setattr(target, attribute, value)
        try:
            await run(planted, folder, door, NOTICED_WITHIN, **settings)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001  # however it shows
            return True
    return False


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


def _backwards(sender: _parts.PartSender) -> list[Any]:
    return [sender._parts[number] for number in sorted(sender._parts, reverse=True)]


_JOB = _requests.RequestEngine.job


def _endless(engine: _requests.RequestEngine, *arguments: Any, **options: Any) -> Any:
    made = _JOB(engine, *arguments, **options)
    made.limit, made.ends = 1e6, None
    return made


_EXIT = _deadline.Scope.__exit__


def _deaf(scope: _deadline.Scope, kind: Any, error: Any, trace: Any) -> None:
    _EXIT(scope, kind, error, trace)
    if kind is asyncio.CancelledError:
        raise _deadline.ScopeEndedError("deadline") from error


def _kept_open(connection: Any, reply: object) -> None:
    if connection._reply is reply:
        connection._reply = None
        connection._owner.release(connection)


def _prefix_as_it_is(view: Any, prefix: str) -> Any:
    return type(view)(view._connection, view._name, f"{view._prefix}{prefix}")


_FIRST = _get.first_args


def _one_more(key: str, span: Any, *rest: Any) -> Any:
    return _FIRST(key, span and (span[0], span[1] + 1), *rest)


_VERIFIED = _download_file._Attempt._verified


async def _named_first(attempt: Any, verifier: Any, file: Any, crcs: Any) -> bool:
    await asyncio.to_thread(file.commit, durable=False)
    return await _VERIFIED(attempt, verifier, file, crcs)


_PUBLISH = _local_files.publish


def _unsynced(*arguments: Any, **options: Any) -> None:
    _PUBLISH(*arguments, **{**options, "durable": False})


async def _unchecked_journal(attempt: Any, _saved: object) -> Any:
    request, conn = attempt._request, attempt._conn
    head = await conn.call(
        "HeadObject",
        lambda s3: s3.head_object(Bucket=request.bucket, Key=request.key),
        bucket=request.bucket,
        key=request.key,
    )
    return object_info(request.key, head)


_FAILURES = _deletes._failures


def _of_the_neighbour(reply: Any, bucket: str, keys: Any) -> Mapping[str, S3Error]:
    after = dict(zip(keys, [*keys[1:], keys[0]], strict=True))
    return {after[key]: error for key, error in _FAILURES(reply, bucket, keys).items()}


async def _any_object(_conn: object, written: Any) -> UploadResult:
    return UploadResult(written.key, "etag", written.size)


_CALL = _connection.Connection.call


class _UsedUp:
    """A client whose bodies have been read to their end."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def upload_part(self, **given: Any) -> Any:
        """What is left of the part."""
        return await self._client.upload_part(**{**given, "Body": b""})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


async def _sent_once(connection: Any, operation: str, send: Any, **options: Any) -> Any:
    attempts: list[int] = []

    async def attempt(s3: Any) -> Any:
        attempts.append(1)
        return await send(s3 if len(attempts) == 1 else _UsedUp(s3))

    return await _CALL(connection, operation, attempt, **options)


class _Forgetful:
    """A client that loses what a protection is made of."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        if name == "_list_objects_in_columns":
            raise AttributeError(name)
        return getattr(self._client, name)

    async def copy_object(self, **given: Any) -> Any:
        """A copy of whatever is there by now."""
        del given["CopySourceIfMatch"]
        return await self._client.copy_object(**given)

    async def list_objects_v2(self, **given: Any) -> Any:
        """The second page in the place of the first."""
        reply = await self._client.list_objects_v2(**given)
        if "ContinuationToken" in given or not reply["IsTruncated"]:
            return reply
        return await self._client.list_objects_v2(**given, ContinuationToken=reply["NextContinuationToken"])


async def _forgetful(connection: Any, operation: str, send: Any, **options: Any) -> Any:
    return await _CALL(connection, operation, lambda s3: send(_Forgetful(s3)), **options)


PLANTED: Final[dict[str, Planted]] = {
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
    "retry of a failed condition": Planted(
        (
            (
                _retry.RetryPolicy,
                "again",
                lambda _policy, error: error.retryable or isinstance(error, S3PreconditionFailedError),
            ),
        ),
        lambda lab, _: requests.test_f10_permanent_refusals_are_sent_once(
            lab, {"status": 412, "code": "PreconditionFailed"}, S3PreconditionFailedError
        ),
    ),
    "retry budget without a bottom": Planted(
        ((_retry.RetryBudget, "take", lambda _: True),), rows.outage, (("retry_mode", "standard"),)
    ),
    "Retry-After ignored": Planted(((_error_map, "_retry_after", _nothing),), rows.told_to_wait),
    "a body that is used up is sent again": Planted(
        ((_connection.Connection, "call", _sent_once),),
        lambda lab, _: requests.test_f02_reset_in_the_request_body(lab, 1, 1),
    ),
    "no deadline of an attempt": Planted(
        ((_requests.RequestEngine, "job", _endless),), rows.silent_attempt, (("attempt_timeout", 0.2),)
    ),
    "no stall limit": Planted(
        ((_body.Body, "_check", _nothing),), rows.silent_body, (("stall_timeout", 0.2),)
    ),
    "a cancel is swallowed": Planted(((_deadline.Scope, "__exit__", _deaf),), rows.cancelled),
    "a connection is used again after a cancel": Planted(
        ((_wire.Connection, "cancel", _kept_open),),
        rows.cancelled_before_the_reply,
        (("max_pool_connections", 1),),
        fast_only=True,
    ),
    "expired credentials are not renewed": Planted(
        ((_requests, "_says_expired", lambda *_: False),), rows.expired
    ),
    "a lost Complete is not proved": Planted(((_complete, "prove", _none),), rows.lost_complete),
    "the echo of a conditional put is not proved": Planted(
        ((_put, "_settle", _unsettled),),
        lambda lab, _: requests.test_f03_reply_lost_of_a_conditional_write(lab),
    ),
    "any object proves a write": Planted(
        ((_put, "prove", _any_object),),
        lambda lab, _: requests.test_f03_the_object_of_another_is_no_echo(lab),
    ),
    "no abort": Planted(
        ((_abort, "_abort_twice", _none),), lambda lab, _: transfers.test_f27_the_producer_raises(lab, 7)
    ),
    "no clean-up": Planted(
        ((_connection.Connection, "clean_up", _none),),
        lambda lab, _: transfers.test_f28_the_producer_blocks(lab),
    ),
    "the last part is lost": Planted(
        ((_parts.PartSender, "_ordered", _without_last),),
        lambda lab, path: transfers.test_f32_odd_sizes(lab, path, PART + 1),
    ),
    "parts in the wrong order": Planted(
        ((_parts.PartSender, "_ordered", _backwards),), lambda lab, _: requests.upload_large(lab)
    ),
    "the checksum of an acknowledged part is not compared": Planted(
        ((_sending, "stored_checksum", _nothing),), rows.acknowledged_wrongly
    ),
    "an error inside a 200 is no error": Planted(
        ((botocore.handlers, "_should_handle_200_error", lambda *_: False),),
        lambda lab, _: requests.test_f11_an_error_inside_a_200(lab, "CopyObject"),
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
    "named before it is checked": Planted(
        ((_download_file._Attempt, "_verified", _named_first),),
        lambda lab, path: transfers.test_f05_flips_that_stay(lab, path),
    ),
    "named before it is synced": Planted(((_partial_file, "publish", _unsynced),), rows.durable_download),
    "the journal is not compared with the object": Planted(
        ((_download_file._Attempt, "_unchanged", _unchecked_journal),),
        rows.replaced_before_the_resume,
        behaviour="minio",
    ),
    "ranges not pinned": Planted(
        ((_get.Pin, "args", _unpinned), (_reader.RangeReader, "_check", _nothing)),
        lambda lab, path: transfers.test_f26_the_object_is_overwritten(lab, path, "always"),
    ),
    "resumed without If-Match": Planted(
        ((_get.Pin, "args", _unpinned),),
        lambda lab, path: transfers.test_f04_a_truncated_reply(lab, path, 999, "reset"),
    ),
    "a range of one byte more": Planted(((_reader, "first_args", _one_more),), rows.a_range),
    "the source is not watched": Planted(
        ((_source.SourceFile, "check", _nothing),),
        lambda lab, path: transfers.test_f25_the_source_changes(lab, path, "append"),
    ),
    "a copy of whatever is there": Planted(
        ((_connection.Connection, "call", _forgetful),), rows.source_overwritten
    ),
    "a page is left out": Planted(
        ((_connection.Connection, "call", _forgetful),),
        lambda lab, _: transfers.test_f30_a_page_fails(lab),
    ),
    "a repeated token is taken": Planted(
        ((_listing._RepeatGuard, "checked", lambda _self, position, _nowhere: position),),
        lambda lab, _: transfers.test_f30_a_token_that_repeats(lab),
    ),
    "errors inside a 200 of DeleteObjects are ignored": Planted(
        ((_deletes, "_failures", lambda *_: {}),),
        lambda lab, _: transfers.test_f31_deletes_that_fail_inside_a_200(lab),
    ),
    "results of a batch under the next key": Planted(
        ((_deletes, "_failures", _of_the_neighbour),),
        lambda lab, _: transfers.test_f31_deletes_that_fail_inside_a_200(lab),
    ),
    "t1 reaches t10": Planted(((_view.BucketView, "scoped", _prefix_as_it_is),), rows.other_tenant),
    "a file name as it comes": Planted(
        ((_presign, "content_disposition", lambda name: f'attachment; filename="{name}"'),),
        rows.hostile_filename,
    ),
}
