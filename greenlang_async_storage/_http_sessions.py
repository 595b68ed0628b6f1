"""
The aiohttp session botocore clients send with, made to check TLS host names, to follow no redirect, to read
no reply without end, to send no large body in one go, and to reach no metadata address by a host name.
"""

# ruff: noqa: ANN401, SLF001  # aiobotocore publishes no types, and its seams are private attributes

from __future__ import annotations

import asyncio
import errno
import inspect
import socket
import ssl
from typing import Any, Final
from xml.parsers import expat

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp.abc import AbstractStreamWriter, ResolveResult
from botocore.exceptions import HTTPClientError
from botocore.httpsession import get_cert_path
from botocore.parsers import ResponseParserError

from ._endpoints import is_metadata_address

MAX_REPLY_BYTES: Final = 8 << 20
"""Largest reply read into memory that is not an object's body; a page of 1,000 long keys is below 2 MiB."""
MAX_DEPTH: Final = 32
"""Elements within elements of an XML reply; S3's have five."""
SENT_AT_ONCE: Final = 256 * 1024
"""Bytes of a request's body given to the socket at a time; up to this, a body is sent as it is."""
_PIECE: Final = 64 * 1024
_NOT_XML: Final = b"<"
_BUILDS_CONTEXT_IN_THREAD = inspect.iscoroutinefunction(AIOHTTPSession._create_connector)
"""aiobotocore from 3.8 on; it also checks host names from 3.9 on."""


