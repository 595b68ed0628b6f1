"""aiobotocore's HTTP session on this package's connections, with a faster door for compiled calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from aiobotocore.awsrequest import AioAWSResponse
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import BotoCoreError, ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import MAX_POOL_CONNECTIONS, ProxyConfiguration

from greenlang_async_storage.fastpath._wire import Origin, RequestBody
from greenlang_async_storage.fastpath.transport._connection import Connection
from greenlang_async_storage.fastpath.transport._dial import DNS_TTL, Dialer, Resolver, SocketOption
from greenlang_async_storage.fastpath.transport._errors import (
    ConnectionLostError,
    TruncatedBodyError,
    safe_url,
    to_botocore,
    url_of,
)
from greenlang_async_storage.fastpath.transport._head import find_header
from greenlang_async_storage.fastpath.transport._message import Message, message
from greenlang_async_storage.fastpath.transport._pool import Pool, PoolStatistics
from greenlang_async_storage.fastpath.transport._proxy import ProxySession
from greenlang_async_storage.fastpath.transport._raw import RawResponse
from greenlang_async_storage.fastpath.transport._response import Response
from greenlang_async_storage.fastpath.transport._sending import NEVER
from greenlang_async_storage.fastpath.transport._tls import TLSContexts
from greenlang_async_storage.fastpath.transport._upload import send

KEEPALIVE: Final = 12.0
"""Seconds an idle connection is kept, aiobotocore's default: AWS closes after 20."""
_ORIGINS: Final = 1024


