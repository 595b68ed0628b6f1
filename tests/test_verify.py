"""Stored checksums recomputed: whole and composite, in pieces of any length, from memory and from disk."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenlang_async_storage import Bucket, Checksum, S3IntegrityError
from greenlang_async_storage import _verify as verify
from greenlang_async_storage._checksums import Hasher, composite
from greenlang_async_storage._info import object_info
from greenlang_async_storage._local_files import in_thread
from greenlang_async_storage._ranges import Pin
from greenlang_async_storage._types import ChecksumAlgorithm
from tests.support.scripted import error_reply, scripted_connection
from tests.support.seeding import Seeder

MIB = 1024 * 1024
DATA = random.Random(10).randbytes(11 * MIB + 100)
ALGORITHMS: tuple[ChecksumAlgorithm, ...] = ("CRC64NVME", "CRC32", "CRC32C", "SHA256", "SHA1")


def whole(algorithm: ChecksumAlgorithm, data: bytes) -> str:
    """The checksum of *data*."""
    hasher = Hasher(algorithm)
    hasher.update(data)
    return hasher.base64()


def composite_of(algorithm: ChecksumAlgorithm, data: bytes, sizes: Sequence[int]) -> Checksum:
    """The composite checksum of *data* sent in parts of *sizes*."""
    values, position = [], 0
    for size in sizes:
        values.append(whole(algorithm, data[position : position + size]))
        position += size
    return Checksum(algorithm, composite(algorithm, values), "COMPOSITE")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300)), damaged=st.integers(0, 299))
def test_a_whole_value_matches_its_bytes_only(
    algorithm: ChecksumAlgorithm, data: bytes, cuts: list[int], damaged: int
) -> None:
    """However the bytes are cut; one changed byte is noticed."""
    checksum = Checksum(algorithm, whole(algorithm, data))
    assert checked(verify.Check(checksum), data, cuts)
    if damaged < len(data):
        bad = data[:damaged] + bytes([data[damaged] ^ 1]) + data[damaged + 1 :]
        assert not checked(verify.Check(checksum), bad, cuts)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA256", "SHA1"])
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 300)),
    seed=st.integers(0, 99),
)
def test_a_composite_value_matches_part_by_part(
    algorithm: ChecksumAlgorithm, sizes: list[int], cuts: list[int], seed: int
) -> None:
    """Where the pieces are cut has nothing to do with where the parts were; other parts do not match."""
    data = random.Random(seed).randbytes(sum(sizes))
    checksum = composite_of(algorithm, data, sizes)
    assert checked(verify.Check(checksum, sizes), data, cuts)
    other = [sizes[0] + 1, *sizes[1:]] if len(sizes) == 1 else [sizes[0] + sizes[1], *sizes[2:]]
    assert not checked(verify.Check(checksum, other), data, cuts)
    if data:
        assert not checked(verify.Check(checksum, sizes), bytes([data[0] ^ 1]) + data[1:], cuts)


def checked(check: verify.Check, data: bytes, cuts: list[int]) -> bool:
    """Whether *data*, given in the pieces *cuts* make, matches."""
    position = 0
    for cut in [*sorted(cuts), len(data)]:
        check.update(memoryview(data)[position:cut])
        position = max(position, min(cut, len(data)))
    return check.matches()


def test_a_reply_becomes_an_object_info() -> None:
    """Quotes, time zones and our own metadata are taken off; sizes are of the whole object."""
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    info = object_info(
        "key",
        {
            "ETag": 'W/"abc-3"',
            "ContentRange": "bytes 5-9/1000",
            "ContentLength": 5,
            "LastModified": moment,
            "Metadata": {"tenant-id": "t1", "greenlang-upload-token": "secret"},
            "ChecksumCRC32": "AAAAAA==",
            "ServerSideEncryption": "aws:kms",
        },
    )
    assert (info.size, info.etag, info.parts, info.checksum) == (1000, "abc-3", 3, None)
    assert info.metadata == {"tenant-id": "t1"}
    assert info.last_modified == moment
    assert info.last_modified.tzinfo is UTC
    assert info.encryption == "aws:kms"
    bare = object_info(
        "key", {"ETag": '"abc"', "ContentLength": 7, "LastModified": moment.replace(tzinfo=None)}
    )
    assert (bare.size, bare.parts, bare.metadata) == (7, None, {})
    assert bare.last_modified == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_value_without_type_is_read_by_the_etag() -> None:
    """Of an object in parts it is composite, CRC64NVME aside, which never is."""
    reply = {"ETag": '"abc-3"', "ContentLength": 7}
    assert object_info("k", {**reply, "ChecksumSHA256": "x="}).checksum == Checksum(
        "SHA256", "x=-3", "COMPOSITE"
    )
    assert object_info("k", {**reply, "ChecksumCRC64NVME": "x="}).checksum == Checksum("CRC64NVME", "x=")
    stated = {**reply, "ChecksumCRC32": "x=", "ChecksumType": "FULL_OBJECT"}
    assert object_info("k", stated).checksum == Checksum("CRC32", "x=")
    assert object_info("k", {"ETag": '"abc"', "ChecksumSHA256": "x="}).checksum == Checksum("SHA256", "x=")


@pytest.fixture
def seed(observer: Any, bucket_name: str) -> Seeder:
    """Objects in the test's bucket."""
    return Seeder(observer, bucket_name)


