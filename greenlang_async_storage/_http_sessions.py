"""The aiohttp session botocore clients send with, made to check TLS host names and to follow no redirect."""

# ruff: noqa: ANN401, SLF001  # aiobotocore publishes no types, and its seams are private attributes

from __future__ import annotations

import inspect
import ssl
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.httpsession import get_cert_path

_BUILDS_CONTEXT_IN_THREAD = inspect.iscoroutinefunction(AIOHTTPSession._create_connector)
"""aiobotocore from 3.8 on; it also checks host names from 3.9 on."""


class CheckedHttpSession(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore publishes no types
    """
    aiobotocore's own session, safe: the server's name must be in its certificate, TLS is 1.2 or newer, and a
    redirect is an answer, never a second request that would carry credentials to another host.

    `prepare()` builds the TLS context; call it in a thread before the first request.
    """

    _context: ssl.SSLContext | None = None

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
        if self._context is None:
            return super()._create_connector(proxy_url)
        return aiohttp.TCPConnector(
            limit=self._max_pool_connections, ssl=self._context, **self._connector_args
        )

    async def _get_session(self, proxy_url: str | None) -> _NoRedirects:
        return _NoRedirects(await super()._get_session(proxy_url))


class _NoRedirects:
    """An aiohttp session (aiobotocore only uses `request`) that hands a redirect back as it came."""

    __slots__ = ("_session",)

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def request(self, method: str, **options: Any) -> aiohttp.ClientResponse:
        return await self._session.request(method, allow_redirects=False, **options)


def secure(client: Any, contexts: dict[tuple[object, ...], ssl.SSLContext]) -> None:
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
    if isinstance(session, CheckedHttpSession):
        session.prepare(contexts)
    require_secure(client)


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