class HTTPSession:
    """
    An HTTP session for aiobotocore: its constructor, `send` and errors; and `exchange` for compiled calls.

    At most *max_pool_connections* requests and open bodies at a time; more wait in line (see `Pool`), for at
    most *pool_timeout* seconds without anybody being served (default: the read timeout). *timeout* is
    ``(connect, read)``, or one number for both, None for no limit; the read timeout covers each wait for
    bytes, in either direction.

    Certificates and host names are checked unless *verify* is False. Redirects are never followed. A
    kept-alive connection that turns out closed is replaced once, if no byte of a reply came and repeating the
    request cannot apply it twice. Where a proxy is configured, aiobotocore's own session takes the request.

    One event loop per session. `close` (or leaving ``async with``) fails what is still running.
    """

    def __init__(  # noqa: PLR0917 - aiobotocore's signature
        self,
        verify: bool | str | None = True,  # noqa: FBT001, FBT002 - aiobotocore's signature
        proxies: Mapping[str, str] | None = None,
        timeout: float | Sequence[float | None] | None = None,
        max_pool_connections: int | None = MAX_POOL_CONNECTIONS,
        socket_options: Sequence[SocketOption] | None = None,
        client_cert: str | tuple[str, str] | None = None,
        proxies_config: Mapping[str, Any] | None = None,
        connector_args: Mapping[str, Any] | None = None,
        *,
        pool_timeout: float | None = None,
    ) -> None:
        connect_timeout, read_timeout = timeout if isinstance(timeout, list | tuple) else (timeout, timeout)
        options = dict(connector_args or {})
        self._proxies = ProxyConfiguration(
            proxies=dict(proxies) if proxies else None,
            proxies_settings=dict(proxies_config) if proxies_config else None,
        )
        self._proxied_schemes = frozenset(scheme for scheme, url in (proxies or {}).items() if url)
        self._proxy_arguments = {
            "verify": verify,
            "proxies": dict(proxies or {}),
            "timeout": timeout,
            "max_pool_connections": max_pool_connections,
            "socket_options": socket_options,
            "client_cert": client_cert,
            "proxies_config": proxies_config,
            "connector_args": connector_args,
        }
        self._proxy_session: ProxySession | None = None
        given: ssl.SSLContext | None = options.get("ssl_context")
        keepalive = options.get("keepalive_timeout", KEEPALIVE)
        self._dialer = Dialer(
            TLSContexts(verify, client_cert, given),
            connect_timeout=connect_timeout,
            socket_options=socket_options or (),
            resolver=options.get("resolver"),
            dns_ttl=options.get("ttl_dns_cache", DNS_TTL) if options.get("use_dns_cache", True) else 0.0,
        )
        self._pool = Pool(
            self._dialer,
            limit=max_pool_connections,
            keepalive=0.0 if options.get("force_close") else NEVER if keepalive is None else keepalive,
            read_timeout=NEVER if read_timeout is None else read_timeout,
            pool_timeout=_first(pool_timeout, options.get("pool_timeout"), read_timeout),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._origins: dict[str, Origin] = {}

    # Lifetime.

    async def __aenter__(self) -> Self:
        self._pool.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Fail what is running and close every connection; safe to call twice."""
        proxy_session, self._proxy_session = self._proxy_session, None
        try:
            await self._pool.aclose()
        finally:
            if proxy_session is not None:
                await proxy_session.__aexit__(None, None, None)

    # What the owner may ask or set.

    @property
    def pool_timeout(self) -> float:
        """Seconds without anybody being served after which a request that waits for a slot fails."""
        return self._pool.pool_timeout

    @pool_timeout.setter
    def pool_timeout(self, seconds: float) -> None:
        self._pool.pool_timeout = seconds

    def resolve_with(self, resolver: Resolver) -> None:
        """Look names up with *resolver* from now on, unless `connector_args` has named one."""
        if self._dialer.resolver is None:
            self._dialer.resolver = resolver

    def statistics(self) -> PoolStatistics:
        """The pool at this moment."""
        return self._pool.statistics()

    def uses_proxy(self, scheme: str) -> bool:
        """Whether requests to *scheme* go through a proxy, which only `send` can do."""
        return scheme in self._proxied_schemes

    # The door for compiled calls.

    async def exchange(
        self,
        origin: Origin,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: RequestBody = None,
        *,
        content_length: int | None = None,
    ) -> Response:
        """
        The response to one request, as soon as its head has arrived.

        *target* is the path and query exactly as signed. *headers* are sent as given (Host, Content-Length
        and Expect included when wanted); *content_length* tells how many bytes of a file object to send.
        Raises botocore's exceptions (see `_errors`), ValueError for a head that cannot be sent as given.
        A buffer must not be changed before this returns.
        """
        if origin.scheme in self._proxied_schemes:
            raise ValueError(f"a proxy is configured for {origin.scheme}: use send()")
        return await self.deliver(origin, message(method, target, headers, body, content_length))

    async def deliver(self, origin: Origin, request: Message) -> Response:
        """As `Transport.deliver`; no proxy may be configured for the scheme."""
        if asyncio.get_running_loop() is not self._loop:
            self._bind()
        try:
            return await self._deliver(origin, request)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise to_botocore(error, url_of(origin, request.target)) from error

    async def _deliver(self, origin: Origin, request: Message) -> Response:
        connection = self._pool.take(origin) or await self._pool.acquire(origin)
        if connection.requests and not request.repeatable and connection.has_news():
            connection = await self._instead_of(connection)
        upload = request.upload
        try:
            if upload.source is not None:
                return await _attempt(connection, request)
            # `_attempt`, without a coroutine of its own for what nearly every request is.
            reply = connection.begin(
                request.head,
                upload.view,
                request.target,
                answers_head=request.method == "HEAD",
                expect=request.expect,
            )
            try:
                return await reply
            except BaseException:
                connection.cancel(reply)
                raise
        except ConnectionLostError:
            if connection.requests < 2 or connection.got_bytes:
                raise
            # It did not leave whole, or may be applied twice.
            if not (connection.sent_partly or request.repeatable) or not upload.again():
                raise
        self._pool.replaced += 1
        return await _attempt(await self._pool.acquire(origin, fresh=True), request)

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._pool.bind(loop)
            self._loop = loop

    async def _instead_of(self, connection: Connection) -> Connection:
        """
        A connection that is still open, after *connection* had something to say while it was idle.

        A request that must not be sent twice cannot try a connection and see; this closes all but the moment
        between the look and the server's own close.
        """
        origin = connection.origin
        while connection.requests and connection.has_news():
            connection.close()
            connection = await self._pool.acquire(origin)
        return connection

    # aiobotocore's door.

    async def send(self, request: AWSPreparedRequest) -> AioAWSResponse:
        """The response to a prepared request, as aiobotocore's session gives it."""
        url = str(request.url)
        if self._proxied_schemes and self._proxies.proxy_url_for(url):
            return await self._send_by_proxy(request)
        self._bind()
        try:
            origin, target, host = self._split(url)
            headers = _wire_headers(request.headers, host)
            wire = await self._deliver(origin, message(request.method, target, headers, request.body, None))
        except Exception as error:
            raise to_botocore(error, url, request) from error
        raw = RawResponse(wire, url, request.method)
        try:
            lines = {name.decode(): value.decode() for name, value in wire.headers}
            response = AioAWSResponse(url, wire.status, lines, raw)
            if not request.stream_output:
                await response.content
        except BaseException as error:
            wire.close()
            if isinstance(error, TruncatedBodyError):
                raise ConnectionClosedError(
                    error=error, request=request, endpoint_url=safe_url(url)
                ) from error
            if isinstance(error, ReadTimeoutError):
                raise ReadTimeoutError(endpoint_url=safe_url(url), error=error) from error
            if isinstance(error, BotoCoreError) or not isinstance(error, Exception):
                raise
            raise to_botocore(error, url, request) from error
        return response

    async def _send_by_proxy(self, request: AWSPreparedRequest) -> AioAWSResponse:
        if self._proxy_session is None:
            session = ProxySession(**self._proxy_arguments)
            self._proxy_session = session
            await session.__aenter__()
        return await self._proxy_session.send(request)

    def _split(self, url: str) -> tuple[Origin, str, str]:
        parts = urlsplit(url)
        key = f"{parts.scheme}://{parts.netloc}"
        origin = self._origins.get(key)
        if origin is None:
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"not an http or https URL: {safe_url(url)}")
            port = parts.port or (443 if parts.scheme == "https" else 80)
            origin = Origin(parts.scheme, parts.hostname, port)
            if len(self._origins) >= _ORIGINS:
                self._origins.clear()
            self._origins[key] = origin
        target = parts.path or "/"
        if parts.query or url.partition("#")[0].endswith("?"):
            target = f"{target}?{parts.query}"
        return origin, target, parts.netloc.rpartition("@")[2]


def _first(*values: float | None) -> float:
    return next((value for value in values if value is not None), NEVER)


async def _attempt(connection: Connection, request: Message) -> Response:
    upload = request.upload
    reply = connection.begin(
        request.head,
        upload.view,
        request.target,
        answers_head=request.method == "HEAD",
        expect=request.expect,
        streamed=upload.source is not None,
    )
    try:
        if upload.source is not None:
            await send(connection, upload)
        return await reply
    except BaseException:
        connection.cancel(reply)
        raise


def _wire_headers(given: Mapping[str, str | bytes], host: str) -> list[tuple[str, str]]:
    """The headers botocore prepared, with the two its own sessions add."""
    headers = [
        (name, value.decode() if isinstance(value, bytes) else str(value)) for name, value in given.items()
    ]
    headers = [line for line in headers if line[0].lower() != "accept-encoding"]
    if find_header(headers, "host") is None:
        headers.insert(0, ("Host", host))
    # https://github.com/boto/botocore/issues/1255: bodies come as they are stored.
    headers.append(("Accept-Encoding", "identity"))
    return headers