@pytest.mark.asyncio
@pytest.mark.parametrize("checksum", ["SHA256", "CRC32"])
async def test_objects_sent_in_parts_by_others_are_verified(
    lake: Bucket, seed: Seeder, tmp_path: Path, checksum: str
) -> None:
    """Composite values, whose parts have lengths of their own, are verified in every kind of read."""
    seed.put_parts("key", DATA[: 6 * MIB], DATA[6 * MIB : 11 * MIB], DATA[11 * MIB :], checksum=checksum)
    info = await lake.download_file("key", tmp_path / "file", part_size=MIB, verify="require")
    assert (tmp_path / "file").read_bytes() == DATA
    assert info.verified
    assert info.checksum is not None
    assert (info.checksum.algorithm, info.checksum.type, info.parts) == (checksum, "COMPOSITE", 3)
    assert await lake.download_bytes("key") == DATA
    async with lake.open_download("key") as body:
        assert await body.read() == DATA
        assert body.info.verified


@pytest.mark.asyncio
async def test_composite_damage_is_noticed(
    lake: Bucket, seed: Seeder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checksum of parts finds what does not belong, in memory, in a stream and in a file."""
    seed.put_parts("key", DATA[: 5 * MIB], DATA[5 * MIB : 6 * MIB], checksum="SHA256")
    original = verify.Check.update

    def damage(check: verify.Check, data: bytes) -> None:
        original(check, bytes([data[0] ^ 1]) + bytes(data[1:]))

    monkeypatch.setattr(verify.Check, "update", damage)
    with pytest.raises(S3IntegrityError, match=r"stored SHA256 checksum .*-2"):
        await lake.download_bytes("key")
    with pytest.raises(S3IntegrityError):
        await lake.download_file("key", tmp_path / "file", part_size=MIB)
    async with lake.open_download("key") as body:
        with pytest.raises(S3IntegrityError):
            await body.read()
    assert not list(tmp_path.iterdir())


@pytest.mark.asyncio
async def test_objects_in_parts_without_a_checksum(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """Read by size and ETag, and not called verified."""
    seed.put_parts("key", DATA[: 5 * MIB], DATA[5 * MIB : 6 * MIB])
    info = await lake.download_file("key", tmp_path / "file")
    assert ((tmp_path / "file").read_bytes(), info.verified) == (DATA[: 6 * MIB], False)
    assert await lake.download_bytes("key") == DATA[: 6 * MIB]


Answer = Callable[[str, dict[str, Any]], Any]


def verifier(answer: Answer, checksum: Checksum, size: int) -> verify.Verifier:
    """A verifier whose store answers as *answer* says."""
    connection = scripted_connection(max_attempts=1)

    class Client:
        async def get_object_attributes(self, **arguments: Any) -> Any:
            return answer("attributes", arguments)

        async def head_object(self, **arguments: Any) -> Any:
            return answer("head", arguments)

    connection.client = cast("Any", Client())
    connection._engine._client = cast("Any", Client())
    return verify.Verifier(connection, Pin("bucket", "key", "e", size, None, None), checksum)


@pytest.mark.asyncio
async def test_long_lists_of_parts_come_in_pages() -> None:
    """Every page is asked for, from where the last one ended; a list that does not move on ends."""
    data, sizes = DATA[:2500], [1] * 2500
    checksum = composite_of("CRC32", data, sizes)

    def paged(_operation: str, arguments: dict[str, Any]) -> Any:
        after = arguments["PartNumberMarker"]
        upto = min(after + 1000, 2500)
        parts = [{"PartNumber": number, "Size": 1} for number in range(after + 1, upto + 1)]
        listed = {"Parts": parts, "IsTruncated": upto < 2500, "NextPartNumberMarker": upto}
        return {"ETag": "e", "ObjectParts": listed}

    assert await verifier(paged, checksum, 2500).data(data)

    def stuck(_operation: str, _arguments: dict[str, Any]) -> Any:
        listed = {"Parts": [{"PartNumber": 1, "Size": 1}], "IsTruncated": True, "NextPartNumberMarker": 0}
        return {"ETag": "e", "ObjectParts": listed}

    assert not await verifier(stuck, checksum, 2500).data(data)


@pytest.mark.asyncio
async def test_stores_that_do_not_list_parts_are_asked_for_each() -> None:
    """HeadObject by part number; without permission, with other sizes or too many parts: not verified."""
    data, sizes = DATA[:90], [40, 30, 20]
    checksum = composite_of("SHA256", data, sizes)

    def by_part(operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "attributes":
            raise error_reply("NotImplemented", 501)
        return {"ContentLength": sizes[arguments["PartNumber"] - 1]}

    def denied(_operation: str, _arguments: dict[str, Any]) -> Any:
        raise error_reply("AccessDenied", 403)

    def other(operation: str, _arguments: dict[str, Any]) -> Any:
        return {"ETag": "e"} if operation == "attributes" else {"ContentLength": 31}

    assert await verifier(by_part, checksum, 90).data(data)
    for answer in (denied, other):
        found = verifier(answer, checksum, 90)
        assert not await found.data(data)
        assert "parts it does not list" in str(found.missing())
    many = Checksum("CRC32", f"AAAAAA==-{verify.MAX_HEADS + 1}", "COMPOSITE")
    assert not await verifier(other, many, 90).data(data)
    broken = Checksum("CRC32", "AAAAAA==", "COMPOSITE")
    assert not await verifier(by_part, broken, 90).data(data)


@pytest.mark.asyncio
async def test_large_data_is_hashed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the measured sizes on, the loop is left free."""
    hops = []
    real = in_thread

    async def counted(function: Callable[[], None]) -> None:
        hops.append(function)
        await real(function)

    monkeypatch.setattr(verify, "in_thread", counted)
    sha = Checksum("SHA256", base64.b64encode(hashlib.sha256(DATA).digest()).decode())
    crc = Checksum("CRC64NVME", whole("CRC64NVME", DATA))

    def never(_operation: str, _arguments: dict[str, Any]) -> Any:
        raise AssertionError("nothing has to be asked")

    assert await verifier(never, crc, len(DATA)).data(DATA)
    assert not hops
    assert await verifier(never, sha, len(DATA)).data(DATA)
    assert len(hops) == 1
