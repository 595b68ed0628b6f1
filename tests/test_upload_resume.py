"""Resumable uploads: gone on with after a failure, a cancel or a kill; begun anew when anything changed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from greenlang_async_storage import (
    Bucket,
    S3AccessDeniedError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3SourceChangedError,
    StorageSettings,
    UploadResult,
)
from greenlang_async_storage.testing import StorageServer
from tests.support.faulty import FaultyClient, answer, lose_reply
from tests.support.scripted import error_reply

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
PART = 5 * MIB
DATA = random.Random(4).randbytes(21 * MIB)
PARTS = 5
ON_MOTO = pytest.mark.parametrize("server", ["moto"], indirect=True)
"""For what happens on this side only, so that one server is enough."""


@dataclass
class Job:
    """A file of five parts to be uploaded, and where its journal goes."""

    lake: Bucket
    observer: Any
    client: FaultyClient
    source: Path
    journal: Path

    async def upload(self, **options: Any) -> UploadResult:
        """One resumable upload, a part at a time."""
        options = {"part_size": PART, "concurrency": 1, **options}
        return await self.lake.upload_file("key", self.source, resume=self.journal, **options)

    async def interrupt(self, parts: int = 3) -> None:
        """An upload that fails after so many parts; requests are counted from then on."""
        self.client.plan("upload_part", *[None] * parts, answer(error_reply("AccessDenied", 403)))
        with pytest.raises(S3AccessDeniedError):
            await self.upload()
        self.client.calls.clear()

    @property
    def stored(self) -> bytes:
        """What a plain client reads."""
        return bytes(self.observer.get_object(Bucket=self.lake.name, Key="key")["Body"].read())

    @property
    def still_open(self) -> list[str]:
        """Uploads the store still knows."""
        return self.client.still_open(self.observer, self.lake.name)


@pytest.fixture
def job(lake: Bucket, observer: Any, tmp_path: Path) -> Job:
    """A file, a journal's path, and the client under `lake`, ready for faults."""
    (tmp_path / "source.bin").write_bytes(DATA)
    client = FaultyClient.install(lake)
    return Job(lake, observer, client, tmp_path / "source.bin", tmp_path / "upload.journal")


async def test_a_failed_upload_goes_on(job: Job) -> None:
    """Not aborted on failure; the next call sends what is missing, and the journal is gone."""
    await job.interrupt()
    assert job.client.calls["abort_multipart_upload"] == 0
    done: list[int] = []
    result = await job.upload(on_progress=lambda event: done.append(event.done))
    assert job.stored == DATA
    assert (result.size, done[-1]) == (len(DATA), len(DATA))
    assert job.client.calls["create_multipart_upload"] == 0
    assert job.client.calls["upload_part"] == PARTS - 3
    assert not job.journal.exists()
    assert list(job.journal.parent.iterdir()) == [job.source]
    info = await job.lake.head("key")
    assert "content-hash" in info.metadata
    assert job.still_open == []


async def test_a_cancelled_upload_goes_on(job: Job) -> None:
    """A cancel keeps the upload, too."""
    reached = asyncio.Event()

    async def hold(_call: Any, _arguments: dict[str, Any]) -> Any:
        reached.set()
        await asyncio.Event().wait()

    job.client.plan("upload_part", None, None, hold)
    task = asyncio.create_task(job.upload())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    job.client.calls.clear()
    await job.upload()
    assert job.client.calls["upload_part"] == PARTS - 2
    assert job.stored == DATA


async def test_the_journal_is_private_and_plain(job: Job) -> None:
    """0600, JSON, naming the upload and the acknowledged parts."""
    await job.interrupt()
    assert job.journal.stat().st_mode & 0o777 == 0o600
    facts = json.loads(job.journal.read_text())
    [(key, upload_id)] = job.client.uploads
    assert (facts["upload"]["key"], facts["upload"]["upload_id"]) == (key, upload_id)
    assert sorted(facts["parts"]) == ["1", "2", "3"]


