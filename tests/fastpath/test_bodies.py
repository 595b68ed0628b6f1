"""Bodies: what users of aiobotocore see of a download, what the SDK adds to it, and what goes up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import aiobotocore
import pytest
from aiobotocore.httpchecksum import StreamingChecksumBody
from aiobotocore.response import StreamingBody
from botocore.exceptions import FlexibleChecksumError, IncompleteReadError

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath import _body
from tests.fastpath.recorders import DEFAULTS, Reply, Sent, Twins, new_session, outcome, twins
from tests.fastpath.strategies import payload

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("frozen", "recorded")]

_KEY = {"Bucket": "bucket", "Key": "key"}
_HTTP: dict[str, Any] = {"endpoint_url": "http://localhost:9000"}
_HTTPS: dict[str, Any] = {"endpoint_url": "https://localhost:9000"}
_LINES = b"first\nsecond line\r\n\nlast"
_IS_2 = aiobotocore.__version__.startswith("2.")


def _reply(data: bytes, *headers: tuple[str, str]) -> Reply:
    return Reply(200, [("content-length", str(len(data))), *headers], data)


def _crc32(data: bytes) -> tuple[str, str]:
    return "x-amz-checksum-crc32", base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


async def _both(pair: Twins, reply: Reply, use: Any) -> list[Any]:
    """What *use* gives for each client's body, errors told by class and text."""
    results: list[Any] = []
    pair.expect(reply)
    for client in (pair.plain, pair.fast):
        body = (await client.get_object(**_KEY))["Body"]
        try:
            results.append(await use(body))
        except Exception as error:  # noqa: BLE001 - compared
            results.append((type(error), str(error)))
    return results


async def _chunks(body: Any) -> list[bytes]:
    return [piece async for piece in body]


async def _sized(body: Any) -> list[Any]:
    return [
        await body.read(3),
        body.tell(),
        await body.read(0),
        await body.read(),
        body.tell(),
        await body.read(5),
    ]


async def _into(body: Any) -> list[Any]:
    buffer = bytearray(4)
    counts = [await body.readinto(buffer), bytes(buffer)]
    while count := await body.readinto(buffer):
        counts.append(count)
    return counts


async def _lines(body: Any) -> list[Any]:
    return [await body.readlines()]


async def _kept_ends(body: Any) -> list[Any]:
    return [line async for line in body.iter_lines(7, keepends=True)]


async def _pieces(body: Any) -> list[Any]:
    return [piece async for piece in body.iter_chunks(5)]


async def _next(body: Any) -> list[Any]:
    return [await body.__anext__()]


async def _entered(body: Any) -> list[Any]:
    async with body as opened:
        return [await opened.read()]


_USES = [_chunks, _sized, _into, _lines, _kept_ends, _pieces, _next, _entered]


@pytest.mark.parametrize("use", _USES)
@pytest.mark.parametrize("headers", ["none", "right", "wrong", "short"])
async def test_bodies_behave_alike(use: Any, headers: str) -> None:
    """Reading in every way gives the same bytes, and the same error where length or checksum are wrong."""
    lines = {"none": [], "right": [_crc32(_LINES)], "wrong": [_crc32(b"other")], "short": []}[headers]
    reply = _reply(_LINES, *lines)
    if headers == "short":
        reply.headers = [("content-length", "99")]
    async with twins(**_HTTP) as pair:
        plain, fast = await _both(pair, reply, use)
        assert fast == plain


async def test_bodies_are_of_aiobotocores_classes() -> None:
    """`isinstance` checks of users go on working."""
    async with twins(**_HTTP) as pair:
        pair.expect(_reply(b"x"), _reply(b"x", _crc32(b"x")))
        assert isinstance((await pair.fast.get_object(**_KEY))["Body"], StreamingBody)
        assert isinstance((await pair.fast.get_object(**_KEY))["Body"], StreamingChecksumBody)


