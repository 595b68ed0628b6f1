"""Scripted HTTP servers on loopback: an STS with any lifetime of keys, a store that notes who signed."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The fields of a query-protocol call."""
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    @property
    def access_key(self) -> str | None:
        """The access key id the request was signed with."""
        found = re.search(r"Credential=([^/]+)/", self.headers.get("authorization", ""))
        return found[1] if found else None


@dataclass(slots=True)
class Reply:
    """What the server answers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """The reply as it goes on the wire."""
        lines = [f"HTTP/1.1 {self.status} Scripted", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class ScriptedServer:
    """Answers every request as *answer* says, and keeps it in `requests`; an async context manager."""

    def __init__(
        self, answer: Callable[[Request], Reply] = lambda _: Reply(), *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.answer = answer
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked = asyncio.Event()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its address, by the name `localhost`."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self.may_answer.set()
        self._server.close()
        for writer in list(self._connections):
            writer.transport.abort()
        while self._connections:  # noqa: ASYNC110  # aborting takes the loop a turn or two
            await asyncio.sleep(0)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                self.asked.set()
                await self.may_answer.wait()
                writer.write(self.answer(request).encoded())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()
            self._connections.discard(writer)

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Request | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, target, headers, body)


_ROLE_REPLY = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>
<SecretAccessKey>secret-of-{key}</SecretAccessKey><SessionToken>token-of-{key}</SessionToken>
<Expiration>{expiration}</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/storage/session</Arn>
<AssumedRoleId>AROA:session</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult>
<ResponseMetadata><RequestId>sts-request</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"""
_ERROR_REPLY = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>sts-request</RequestId></ErrorResponse>"""


class Clock:
    """A wall clock and a monotonic clock that tests move."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._start = datetime.now(UTC)

    def now(self) -> datetime:
        """The wall clock's time."""
        return self._start + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        """Seconds since the test began."""
        return self.passed


class StsServer(ScriptedServer):
    """An STS for web identities: call n gives keys `KEY<n>`, valid for `lifetime` seconds of *clock*."""

    def __init__(self, clock: Clock, *, lifetime: float = 3600, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._answer, tls=tls)
        self.lifetime = lifetime
        self.error: tuple[str, str] | None = None
        self._clock = clock

    @property
    def tokens(self) -> list[str]:
        """The web identity tokens it was shown, in order."""
        return [request.form["WebIdentityToken"] for request in self.requests]

    def _answer(self, request: Request) -> Reply:
        if self.error:
            code, message = self.error
            return Reply(400, _ERROR_REPLY.format(code=code, message=message).encode())
        expiration = self._clock.now() + timedelta(seconds=self.lifetime)
        text = _ROLE_REPLY.format(
            key=f"KEY{len(self.requests)}", expiration=expiration.isoformat(timespec="milliseconds")
        )
        return Reply(200, text.encode(), {"content-type": "text/xml"})


class TunnelProxy(ScriptedServer):
    """A proxy that tunnels every CONNECT to loopback, whatever host it names; `tunnels` keeps the names."""

    def __init__(self) -> None:
        super().__init__()
        self.tunnels: list[str] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            target = head.split(" ")[1]
            self.tunnels.append(target)
            port = urlsplit(f"//{target}").port
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            try:
                await asyncio.gather(_copy(reader, upstream), _copy(upstream_reader, writer))
            finally:
                upstream.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self._connections.discard(writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.transport.abort()