KILLED = """
import asyncio, os, signal, sys
from greenlang_async_storage import StorageSession
from greenlang_async_storage.testing import StorageServer
from tests.support.faulty import FaultyClient

bucket, source, journal, method, count = sys.argv[1:]

async def main():
    async with StorageSession() as session:
        lake = session.bucket(bucket)
        client = FaultyClient.install(lake)
        async def kill(call, arguments):
            if count.endswith("+"):
                await call(**arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        client.plan(method, *[None] * (int(count.rstrip("+")) - 1), kill)
        await lake.upload_file(
            "key", source, resume=journal, part_size=5 * 1024 * 1024, concurrency=1
        )

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "kill",
    [
        ("upload_part", "1", PARTS),
        ("upload_part", "3+", PARTS - 3),
        ("complete_multipart_upload", "1", 0),
        ("complete_multipart_upload", "1+", 0),
    ],
)
async def test_another_process_goes_on_after_a_kill(
    job: Job, server: StorageServer, settings: StorageSettings, kill: tuple[str, str, int]
) -> None:
    """Killed at a part, at Complete, or after Complete: no half object, and the next call finishes."""
    method, count, resent = kill
    environment = {
        **os.environ,
        "GREENLANG_STORAGE_ENDPOINT_URL": str(settings.endpoint_url),
        "GREENLANG_STORAGE_ENCRYPTION": settings.encryption,
        "KMS_KEY_ID": settings.kms_key_id,
        "AWS_REGION": str(settings.region),
        "AWS_ACCESS_KEY_ID": str(settings.access_key_id),
        "AWS_SECRET_ACCESS_KEY": settings.secret_access_key.get_secret_value()
        if settings.secret_access_key
        else "",
    }
    command = [sys.executable, "-c", KILLED, job.lake.name, str(job.source), str(job.journal), method, count]
    child = await asyncio.to_thread(
        subprocess.run,
        command,
        env=environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    finished = count == "1+" and method == "complete_multipart_upload"
    assert await job.lake.exists("key") == finished
    result = await job.upload()
    assert job.stored == DATA
    assert result.size == len(DATA)
    # moto lists no checksums, and the journal did not live to see them.
    assert job.client.calls["upload_part"] == (PARTS if server.name == "moto" and not finished else resent)
    assert not job.journal.exists()
    assert not job.observer.list_multipart_uploads(Bucket=job.lake.name, Prefix="key").get("Uploads")


@pytest.mark.parametrize("server", ["minio"], indirect=True)
async def test_parts_the_store_vouches_for_are_not_resent_after_a_kill(job: Job) -> None:
    """Where the store lists checksums, parts count that the journal never heard of."""
    await job.interrupt()
    facts = json.loads(job.journal.read_text())
    facts["parts"] = {}
    job.journal.write_text(json.dumps(facts))
    await job.upload()
    assert job.client.calls["upload_part"] == PARTS - 3
    assert job.stored == DATA


@ON_MOTO
async def test_parts_nobody_vouches_for_are_resent(job: Job) -> None:
    """A store that lists no checksums, and a journal without them: an ETag alone proves nothing."""
    await job.interrupt()
    facts = json.loads(job.journal.read_text())
    facts["parts"] = {}
    job.journal.write_text(json.dumps(facts))
    await job.upload()
    assert job.client.calls["upload_part"] == PARTS
    assert job.stored == DATA


async def test_a_part_somebody_replaced_is_resent(job: Job) -> None:
    """A part with other bytes under the same number does not slip in."""
    await job.interrupt()
    [(key, upload_id)] = job.client.uploads
    job.observer.upload_part(
        Bucket=job.lake.name,
        Key=key,
        UploadId=upload_id,
        PartNumber=2,
        Body=b"x" * PART,
        ChecksumAlgorithm="CRC64NVME",
    )
    await job.upload()
    assert job.client.calls["upload_part"] == PARTS - 2
    assert job.stored == DATA


@pytest.mark.parametrize("change", ["source", "options", "part_size"])
async def test_anything_changed_begins_anew(job: Job, change: str) -> None:
    """Another file, other options, another part size: the old upload is aborted, a new one sent whole."""
    await job.interrupt()
    options: dict[str, Any] = {}
    expected = DATA
    if change == "source":
        expected = DATA[::-1]
        job.source.write_bytes(expected)
    elif change == "options":
        options = {"metadata": {"other": "value"}}
    else:
        options = {"part_size": PART + MIB}
    await job.upload(**options)
    assert job.stored == expected
    assert job.client.calls["create_multipart_upload"] == 1
    assert job.client.calls["upload_part"] == -(-len(DATA) // options.get("part_size", PART))
    assert job.still_open == []
    assert not job.journal.exists()


async def test_an_upload_that_is_gone_begins_anew(job: Job) -> None:
    """Swept by somebody meanwhile: a new upload, whole."""
    await job.interrupt()
    [(key, upload_id)] = job.client.uploads
    job.observer.abort_multipart_upload(Bucket=job.lake.name, Key=key, UploadId=upload_id)
    await job.upload()
    assert job.client.calls["upload_part"] == PARTS
    assert job.stored == DATA
    assert not job.journal.exists()


async def test_a_source_that_changes_meanwhile_ends_the_upload(job: Job) -> None:
    """There is nothing to go on with: aborted, and no journal left."""

    async def interfere(call: Any, arguments: dict[str, Any]) -> Any:
        await asyncio.to_thread(os.truncate, job.source, len(DATA) - 1)
        return await call(**arguments)

    job.client.plan("upload_part", None, interfere)
    with pytest.raises(S3SourceChangedError):
        await job.upload()
    assert job.still_open == []
    assert not job.journal.exists()


@ON_MOTO
async def test_a_file_that_became_small_is_put(job: Job) -> None:
    """The upload of its former self is aborted."""
    await job.interrupt()
    job.source.write_bytes(b"small")
    await job.upload()
    assert job.stored == b"small"
    assert job.still_open == []
    assert not job.journal.exists()


@ON_MOTO
@pytest.mark.parametrize("text", ["", "not json", "{}", '{"version": 99}', "[1]"])
async def test_a_file_that_is_no_journal_is_left_alone(job: Job, text: str) -> None:
    """Somebody's file under that name is neither believed nor overwritten."""
    job.journal.write_text(text)
    with pytest.raises(S3InvalidRequestError, match="is no journal of an upload"):
        await job.upload()
    assert job.journal.read_text() == text
    assert not job.client.calls


