"""The way to the store, step by step, so that the one that fails is named: DNS, TCP, TLS, HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from greenlang_async_storage import StorageSettings

from ._report import Report

SECTION: Final = "Network"
_WHERE: Final = "GREENLANG_STORAGE_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3, or AWS_REGION)"
_PATIENCE: Final = 5.0
"""Seconds for each step."""


@dataclass(slots=True)
class Answer:
    """What the way to the store told."""

    reached: bool = False
    clock_offset: float | None = None
    """Seconds the server's clock is ahead, to within a second."""
    server: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def looks_like_s3(self) -> bool:
        """Whether a reply had any of S3's headers."""
        return any(name.startswith("x-amz-") for name in self.headers)


async def report_network(report: Report, endpoint: str, settings: StorageSettings) -> Answer:
    """Look at each step of the way to *endpoint*; stops at the first that fails."""
    parts = urlsplit(endpoint)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    report.add(SECTION, "endpoint", "ok", endpoint, endpoint=endpoint)
    if not secure and not _is_loopback(host):
        report.add(
            SECTION,
            "encryption",
            "warning",
            "plain http: data and signatures can be read on the way",
            "Use an https:// endpoint.",
        )
    if proxy := _proxy(parts.scheme, host):
        report.add(SECTION, "proxy", "ok", f"requests go through {proxy}; the steps before it are its own")
        return Answer(reached=True)
    address = await _resolve(report, host, port)
    if address is None:
        return Answer()
    stream = await _connect(report, address, host, port)
    if stream is None:
        return Answer()
    reader, writer = stream
    try:
        if secure and not await _encrypt(report, writer, host, settings):
            return Answer()
        return await _ask(report, reader, writer, parts.netloc, secure=secure)
    finally:
        writer.transport.abort()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxy(scheme: str, host: str) -> str | None:
    found = urllib.request.getproxies().get(scheme)
    if not found or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(found if "//" in found else f"//{found}")
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


async def _resolve(report: Report, host: str, port: int) -> str | None:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
        report.add(
            SECTION,
            "dns",
            "failed",
            f"the host name {host!r} has no address ({reason})",
            f"Correct {_WHERE}, or this machine's DNS.",
        )
        return None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if addresses == [host]:
        return host
    report.add(SECTION, "dns", "ok", f"{host} is {', '.join(addresses[:3])} ({_ms(began)})")
    return host


async def _connect(
    report: Report, address: str, host: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            stream = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError) as error:
        if isinstance(error, ConnectionRefusedError):
            what = f"nothing listens on {host}:{port} (connection refused)"
        elif isinstance(error, TimeoutError):
            what = f"{host}:{port} does not answer within {_PATIENCE:g} s"
        else:
            what = f"no connection to {host}:{port} ({_reason(error)})"
        report.add(
            SECTION,
            "tcp",
            "failed",
            what,
            f"Start the store, correct {_WHERE}, or open the firewall for this address and port.",
        )
        return None
    report.add(SECTION, "tcp", "ok", f"connected to {host}:{port} ({_ms(began)})")
    return stream


async def _encrypt(
    report: Report, writer: asyncio.StreamWriter, host: str, settings: StorageSettings
) -> bool:
    began = time.perf_counter()
    try:
        context = await asyncio.to_thread(_context, settings)
        async with asyncio.timeout(_PATIENCE):
            await writer.start_tls(context, server_hostname=host)
    except (OSError, TimeoutError, ssl.SSLError) as error:
        remedy = (
            "Check the host name, and point GREENLANG_STORAGE_VERIFY_TLS at the CA bundle that signed it."
        )
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"the certificate is not accepted: {error.verify_message}"
        elif isinstance(error, TimeoutError):
            what, remedy = "no TLS handshake in time", "Ask the operator of the store."
        else:
            what = f"no TLS there ({_reason(error)})"
            remedy = f"If the store speaks plain http, write http:// in {_WHERE}."
        report.add(SECTION, "tls", "failed", what, remedy)
        return False
    secured = writer.get_extra_info("ssl_object")
    report.add(SECTION, "tls", "ok", f"{secured.version()}, certificate accepted ({_ms(began)})")
    return True


def _context(settings: StorageSettings) -> ssl.SSLContext:
    """What the session trusts: the setting, else AWS_CA_BUNDLE, else the system's own."""
    if settings.verify_tls is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    bundle = settings.verify_tls if isinstance(settings.verify_tls, Path) else None
    chosen = str(bundle) if bundle else os.environ.get("AWS_CA_BUNDLE") or _botocore_bundle()
    return ssl.create_default_context(cafile=chosen)


def _botocore_bundle() -> str | None:
    try:
        import certifi
    except ImportError:
        return None
    return str(certifi.where())


async def _ask(
    report: Report, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, netloc: str, *, secure: bool
) -> Answer:
    began = time.perf_counter()
    lines = ("HEAD / HTTP/1.1", f"Host: {netloc}", "User-Agent: greenlang-storage", "Connection: close")
    request = "".join(f"{line}\r\n" for line in (*lines, ""))
    try:
        async with asyncio.timeout(_PATIENCE):
            writer.write(request.encode("latin-1"))
            reply = await reader.read(65536)
            while reply.startswith(b"HTTP/") and b"\r\n\r\n" not in reply:
                if not (more := await reader.read(65536)):
                    break
                reply += more
    except (OSError, TimeoutError) as error:
        report.add(
            SECTION,
            "http",
            "failed",
            f"no HTTP reply ({'none in time' if isinstance(error, TimeoutError) else _reason(error)})",
            "The store may be starting or overloaded; ask its operator.",
        )
        return Answer()
    if not reply.startswith(b"HTTP/"):
        tls = reply[:1] == b"\x15" and not secure
        report.add(
            SECTION,
            "http",
            "failed",
            "the server speaks TLS only" if tls else "what answers there speaks no HTTP",
            f"Write https:// in {_WHERE}." if tls else f"Correct {_WHERE}.",
        )
        return Answer()
    answer = _parsed(reply)
    report.add(SECTION, "http", "ok", f"{answer.server or 'a server'} answers ({_ms(began)})")
    return answer


def _parsed(reply: bytes) -> Answer:
    lines = reply.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    pairs = [line.partition(":") for line in lines]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    answer = Answer(reached=True, server=headers.get("server", ""), headers=headers)
    try:
        # The header has whole seconds, cut off.
        moment = parsedate_to_datetime(headers["date"])
        answer.clock_offset = (moment - datetime.now(UTC)).total_seconds() + 0.5
    except (KeyError, ValueError, TypeError):
        answer.clock_offset = None
    return answer


def _ms(began: float) -> str:
    return f"{(time.perf_counter() - began) * 1000:.1f} ms"


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
