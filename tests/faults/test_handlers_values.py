"""Handlers around names, sources and the machine: what is refused before, or instead of, a request."""

from __future__ import annotations

import array
import ctypes
import errno
import mmap
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from greenlang_async_storage import (
    S3CredentialsError,
    S3InvalidRequestError,
    S3LocalFileError,
    StorageSession,
    StorageSettings,
)
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.faults.test_handlers_files import fails
from tests.faults.test_handlers_requests import refused
from tests.faults.test_rows_requests import LARGE, SMALL
from tests.support.faults import BUCKET, MIB, PART, Lab, laboratory

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """In memory."""
    async with laboratory() as made:
        yield made


async def test_s09_names_that_are_none(lab: Lab) -> None:
    """Refused before anything is sent, as errors of ours that say why."""
    with pytest.raises(S3InvalidRequestError):
        lab.session.bucket("No Bucket")
    with pytest.raises(S3InvalidRequestError):
        lab.lake.list_objects("\ud800")
    with pytest.raises(S3InvalidRequestError, match="surrogate"):
        lab.lake.list_objects(start_after="\ud800")
    with pytest.raises(S3InvalidRequestError):
        await lab.lake.head("\ud800")
    assert lab.faults.requests == []


async def test_s03_a_signature_nobody_would_take(lab: Lab) -> None:
    """The refusal names what was to be signed."""
    with pytest.raises(S3InvalidRequestError) as caught:
        await lab.lake.presign_download("key", expires_in=1e9)
    error = caught.value
    assert (error.operation, error.bucket, error.key) == ("GetObject", BUCKET, "key")


async def test_s03_nothing_to_sign_with() -> None:
    """Without credentials a link is an error of ours, at once."""
    store = MemoryS3()
    arguments: dict[str, Any] = {**store.settings_kwargs(), "access_key_id": None, "secret_access_key": None}
    settings = StorageSettings(**arguments)
    async with store.open_session(settings) as session:
        with pytest.raises(S3CredentialsError):
            await session.bucket(BUCKET).presign_download("key")


async def test_f10_a_download_that_is_refused_as_a_request(lab: Lab) -> None:
    """A 400 is no range behind the end."""
    lab.plan(refused("GetObject", 400, "InvalidArgument"))
    with pytest.raises(S3InvalidRequestError, match="InvalidArgument"):
        async with lab.lake.open_download("key"):
            pass


async def test_f27_a_mistake_below_a_body(lab: Lab) -> None:
    """What is no failure of storage comes out as it is, and the slot is given back."""

    def mistake() -> None:
        raise LookupError("mine")

    lab.store.put(BUCKET, "key", LARGE)
    lab.faults.hooks["mistake"] = mistake
    lab.plan(Fault("GetObject", 1, "reply_body", "hook", at=MIB, hook="mistake"))
    with pytest.raises(LookupError, match="mine"):
        await lab.lake.download_bytes("key")


async def test_f23_no_descriptor_for_a_folder(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's outcome, with its errno; the batch goes on."""
    for key in ("a/one", "two"):
        lab.store.put(BUCKET, key, SMALL)
    monkeypatch.setattr(os, "open", fails(errno.EMFILE, os.open, nth=2))
    report = await lab.lake.download_many(["a/one", "two"], tmp_path / "in", concurrency=1)
    [failed] = report.failed
    assert isinstance(failed.error, S3LocalFileError)
    assert (failed.key, failed.error.errno) == ("a/one", errno.EMFILE)
    assert [outcome.key for outcome in report.succeeded] == ["two"]


async def test_f23_a_folder_in_the_place_of_a_lock(lab: Lab, tmp_path: Path) -> None:
    """Not removed: told, before an upload is opened."""
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    (tmp_path / ".journal.lock").mkdir()
    with pytest.raises(S3LocalFileError) as caught:
        await lab.lake.upload_file("key", source, resume=tmp_path / "journal")
    assert caught.value.errno == errno.EISDIR
    assert lab.faults.requests == []


async def test_f23_no_memory_for_a_part(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MemoryError, with nothing left open."""
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    monkeypatch.setattr(mmap, "mmap", fails(errno.ENOMEM, mmap.mmap))
    with pytest.raises(MemoryError, match="for a part"):
        await lab.lake.upload_file("key", source, part_size=PART)
    assert lab.check.content("key") is None


async def test_f27_a_source_that_is_no_iterable_after_all(lab: Lab) -> None:
    """What its thread meets before the first piece comes out as it is."""

    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await lab.lake.upload_stream("key", Broken())
    assert lab.check.content("key") is None


async def test_f32_a_buffer_of_another_type(lab: Lab) -> None:
    """Its bytes, whatever its items are."""
    numbers = array.array("i", range(1000))
    await lab.lake.upload_bytes("key", memoryview(numbers))
    assert lab.check.content("key") == numbers.tobytes()


async def test_f10_aiobotocore_without_aioboto3(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session works on the client both of them make; a broken aioboto3 is not hidden."""
    store = MemoryS3()
    store.create_bucket(BUCKET)
    monkeypatch.setitem(sys.modules, "aioboto3", None)
    async with store.open_session() as session:
        await session.bucket(BUCKET).upload_bytes("key", SMALL)
    assert store.get(BUCKET, "key") == SMALL


@pytest.mark.allow_blocking("a package is imported anew")
async def test_f10_an_aioboto3_that_lacks_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation that is broken is told as that, not taken for one without it."""
    monkeypatch.delitem(sys.modules, "aioboto3", raising=False)
    monkeypatch.setitem(sys.modules, "aioboto3.session", None)
    session = StorageSession(StorageSettings(**MemoryS3().settings_kwargs()))
    with pytest.raises(ModuleNotFoundError, match=r"aioboto3\.session"):
        async with session:
            pass


async def test_f32_pieces_of_a_type_nobody_knows(lab: Lab) -> None:
    """Structures of another library: their bytes, copied."""
    numbers = (ctypes.c_int * 4)(1, 2, 3, 4)
    await lab.lake.upload_stream("key", [memoryview(numbers)])
    assert lab.check.content("key") == bytes(numbers)