@ON_MOTO
async def test_the_source_is_no_journal(job: Job) -> None:
    """Naming the same file twice loses nothing."""
    with pytest.raises(S3InvalidRequestError, match="is no journal"):
        await job.lake.upload_file("key", job.source, resume=job.source)
    assert job.source.read_bytes() == DATA


@ON_MOTO
async def test_another_objects_journal_is_refused(job: Job) -> None:
    """Its upload is neither aborted nor forgotten."""
    await job.interrupt()
    with pytest.raises(S3InvalidRequestError, match=r"is the journal of s3://.*/key"):
        await job.lake.upload_file("other", job.source, resume=job.journal)
    assert len(job.still_open) == 1
    assert job.journal.exists()


@ON_MOTO
async def test_a_journal_that_cannot_be_written_leaves_no_upload(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing folder is found before anything is sent; a full disk aborts what was opened."""
    with pytest.raises(S3LocalFileError) as caught:
        await job.lake.upload_file("key", job.source, resume=tmp_path / "missing" / "journal")
    assert (caught.value.errno, job.client.calls.total()) == (errno.ENOENT, 0)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(S3LocalFileError, match="Free space"):
        await job.upload()
    assert len(job.client.uploads) == 1
    assert job.still_open == []
    assert list(tmp_path.iterdir()) == [job.source]


async def test_one_journal_serves_one_upload_at_a_time(job: Job) -> None:
    """A second upload with the same journal is refused while the first runs, and can go on after it."""
    reached, proceed = asyncio.Event(), asyncio.Event()

    async def hold(call: Any, arguments: dict[str, Any]) -> Any:
        reached.set()
        await proceed.wait()
        return await call(**arguments)

    job.client.plan("upload_part", hold)
    first = asyncio.create_task(job.upload())
    await reached.wait()
    with pytest.raises(S3LocalFileError, match="is under way") as caught:
        await job.upload()
    assert caught.value.errno == errno.EAGAIN
    proceed.set()
    await first
    await job.upload()
    assert job.stored == DATA
    assert job.still_open == []
    assert list(job.source.parent.iterdir()) == [job.source]


async def test_a_lost_complete_is_settled_and_forgotten(job: Job) -> None:
    """The journal goes when the object is proved."""
    job.client.plan("complete_multipart_upload", lose_reply, lose_reply, lose_reply)
    await job.upload()
    assert job.stored == DATA
    assert not job.journal.exists()


@pytest.mark.parametrize("code", ["NoSuchUpload", "InvalidPart", "XAmzContentChecksumMismatch"])
async def test_an_upload_the_store_spoiled_begins_anew(job: Job, code: str) -> None:
    """Complete is refused for an upload that was gone on with: aborted, and sent whole once more."""
    await job.interrupt()
    refusals = 3 if code.startswith("XAmz") else 1
    job.client.plan("complete_multipart_upload", *[answer(error_reply(code, 400))] * refusals)
    done: list[int] = []
    await job.upload(on_progress=lambda event: done.append(event.done))
    assert (job.stored, done[-1]) == (DATA, len(DATA))
    assert job.client.calls["create_multipart_upload"] == 1
    assert job.still_open == []
    assert not job.journal.exists()


async def test_a_new_upload_the_store_refuses_is_not_kept(job: Job) -> None:
    """There is nothing to go on with after a refused Complete: aborted, the error raised, no journal."""
    job.client.plan("complete_multipart_upload", answer(error_reply("InvalidPart", 400)))
    with pytest.raises(S3InvalidRequestError):
        await job.upload()
    assert job.still_open == []
    assert not job.journal.exists()