class CheckedHttpSession(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore publishes no types
    """
    aiobotocore's own session, safe: the server's name must be in its certificate, TLS is 1.2 or newer, and a
    redirect is an answer, never a second request that would carry credentials to another host.

    Replies that are no object's body are read up to `MAX_REPLY_BYTES`; one with a DOCTYPE, or nested deeper
    than `MAX_DEPTH`, is no XML to botocore. A host name that leads to a metadata address has no address,
    unless `metadata_allowed`. `prepare()` builds the TLS context: in a thread, before the first request.
    """

    _context: ssl.SSLContext | None = None
    metadata_allowed = False

    def prepare(self, contexts: dict[tuple[object, ...], ssl.SSLContext]) -> None:
        """Build the TLS context, or take it from *contexts*, where the same settings were built before."""
        if _BUILDS_CONTEXT_IN_THREAD or not self._verify:
            return
        proxy = self._proxy_config.settings
        files = (
            self._cert_file,
            self._key_file,
            proxy.get("proxy_ca_bundle"),
            proxy.get("proxy_client_cert"),
        )
        key = (self._verify, *files)
        if key not in contexts:
            contexts[key] = self._build_context(*files)
        self._context = contexts[key]

    def _build_context(
        self,
        cert_file: str | None,
        key_file: str | None,
        proxy_ca_bundle: str | None,
        proxy_client_cert: str | tuple[str, str] | None,
    ) -> ssl.SSLContext:
        context = self._get_ssl_context()
        context.load_verify_locations(get_cert_path(self._verify))
        if cert_file:
            context.load_cert_chain(cert_file, key_file)
        # aiohttp uses one context for the proxy and the server behind it.
        if proxy_ca_bundle:
            context.load_verify_locations(proxy_ca_bundle)
        if isinstance(proxy_client_cert, tuple):
            context.load_cert_chain(*proxy_client_cert)
        elif proxy_client_cert:
            context.load_cert_chain(proxy_client_cert)
        return context

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._get_ssl_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = True
        return context

    def _create_connector(self, proxy_url: str | None) -> Any:
        if not self.metadata_allowed:
            self._connector_args: dict[str, Any] = {"resolver": _Resolver(), **self._connector_args}
        if self._context is None:
            return super()._create_connector(proxy_url)
        return aiohttp.TCPConnector(
            limit=self._max_pool_connections, ssl=self._context, **self._connector_args
        )

    async def _get_session(self, proxy_url: str | None) -> _Session:
        return _Session(await super()._get_session(proxy_url))

    async def send(self, request: Any) -> Any:
        """The reply; its body is read here unless it is an object's."""
        try:
            response = await super().send(request)
        except HTTPClientError as error:
            found = error.kwargs.get("error")
            if isinstance(found, ResponseParserError):
                raise found from error
            raise
        if isinstance(response.raw, _Reply) and request.stream_output and response.status_code < 300:
            response.raw.is_object = True
        return response


class _Reply(aiohttp.ClientResponse):
    """A reply that `read()` takes in up to a limit, and as no XML where it is not harmless as such."""

    is_object = False

    async def read(self) -> bytes:
        """The whole body. `ResponseParserError` when it is too large to be a reply of S3."""
        if self._body is None and not self.is_object:
            try:
                body = await self._bounded()
            except BaseException:
                self.close()
                raise
            self._body = body if is_harmless(body) else _NOT_XML
        return await super().read()

    async def _bounded(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := await self.content.read(_PIECE):
            size += len(piece)
            if size > MAX_REPLY_BYTES:
                raise ResponseParserError(f"the reply is larger than {MAX_REPLY_BYTES} bytes, and no object")
            pieces.append(piece)
        return b"".join(pieces)


def is_harmless(body: bytes) -> bool:
    """Whether *body* read as XML costs no more than its length: no DOCTYPE, not nested deeply, or no XML."""
    depth = 0
    harmless = True

    def start(_name: str, _attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            refuse()

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        nonlocal harmless
        harmless = False
        raise ValueError("unsafe")

    parser = expat.ParserCreate("utf-8")  # as botocore reads it, whatever the document says
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)  # noqa: FBT003  # positional only
    except (ValueError, expat.ExpatError, LookupError):
        return harmless
    return True


class _Resolver(aiohttp.ThreadedResolver):
    """aiohttp's look-up, without the addresses where credentials are handed out."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        return [each for each in found if _allowed(host, each["host"], len(found))]


class _TransportResolver:
    """The same for the fast path's transport, which asks for every family at once."""

    async def resolve(self, host: str, port: int, family: int) -> list[dict[str, Any]]:
        infos = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        return [
            {"family": family, "host": target[0], "port": target[1]}
            for family, _, _, _, target in infos
            if _allowed(host, str(target[0]), len(infos))
        ]


def _allowed(host: str, address: str, count: int) -> bool:
    """Whether a name may lead to *address*; told instead where it is the only one of *count*."""
    if not is_metadata_address(address):
        return True
    if count == 1:
        raise OSError(
            errno.EACCES,
            f"{host} leads to {address}, a link-local or instance metadata address; set "
            "GREENLANG_STORAGE_ALLOW_LINK_LOCAL_ENDPOINT if the store is there",
        )
    return False


class BytesInPieces(aiohttp.payload.Payload):
    """A request's body in memory, sent piece by piece as the socket takes it: no send holds the loop."""

    _value: bytes | bytearray
    _autoclose = True

    def __init__(self, value: bytes | bytearray) -> None:
        super().__init__(value)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all of it."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send its first *content_length* bytes: aiohttp's limit, from the header of that name."""
        with memoryview(self._value)[:content_length] as view:
            for start in range(0, len(view), SENT_AT_ONCE):
                await writer.write(view[start : start + SENT_AT_ONCE])


class _Session:
    """An aiohttp session that sends once and follows nothing (aiobotocore only uses `request`)."""

    __slots__ = ("_session",)

    def __init__(self, session: aiohttp.ClientSession) -> None:
        # aiohttp repeats a PUT whose connection broke: a condition then fails on our own object, and nobody
        # above knows that it was sent twice.
        session._retry_connection = False
        self._session = session

    async def request(self, method: str, *, data: Any = None, **options: Any) -> aiohttp.ClientResponse:
        if isinstance(data, bytes | bytearray) and len(data) > SENT_AT_ONCE:
            data = BytesInPieces(data)
        reply = await self._session.request(method, allow_redirects=False, data=data, **options)
        reply.__class__ = _Reply
        return reply


def secure(
    client: Any, contexts: dict[tuple[object, ...], ssl.SSLContext], *, metadata_allowed: bool = False
) -> None:
    """
    Make *client*, not yet entered, send through a session that checks host names; blocks: use a thread.

    The instance is changed in place: `AioConfig.merge()` loses `http_session_cls`, and botocore itself makes
    the clients that fetch credentials, out of reach of any option. The fast path's own transport stays.

    Raises:
        TypeError: when the client sends through a session nobody here knows to be safe.
    """
    session = client._endpoint.http_session
    if type(session) is AIOHTTPSession:
        session.__class__ = CheckedHttpSession
    require_secure(client)
    if isinstance(session, CheckedHttpSession):
        session.metadata_allowed = metadata_allowed
        session.prepare(contexts)
    elif not metadata_allowed:
        session.resolve_with(_TransportResolver())


def require_secure(client: Any) -> None:
    """
    Pass when *client* sends through a session known to check host names.

    Raises:
        TypeError: naming the session's class otherwise.
    """
    kind = type(client._endpoint.http_session)
    if issubclass(kind, CheckedHttpSession) or kind.__module__.startswith(f"{__package__}.fastpath."):
        return
    raise TypeError(
        f"the client sends through {kind.__module__}.{kind.__qualname__}, which is not known to check TLS "
        "host names; leave http_session_cls alone, or report the versions of aioboto3 and aiobotocore in use"
    )
