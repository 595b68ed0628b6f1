"""Large request bodies on the client without the fast path: aiohttp gets them piece by piece."""

from __future__ import annotations

import asyncio
import os
from typing import Any, cast

import pytest
from aiohttp.abc import AbstractStreamWriter

from greenlang_async_storage._aws import open_client
from greenlang_async_storage._http_sessions import SENT_AT_ONCE, BytesInPieces
from greenlang_async_storage._settings import StorageSettings

pytestmark = pytest.mark.asyncio


class Recorder:
    """What aiohttp's stream writer is asked to write; it lets others run as a full socket would."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, piece: memoryview) -> None:
        """Keep a copy."""
        self.pieces.append(bytes(piece))
        await asyncio.sleep(0)

    @property
    def as_writer(self) -> AbstractStreamWriter:
        """As `BytesInPieces` takes it."""
        return cast("AbstractStreamWriter", self)


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [SENT_AT_ONCE, SENT_AT_ONCE + 1, 5 * 1024 * 1024])
async def test_large_bodies_arrive_unchanged(
    settings: StorageSettings, bucket_name: str, observer: Any, size: int, kind: type[bytes | bytearray]
) -> None:
    """A body of any size is stored as it is, and aiohttp has nothing to warn of (a warning fails a test)."""
    data = os.urandom(size)
    async with await open_client(settings.model_copy(update={"fast_path": False})) as opened:
        await opened.client.put_object(Bucket=bucket_name, Key="k", Body=kind(data))
    reply = await asyncio.to_thread(observer.get_object, Bucket=bucket_name, Key="k")
    assert await asyncio.to_thread(reply["Body"].read) == data


@pytest.mark.parametrize("limit", [None, 0, 1, SENT_AT_ONCE + 1, 3 * SENT_AT_ONCE + 5])
async def test_no_piece_is_larger_than_the_socket_is_given_at_once(limit: int | None) -> None:
    """The pieces, in order, are the body up to aiohttp's limit."""
    data = os.urandom(3 * SENT_AT_ONCE + 5)
    recorder = Recorder()
    payload = BytesInPieces(data)
    assert payload.size == len(data)
    await payload.write_with_length(recorder.as_writer, limit)
    assert b"".join(recorder.pieces) == data[:limit]
    assert all(len(piece) <= SENT_AT_ONCE for piece in recorder.pieces)


async def test_a_body_can_be_sent_again() -> None:
    """A second attempt sends the same bytes, and the caller's bytearray is free in between and afterwards."""
    data = bytearray(os.urandom(2 * SENT_AT_ONCE))
    payload = BytesInPieces(data)
    for _ in range(2):
        recorder = Recorder()
        await payload.write(recorder.as_writer)
        assert b"".join(recorder.pieces) == data
        data.extend(b"x")  # BufferError while a view of it is left
        del data[-1:]
