"""S13: a reply cannot make reading it cost more than its length, nor its length without end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Final
from xml.parsers import expat

import pytest

from greenlang_async_storage import Bucket, S3Error, _aws, _http_sessions
from greenlang_async_storage.testing import MemoryS3
from tests.fastpath.transport.wire import Peer, Server, reply
from tests.security._sessions import BOTH_PATHS, PeakMemory, lake_at

pytestmark = pytest.mark.asyncio

MIB: Final = 1024 * 1024
LAUGHS: Final = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY l0 "lol">'
    + b"".join(b'<!ENTITY l%d "%b">' % (level, b"&l%d;" % (level - 1) * 10) for level in range(1, 10))
    + b"]><ListBucketResult><Name>&l9;</Name></ListBucketResult>"
)
QUADRATIC: Final = (
    b'<!DOCTYPE a [<!ENTITY a "'
    + b"x" * 50_000
    + b'">]><ListBucketResult><Name>'
    + b"&a;" * 20_000
    + b"</Name></ListBucketResult>"
)
BOMBS: Final = {
    "billion laughs": LAUGHS,
    "quadratic": QUADRATIC,
    "external entity": b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><ListBucketResult><Name>&a;</Name>'
    b"</ListBucketResult>",
    "external subset": b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x"><ListBucketResult/>',
    "declared only": b"<!DOCTYPE a><ListBucketResult><Name>lake</Name></ListBucketResult>",
    "behind a comment": b"<!-- " + b"x" * 10_000 + b" --><!DOCTYPE a><ListBucketResult/>",
    "deep": b"<ListBucketResult>" + b"<a>" * 200_000,
    "deep and whole": b"<ListBucketResult>" + b"<a>" * 1_000 + b"</a>" * 1_000 + b"</ListBucketResult>",
    "no UTF-8": b"<ListBucketResult><Name>\xff\xfe</Name></ListBucketResult>",
    "UTF-7": b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a+AD4-<ListBucketResult/>',
    "UTF-16": ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><ListBucketResult/>').encode("utf-16"),
}
READERS: dict[str, Callable[[Bucket], Awaitable[object]]] = {
    "a listing": lambda lake: anext(lake.list_objects()),
    "a copy": lambda lake: lake.copy("a", "b"),
    "tags": lambda lake: lake.get_tags("a"),
    "versions": lambda lake: anext(lake.list_versions()),
}
HEAD: Final = reply(headers='ETag: "etag"\r\n')


@BOTH_PATHS
async def test_s13_bombs(fast_path: bool) -> None:
    """An error, never a result, and never more than 32 MiB; where the call failed anyway, of its status."""
    memory = PeakMemory()
    async with (
        Server() as server,
        lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake,
    ):
        for (reader, call), (bomb, body) in product(READERS.items(), BOMBS.items()):
            for status in ("200 OK", "403 Forbidden"):
                bad = reply(body, status=status, headers="Connection: close\r\n")
                server.answers(*([HEAD, bad] if reader == "a copy" else [bad]))
                memory.start()
                with pytest.raises(S3Error) as caught:
                    await asyncio.wait_for(call(lake), 10)
                assert memory.grown() < 32 * MIB, (reader, bomb)
                if status[:3] == "403":
                    assert caught.value.status == 403, (reader, bomb)


@BOTH_PATHS
@pytest.mark.parametrize("how", ["chunked", "announced", "until the end"])
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden"])
async def test_s13_replies_without_end(how: str, status: str, fast_path: bool) -> None:
    """A listing or an error of a gigabyte is read up to its limit, whatever length it has or claims."""
    sent = 0
    piece = b"<a>" + b"a" * 65_533
    framing = {"chunked": "Transfer-Encoding: chunked\r\n", "announced": "Content-Length: 1073741824\r\n"}

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(f"HTTP/1.1 {status}\r\n{framing.get(how, '')}\r\n".encode())
        while sent < 1024 * MIB:
            await peer.say(b"%x\r\n%b\r\n" % (len(piece), piece) if how == "chunked" else piece)
            sent += len(piece)

    memory = PeakMemory()
    async with (
        Server(script) as server,
        lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake,
    ):
        memory.start()
        with pytest.raises(S3Error):
            await anext(lake.list_objects())
        assert memory.grown() < 32 * MIB
    assert sent < 32 * MIB


@BOTH_PATHS
async def test_s13_objects_have_no_such_limit(fast_path: bool) -> None:
    """The limit is for documents: an object beyond it arrives, also one that looks like a bomb."""
    data = BOMBS["declared only"] + bytes(_http_sessions.MAX_REPLY_BYTES)
    async with Server() as server:
        server.answers(reply(data))
        async with lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake:
            assert await lake.download_bytes("key") == data
            async with (await lake._connection.client.get_object(Bucket=lake.name, Key="key"))[
                "Body"
            ] as body:
                assert await body.read() == data


@BOTH_PATHS
async def test_s13_a_reply_that_lacks_what_s3_always_says(fast_path: bool) -> None:
    """A source without an ETag cannot be pinned: that is told, and nothing is copied."""
    async with (
        Server() as server,
        lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake,
    ):
        server.answers(reply())
        with pytest.raises(S3Error, match="has no ETag"):
            await lake.copy("a", "b")
        assert [request.method for request in server.requests] == ["HEAD"]


@BOTH_PATHS
async def test_s13_honest_replies_pass(fast_path: bool) -> None:
    """A page of 1,000 keys of 1,024 bytes is well within the limits."""
    store = MemoryS3()
    store.create_bucket("lake")
    keys = [f"{number:04}{'k' * 1020}" for number in range(1000)]
    for key in keys:
        store.put("lake", key, b"")
    page = store.handle("GET", "/lake?list-type=2", {}, b"").body
    assert 1 * MIB < len(page) < _http_sessions.MAX_REPLY_BYTES
    async with Server() as server:
        server.answers(reply(page))
        async with lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake:
            assert [found.key async for found in lake.list_objects()] == keys


@pytest.mark.parametrize(("version", "told"), [((2, 5, 0), True), ((2, 6, 0), False), ((2, 10, 1), False)])
async def test_s13_an_old_parser_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], told: bool
) -> None:
    """An expat before 2.6.0 is named in the log, once a process."""
    monkeypatch.setattr(expat, "EXPAT_VERSION", f"expat_{version}")
    monkeypatch.setattr(expat, "version_info", version)
    _aws._tell_expat.cache_clear()
    caplog.set_level(logging.INFO, "greenlang_async_storage")
    for _ in range(2):
        async with lake_at("http://127.0.0.1:1"):
            pass
    events = [record for record in caplog.records if "storage.expat_old" in record.getMessage()]
    assert len(events) == int(told)