@pytest.mark.skipif(not _IS_2, reason="since 3.0 `async with body` gives the body itself")
async def test_what_async_with_gives_in_2() -> None:
    """On aiobotocore 2 it is aiohttp's response: status, headers, `content`, `release`."""
    async with twins(**_HTTP) as pair:
        pair.expect(_reply(_LINES, ("X-Thing", "1")))
        async with (await pair.fast.get_object(**_KEY))["Body"] as response:
            assert (response.status, response.headers["x-thing"]) == (200, "1")
            assert await response.content.readline() == b"first\n"
            assert await response.content.read(6) == b"second"
            assert await response.read() == _LINES[12:]
            await response.release()
        assert pair.fast_session.wires[-1].closed


async def test_leaving_a_body_gives_its_connection_back() -> None:
    """`async with` and `close()` close what was not read."""
    async with twins(**_HTTP) as pair:
        pair.expect(_reply(_LINES), _reply(_LINES))
        async with (await pair.fast.get_object(**_KEY))["Body"]:
            assert [wire.closed for wire in pair.fast_session.wires] == [False]
        (await pair.fast.get_object(**_KEY))["Body"].close()
        assert [wire.closed for wire in pair.fast_session.wires] == [True, True]


@pytest.mark.parametrize("headers", [[], [_crc32(_LINES)]])
async def test_reading_into_a_buffer(headers: list[tuple[str, str]]) -> None:
    """`readinto` fills a memoryview and counts; `readany` gives what is there; both end checked."""
    async with twins(**_HTTP) as pair:
        pair.expect(_reply(_LINES, *headers), _reply(_LINES, *headers))
        body = (await pair.fast.get_object(**_KEY))["Body"]
        buffer = bytearray(len(_LINES) + 5)
        assert await body.readinto(memoryview(buffer)) == len(_LINES)
        assert bytes(buffer[: len(_LINES)]) == _LINES
        assert body.tell() == len(_LINES)
        assert await body.readinto(memoryview(buffer)) == 0
        body = (await pair.fast.get_object(**_KEY))["Body"]
        data = b""
        while piece := await body.readany():
            data += piece
        assert data == _LINES


@pytest.mark.parametrize("how", ["read", "readinto", "readany"])
async def test_a_wrong_checksum_is_seen_at_the_end(how: str) -> None:
    """Each way of reading checks; `disable_validation()` leaves only the length to be checked."""
    async with twins(**_HTTP) as pair:
        pair.expect(
            *[_reply(_LINES, _crc32(b"other"))] * 2,
            Reply(200, [("content-length", "99"), _crc32(b"o")], _LINES),
        )

        async def read_all(body: Any) -> None:
            buffer = memoryview(bytearray(10))
            while await (
                body.readinto(buffer)
                if how == "readinto"
                else getattr(body, how)(*([9] if how == "read" else []))
            ):
                pass

        body = (await pair.fast.get_object(**_KEY))["Body"]
        with pytest.raises(FlexibleChecksumError):
            await read_all(body)
        body = (await pair.fast.get_object(**_KEY))["Body"]
        body.disable_validation()
        await read_all(body)
        body = (await pair.fast.get_object(**_KEY))["Body"]
        body.disable_validation()
        with pytest.raises(IncompleteReadError):
            await read_all(body)


