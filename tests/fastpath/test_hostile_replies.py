"""Replies made to hurt: refused for what they are, before anything is expanded, nested or held."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from greenlang_async_storage.fastpath._reply import MAX_REPLY_BYTES
from tests.fastpath.recorders import CannedWire, Reply, Twins, twins

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("recorded"), pytest.mark.timeout(20)]

_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY l0 "lol">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    + "]><{0}><Code>&l9;</Code></{0}>"
)
_QUADRATIC = '<!DOCTYPE a [<!ENTITY a "' + "a" * 60_000 + '">]><{0}><Code>' + "&a;" * 60_000 + "</Code></{0}>"
_EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><{0}><Code>&x;</Code></{0}>'
_EMPTY_DOCTYPE = "<!DOCTYPE a><{0}><Code>x</Code></{0}>"
_DEEP = "<{0}>" + "<a>" * 400_000 + "</a>" * 400_000 + "</{0}>"
_DEEP_AND_OPEN = "<{0}>" + "<a>" * 400_000
_BOMBS = {
    "billion laughs": _LAUGHS,
    "quadratic": _QUADRATIC,
    "external entity": _EXTERNAL,
    "doctype": _EMPTY_DOCTYPE,
    "deep": _DEEP,
    "deep and open": _DEEP_AND_OPEN,
}
_CALLS: dict[str, dict[str, Any]] = {
    "ListObjectsV2": {"Bucket": "b"},
    "CompleteMultipartUpload": {"Bucket": "b", "Key": "k", "UploadId": "u"},
    "GetObject": {"Bucket": "b", "Key": "k"},
}
_METHODS = {
    "ListObjectsV2": "list_objects_v2",
    "CompleteMultipartUpload": "complete_multipart_upload",
    "GetObject": "get_object",
}


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Twins]:
    """Clients that try once."""
    async with twins(
        endpoint_url="http://localhost:9000", config={"retries": {"total_max_attempts": 1}}
    ) as made:
        yield made


@pytest.mark.parametrize("status", [200, 400, 404, 503])
@pytest.mark.parametrize("bomb", sorted(_BOMBS))
@pytest.mark.parametrize("operation", sorted(_CALLS))
async def test_bombs(pair: Twins, operation: str, bomb: str, status: int) -> None:
    """An XML bomb is no XML: the error has the code of its status, in the memory of the reply."""
    if operation == "GetObject" and status == 200:
        return  # the object's own bytes, whatever they are
    body = _BOMBS[bomb].replace("{0}", "Error" if status != 200 else "Result").encode()
    pair.expect(Reply(status, [("content-length", str(len(body)))], body))
    tracemalloc.start()
    try:
        with pytest.raises(ClientError) as caught:
            await getattr(pair.fast, _METHODS[operation])(**_CALLS[operation])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.response["Error"]["Code"] == str(500 if status == 200 else status)
    assert peak < 16 << 20


@pytest.mark.parametrize(
    "body", [b"<a>\xff\xfe</a>", b"\xc3\x28", b"<a>\xed\xa0\x80</a>", b"<Error><Code>\xff</Code></Error>"]
)
@pytest.mark.parametrize("status", [200, 404])
async def test_bytes_that_are_no_utf8(pair: Twins, body: bytes, status: int) -> None:
    """Bad UTF-8 is a broken reply."""
    pair.expect(Reply(status, [], body))
    with pytest.raises(ClientError) as caught:
        await pair.fast.list_objects_v2(Bucket="b")
    assert caught.value.response["Error"]["Code"] == str(500 if status == 200 else status)


class _Endless(CannedWire):
    """A body that never ends."""

    served = 0

    async def readany(self) -> bytes:
        self.served += 1 << 16
        return b"<" + b"a" * ((1 << 16) - 1)

    async def read(self, size: int = -1) -> bytes:
        raise AssertionError("an unbounded read")


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("announced", ["1099511627776", None, "a lot"])
@pytest.mark.parametrize("operation", sorted(_CALLS))
async def test_documents_without_end(pair: Twins, operation: str, announced: str | None, status: int) -> None:
    """A document is read up to its limit, then the connection is closed; nothing is retried."""
    if operation == "GetObject" and status == 200:
        return
    wire = _Endless(Reply(status, [] if announced is None else [("content-length", announced)]))

    async def deliver(*_: Any, **__: Any) -> CannedWire:
        pair.fast_session.wires.append(wire)
        return wire

    pair.fast_session.deliver = deliver  # type: ignore[method-assign]
    with pytest.raises(ResponseParserError, match=str(MAX_REPLY_BYTES)):
        await getattr(pair.fast, _METHODS[operation])(**_CALLS[operation])
    assert wire.closed
    assert wire.served <= MAX_REPLY_BYTES + (1 << 16)
    assert pair.fast_session.wires == [wire]


async def test_headers_that_are_no_utf8(pair: Twins) -> None:
    """A header that is not text is a failure of the exchange, as in aiobotocore."""
    from botocore.exceptions import HTTPClientError

    wire = CannedWire(Reply())
    wire.headers = [(b"etag", b"\xff")]

    async def deliver(*_: Any, **__: Any) -> CannedWire:
        return wire

    pair.fast_session.deliver = deliver  # type: ignore[method-assign]
    with pytest.raises(HTTPClientError):
        await pair.fast.head_object(Bucket="b", Key="k")
    assert wire.closed
