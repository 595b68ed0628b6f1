"""S14: nothing grows with what a stranger claims or packs, only with what was allowed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Final

import pytest

from greenlang_async_storage import S3Error, S3IntegrityError, S3InvalidRequestError
from greenlang_async_storage.artifacts import CalculationStore
from tests.fastpath.transport.wire import Peer, Server, reply
from tests.security._sessions import BOTH_PATHS, PeakMemory, lake_at
from tests.support.faults import BUCKET, laboratory

pytestmark = pytest.mark.asyncio

MIB: Final = 1024 * 1024
GB: Final = 10**9
HEADERS: Final = 'ETag: "x"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'


@BOTH_PATHS
async def test_s14_a_claim_beyond_the_limit_is_not_read(fast_path: bool) -> None:
    """`max_size` is compared with Content-Length before a byte is taken."""
    async with Server() as server:
        server.answers(reply(b"x" * 1001, headers=HEADERS))
        async with lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake:
            for call in (lake.download_bytes("key", max_size=1000), lake.download_json("key", max_size=1000)):
                with pytest.raises(S3InvalidRequestError, match=r"1,?000"):
                    await call
            assert await lake.download_bytes("key", max_size=1001) == b"x" * 1001


@BOTH_PATHS
async def test_s14_a_body_without_a_length_ends_at_the_limit(fast_path: bool) -> None:
    """`max_size` holds while reading too: a gigabyte that announces nothing is left after a moment."""
    sent = 0
    piece = b"x" * 65_536

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(f"HTTP/1.1 200 OK\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n".encode())
        while sent < GB:
            await peer.say(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += len(piece)

    memory = PeakMemory()
    async with (
        Server(script) as server,
        lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake,
    ):
        memory.start()
        with pytest.raises(S3Error):
            await lake.download_bytes("key", max_size=MIB)
        assert memory.grown() < 32 * MIB
    assert sent < 32 * MIB


@BOTH_PATHS
async def test_s14_claims_take_no_memory(fast_path: bool, tmp_path: Path) -> None:
    """Ten gigabytes announced and a few bytes sent: an error, and no memory or file for what never came."""
    async with Server() as server:
        claimed = f"{HEADERS}Content-Length: {10 * GB}\r\nConnection: close\r\n"

        async def script(peer: Peer) -> None:
            server.requests.append(await peer.request())
            await peer.say(reply(b"few bytes", headers=claimed, length=False))

        server.script = script
        memory = PeakMemory()
        async with lake_at(f"http://127.0.0.1:{server.port}", fast_path=fast_path) as lake:
            memory.start()
            with pytest.raises(S3Error):
                await lake.download_bytes("key")
            assert memory.grown() < 32 * MIB
    assert list(tmp_path.iterdir()) == []


async def test_s14_packed_bytes_stay_packed(tmp_path: Path) -> None:
    """A gzip bomb is the bytes it is, whatever Content-Encoding says: nothing is unpacked unasked."""
    bomb = gzip.compress(bytes(64 * MIB))
    assert len(bomb) < MIB
    async with laboratory() as lab:
        lab.store.put(BUCKET, "bomb", bomb, content_encoding="gzip")
        memory = PeakMemory()
        memory.start()
        assert await lab.lake.download_bytes("bomb") == bomb
        await lab.lake.download_file("bomb", tmp_path / "bomb")
        with pytest.raises(S3IntegrityError):
            await lab.lake.download_json("bomb")
        assert memory.grown() < 32 * MIB
    assert (tmp_path / "bomb").read_bytes() == bomb


DEEP: Final = {
    "lists": b"[" * 100_000 + b"]" * 100_000,
    "open lists": b"[" * 1_000_000,
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of a million digits": b"1" * 1_000_000,
    "nothing": b"",
}


@pytest.mark.parametrize("what", DEEP)
async def test_s14_hostile_json(what: str) -> None:
    """Depth, digits, bad text: an integrity error of the object, never a crash or `RecursionError`."""
    async with laboratory() as lab:
        lab.store.put(BUCKET, "value.json", DEEP[what])
        with pytest.raises(S3IntegrityError):
            await lab.lake.download_json("value.json")
        store = CalculationStore(lab.lake)
        saved = await store.save("t1", "c1", json.loads("{}"))
        lab.store.put(BUCKET, saved.key, DEEP[what])
        with pytest.raises(S3IntegrityError):
            await store.load("t1", "c1")
