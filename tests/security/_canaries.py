"""Calls of every kind, with secrets that may be on the wire only, and all that was told about them."""

from __future__ import annotations

import io
import logging
import pickle
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

from greenlang_async_storage import Bucket, MultipartUpload, S3Error, SecretFilter
from greenlang_async_storage.testing import Fault, MemoryS3
from tests.support.faults import MIB, Door, Lab, laboratory

SECRET: Final = "CANARYsecretKey/0123456789+abcdefghijklmn"
TOKEN: Final = "CANARYsessionToken//////0123456789+abcdefgh=="
_SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")


class Told:
    """All text that left the SDK by another way than the wire; `secrets` is what must not be in it."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.log = io.StringIO()
        self.secrets = {SECRET, TOKEN, quote(TOKEN, safe=""), quote(SECRET, safe="")}

    def error(self, error: BaseException) -> None:
        """Everything a crash report would have of *error*: locals of every frame, causes, the pickle."""
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.text += ["".join(shown.format()), str(error), repr(error)]
        seen: BaseException | None = error
        while seen is not None:
            self.text += [repr(seen), repr(vars(seen))]
            seen = seen.__cause__ or seen.__context__
        if isinstance(error, S3Error):
            self.text.append(pickle.dumps(error).decode("latin-1"))

    def value(self, value: object) -> None:
        """The repr of a result; pickles are data, which may hold a link that was asked for."""
        self.text.append(repr(value))

    def hits(self) -> list[str]:
        """The lines with a secret in them, beginning with what they are from."""
        found = []
        for source, text in [("log", self.log.getvalue()), *(("shown", text) for text in self.text)]:
            lines = text.splitlines()
            found += [
                f"{source}: {line.strip()[:300]}"
                for line in lines
                if any(secret in line for secret in self.secrets)
            ]
        return found


@contextmanager
def everything_logged(told: Told) -> Iterator[None]:
    """Every logger at DEBUG, into *told*, through the SDK's filter."""
    handler = logging.StreamHandler(told.log)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    handler.addFilter(SecretFilter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@asynccontextmanager
async def secret_laboratory(door: Door, told: Told) -> AsyncIterator[Lab]:
    """A laboratory whose credentials are canaries; the signatures on its wire become ones too."""
    credentials = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET, "session_token": TOKEN}
    async with laboratory(door, store=MemoryS3(), **credentials, read_timeout=1.5, retry_mode="none") as lab:
        yield lab
        sent = lab.faults.requests
        assert any(request.headers.get("x-amz-security-token") == TOKEN for request in sent)
        for request in sent:
            told.secrets.update(_SIGNATURE.findall(request.headers.get("authorization", "")))


LARGE: Final = memoryview(bytes(6 * MIB))
"""Its repr is short."""
Call = Callable[[Bucket], Awaitable[object]]
CALLS: Final[dict[str, Call]] = {
    "PutObject": lambda lake: lake.upload_bytes("key", b"data", metadata={"a": "b"}),
    "UploadPart": lambda lake: lake.upload_bytes("large", LARGE),
    "GetObject": lambda lake: lake.download_bytes("key"),
    "HeadObject": lambda lake: lake.head("key"),
    "ListObjectsV2": lambda lake: anext(lake.list_objects()),
    "CopyObject": lambda lake: lake.copy("key", "copy"),
    "GetObjectTagging": lambda lake: lake.get_tags("key"),
    "DeleteObjects": lambda lake: lake.delete_many(["copy", "none"], fail_fast=True),
    "DeleteObject": lambda lake: lake.delete("copy"),
    "CreateMultipartUpload": lambda lake: lake.create_multipart("multi"),
}
MISTAKES: Final[list[Call]] = [
    lambda lake: lake.upload_bytes("a/../b", b""),
    lambda lake: lake.upload_bytes("key", b"", metadata={"a": "\n"}),
    lambda lake: lake.presign_download("key", expires_in=10**9),
    lambda lake: lake.download_bytes("no-such-key"),
    lambda lake: lake.upload_bytes("key", b"", if_match="0" * 32),
]
FAULTS: Final[dict[str, Callable[[str], Fault]]] = {
    "refused": lambda name: Fault(name, 0, "unforwarded", "replace", status=403, code="AccessDenied"),
    "no XML": lambda name: Fault(name, 0, "unforwarded", "replace", status=500, body="<what"),
    "reset": lambda name: Fault(name, 0, "unforwarded", "reset"),
    "lost at once": lambda name: Fault(name, 0, "connect", "reset"),
    "silence": lambda name: Fault(name, 0, "unforwarded", "stall"),
}
_SILENT: Final = "GetObject"
"""Silence takes its time, so not every call meets it."""


async def work(lab: Lab, told: Told, operations: Collection[str]) -> None:
    """Each call once as it should be, once with each fault; mistakes; links; everything's repr."""
    session, lake = lab.session, lab.lake
    for operation in operations:
        call = CALLS[operation]
        result = await call(lake)
        told.value(result)
        if isinstance(result, MultipartUpload):
            await lake.abort_multipart(result)
        for name, fault in FAULTS.items():
            if name == "silence" and operation != _SILENT:
                continue
            lab.plan(fault(operation))
            try:
                await call(lake)
            except S3Error as error:
                told.error(error)
            else:
                raise AssertionError(f"{operation} did not fail: {name}")
            lab.plan()
    for mistake in MISTAKES:
        try:
            await mistake(lake)
        except (S3Error, TypeError, ValueError) as error:
            told.error(error)
        else:
            raise AssertionError("a mistake was not found")
    await _links(lake, told)
    for shown in (session, lake, session.settings, session.statistics(), session.client, session.__dict__):
        told.value(shown)
    told.text.append(session.settings.model_dump_json())


async def _links(lake: Bucket, told: Told) -> None:
    """What is signed for others: their text is theirs, their repr is a log's."""
    link = await lake.presign_download("key")
    put = await lake.presign_upload("key", content_type="a/b")
    form = await lake.presign_post("key", content_type="a/b", max_size=9)
    for url in (str(link), str(put.url)):
        told.secrets |= set(parse_qs(urlsplit(url).query)["X-Amz-Signature"])
    told.secrets |= {form.fields["x-amz-signature"], form.fields["policy"]}
    for made in (link, put, form):
        told.value(made)


async def run(door: Door, operations: Collection[str] = tuple(CALLS)) -> Told:
    """All of it through *door*, or a few *operations*."""
    told = Told()
    with everything_logged(told):
        async with secret_laboratory(door, told) as lab:
            await work(lab, told, operations)
    return told