@pytest.mark.parametrize("arguments", [_HTTP, _HTTPS])
@pytest.mark.parametrize("kind", [bytes, memoryview])
async def test_a_known_digest_is_signed(
    kind: Any, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `Payload` goes out as its bytes would, and is not hashed."""
    data = b"z" * 3000
    async with twins(config={"request_checksum_calculation": "when_required"}, **arguments) as pair:
        pair.expect(Reply(200), Reply(200))
        await pair.plain.put_object(Body=data, **_KEY)
        monkeypatch.setattr(_body, "_hash", None)
        known = payload(data)
        await pair.fast.put_object(Body=fastpath.Payload(kind(data), known.sha256_hex), **_KEY)
        assert pair.fast_session.sent == pair.plain_session.sent


async def test_a_payload_is_unwrapped_for_botocore() -> None:
    """A call that is passed on, or handed over, gets the plain bytes."""
    async with twins(**_HTTP, config={"retries": {"mode": "standard", "total_max_attempts": 1}}) as pair:
        known = payload(b"data")
        wrapped = fastpath.Payload(memoryview(b"data"), known.sha256_hex)
        for parameters, reply in (({"ContentDisposition": "ä"}, Reply(200)), ({}, Reply(503))):
            pair.expect(reply)
            plain = await outcome(pair.plain, "PutObject", {"Body": b"data", **_KEY, **parameters})
            fast = await outcome(pair.fast, "PutObject", {"Body": wrapped, **_KEY, **parameters})
            assert fast == plain
            assert pair.fast_session.sent == pair.plain_session.sent


async def test_payloads_are_checked() -> None:
    """What is no bytes or no digest is refused at once, with what to do."""
    with pytest.raises(TypeError, match="bytes"):
        fastpath.Payload("text", "0" * 64)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hexdigest"):
        fastpath.Payload(b"", "0" * 63)
    assert repr(payload(b"abc")) == f"Payload(3 bytes, sha256={hashlib.sha256(b'abc').hexdigest()})"
    assert len(fastpath.Payload(memoryview(bytes(8)).cast("I"), "0" * 64)) == 8


@pytest.mark.allow_blocking("the double of the transport reads the file in place")
@pytest.mark.parametrize("config", [{}, {"request_checksum_calculation": "when_required"}])
async def test_files_are_hashed_in_a_thread_and_not_held(config: dict[str, Any], tmp_path: Path) -> None:
    """An open file is sent as such, with the headers it has with a plain client."""
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 300_000)
    async with twins(config=config, **_HTTP) as pair:
        pair.expect()
        before = fastpath.statistics().compiled
        for client in (pair.plain, pair.fast):
            with path.open("rb") as file:
                await client.upload_part(Body=file, UploadId="u", PartNumber=1, **_KEY)
        assert fastpath.statistics().compiled == before + 1
        assert pair.fast_session.sent == pair.plain_session.sent


@pytest.mark.parametrize(
    ("size", "threshold", "expected"),
    [(10, None, True), (10, 11, False), (11, 11, True), (0, None, True), (0, 0, True)],
)
async def test_when_100_continue_is_asked_for(size: int, threshold: int | None, expected: bool) -> None:
    """Without the option as botocore does it, for every body of bytes; with it from that size up."""
    session = new_session(enabled=False)
    fastpath.enable(session, expect_continue_from=threshold)
    async with session.create_client("s3", **DEFAULTS, **_HTTP) as client:
        await client.put_object(Body=bytes(size), **_KEY)
        sent: Sent = client._endpoint.http_session.sent[0]
        assert (("expect", "100-continue") in sent.headers) is expected


async def test_botocores_experiment_with_empty_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that spares empty bodies the round trip is honoured."""
    monkeypatch.setenv("BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE", "true")
    async with twins(**_HTTP) as pair:
        for data in (b"", b"x"):
            pair.expect()
            for client in (pair.plain, pair.fast):
                await client.put_object(Body=data, **_KEY)
            assert pair.fast_session.sent == pair.plain_session.sent


async def test_traces_of_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside a traced Lambda function the trace header is sent, unsigned."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988;Parent=5399 1ü")
    async with twins(**_HTTP) as pair:
        pair.expect()
        for client in (pair.plain, pair.fast):
            await client.head_object(**_KEY)
        assert pair.fast_session.sent == pair.plain_session.sent
        assert any(name == "x-amzn-trace-id" for name, _ in pair.fast_session.sent[0].headers)


async def test_large_bodies_are_hashed_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 1 MiB up checksum and digest are computed in a thread."""
    threads: list[str] = []
    real = asyncio.to_thread

    async def to_thread(function: Any, *arguments: Any) -> Any:
        threads.append(function.__name__)
        return await real(function, *arguments)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    async with twins(**_HTTP) as pair:
        pair.expect()
        await pair.fast.put_object(Body=bytes((1 << 20) - 1), **_KEY)
        assert threads == []
        await pair.fast.put_object(Body=bytes(1 << 20), **_KEY)
        assert threads == ["compute", "_hash"]
