"""What tells two contents apart, for objects of any origin."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import pytest
from awscrt import checksums as crt

from greenlang_async_storage import (
    Bucket,
    Checksum,
    ChecksumAlgorithm,
    ChecksumType,
    ObjectInfo,
    S3AccessDeniedError,
    S3ConnectionError,
    S3LocalFileError,
)
from greenlang_async_storage.ingest import plan_upload
from greenlang_async_storage.ingest._digests import ALGORITHMS, FileDigests, evidence
from greenlang_async_storage.ingest._entries import Entry
from tests.ingest.support import actions, make_tree, sync
from tests.support.faulty import FaultyClient, answer, no_reply
from tests.support.scripted import error_reply
from tests.support.seeding import Seeder

pytestmark = pytest.mark.asyncio

DATA = b"the quick brown fox" * 1000
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA = hashlib.sha256(DATA)


def base(number: int, size: int) -> str:
    """As S3 writes it."""
    return base64.b64encode(number.to_bytes(size, "big")).decode()


EXPECTED = {
    "CRC64NVME": base(crt.crc64nvme(DATA), 8),
    "CRC32C": base(crt.crc32c(DATA), 4),
    "CRC32": base(zlib.crc32(DATA), 4),
    "SHA256": base64.b64encode(SHA.digest()).decode(),
    "SHA1": base64.b64encode(hashlib.sha1(DATA, usedforsecurity=False).digest()).decode(),
    "MD5": MD5,
    "content-hash": SHA.hexdigest(),
}


def entry_of(path: Path) -> Entry:
    """As a walk gives it."""
    found = path.stat()
    state = f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"
    return Entry(path.name, found.st_size, state)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_checksums_of_files(tmp_path: Path, algorithm: str) -> None:
    """The same values a store gives, whatever it chose."""
    make_tree(tmp_path, {"f": DATA})
    assert await FileDigests(tmp_path).of(entry_of(tmp_path / "f"), algorithm) == EXPECTED[algorithm]


async def test_files_that_are_not_what_was_walked(tmp_path: Path) -> None:
    """Changed, they have no checksum; gone, they are an error."""
    make_tree(tmp_path, {"f": DATA})
    entry = entry_of(tmp_path / "f")
    make_tree(tmp_path, {"f": DATA[::-1]})
    (tmp_path / "f").touch()
    assert await FileDigests(tmp_path).of(entry, "CRC32") is None
    (tmp_path / "f").unlink()
    with pytest.raises(S3LocalFileError, match="cannot read"):
        await FileDigests(tmp_path).of(entry, "CRC32")


def info(**fields: Any) -> ObjectInfo:
    """An object."""
    return ObjectInfo("key", len(DATA), **{"etag": "opaque", **fields})


async def test_evidence() -> None:
    """A checksum over the whole first; an ETag only where it may be an MD5; nothing for composites."""

    def with_checksum(algorithm: ChecksumAlgorithm, kind: ChecksumType) -> ObjectInfo:
        return info(checksum=Checksum(algorithm, "value", kind))

    assert evidence(info()) == {}
    assert evidence(info(etag=f"{MD5}-3")) == {}
    assert evidence(info(etag=MD5, encryption="aws:kms")) == {}
    assert evidence(info(etag=MD5.upper())) == {"MD5": MD5}
    assert evidence(with_checksum("CRC32", "FULL_OBJECT")) == {"CRC32": "value"}
    assert evidence(with_checksum("SHA256", "COMPOSITE")) == {}
    assert evidence(info(metadata={"content-hash": "ab12cd34"})) == {}
    claimed = {"content-hash": SHA.hexdigest()}
    both = info(metadata=claimed, etag=MD5, checksum=Checksum("SHA1", "value"))
    assert list(evidence(both)) == ["SHA1", "MD5", "content-hash"]


@pytest.mark.parametrize("checksum", ["CRC64NVME", "CRC32", "CRC32C", "SHA256", "SHA1", None])
async def test_objects_of_other_programs(
    lake: Bucket, observer: Any, tmp_path: Path, checksum: str | None
) -> None:
    """With any checksum, or the ETag alone, equal content is not sent and other content is."""
    make_tree(tmp_path, {"equal": DATA, "other": DATA})
    seeder = Seeder(observer, lake.name)
    seeder.put("equal", DATA, checksum=checksum)
    seeder.put("other", DATA[::-1], checksum=checksum)
    async with await plan_upload(tmp_path, lake) as plan:
        [(key, (_, reason))] = (await actions(plan)).items()
    assert key == "other"
    assert reason.endswith(" differs")


async def test_objects_in_parts(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """A composite checksum is not guessed at: the `content-hash` metadata helps, else it is sent and said."""
    make_tree(tmp_path, {"told": DATA, "untold": DATA})
    seeder = Seeder(observer, lake.name)
    seeder.put_parts("told", DATA, checksum="SHA256", Metadata={"content-hash": SHA.hexdigest()})
    seeder.put_parts("untold", DATA, checksum="SHA256")
    async with await plan_upload(tmp_path, lake) as plan:
        assert await actions(plan) == {"untold": ("upload", "no checksum to compare")}


async def test_an_object_that_vanishes(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """Deleted or replaced between listing and HEAD: it is sent."""
    make_tree(tmp_path, {"a": DATA})
    Seeder(observer, lake.name).put("a", DATA)
    client = FaultyClient.install(lake)
    client.always["head_object"] = answer(error_reply("404", 404))
    async with await plan_upload(tmp_path, lake) as plan:
        assert await actions(plan) == {"a": ("upload", "changing while it is compared")}


async def test_a_role_that_may_not_look(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """Without HEAD nothing can be compared; that is no reason to stop."""
    make_tree(tmp_path, {"a": DATA})
    Seeder(observer, lake.name).put("a", DATA)
    FaultyClient.install(lake).always["head_object"] = answer(error_reply("AccessDenied", 403))
    async with await plan_upload(tmp_path, lake) as plan:
        assert await actions(plan) == {"a": ("upload", "no checksum to compare")}


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_a_store_that_cannot_be_asked(lake: Bucket, observer: Any, tmp_path: Path) -> None:
    """An outage ends the plan with its cause; it is not taken for a difference."""
    make_tree(tmp_path, {f"{number}": DATA for number in range(50)})
    seeder = Seeder(observer, lake.name)
    for number in range(50):
        seeder.put(f"{number}", DATA)
    client = FaultyClient.install(lake)
    client.always["head_object"] = answer(no_reply())
    with pytest.raises(S3ConnectionError):
        await plan_upload(tmp_path, lake)
    client.always["list_objects_v2"] = answer(error_reply("AccessDenied", 403))
    with pytest.raises(S3AccessDeniedError):
        await plan_upload(tmp_path, lake)


async def test_a_file_that_cannot_be_read(
    lake: Bucket, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failure of the plan; the others are compared."""
    make_tree(tmp_path, {"a": DATA, "b": DATA})
    for key in ("a", "b"):
        Seeder(observer, lake.name).put(key, DATA)
    real = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "a":
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    counts, summary = await sync(tmp_path, lake)
    assert (counts.unchanged, counts.failed) == (1, 1)
    assert summary.failures[0].key == "a"
