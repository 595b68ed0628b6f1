"""Requests that go through a proxy: aiobotocore's own session, with TLS checked."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession

from greenlang_async_storage.fastpath.transport._tls import build_context

CHECKS_HOST_NAMES = hasattr(AIOHTTPSession, "_build_verify_context")
"""aiobotocore from 3.9 on: its own contexts are right, also for the hop to an https proxy."""


class ProxySession(AIOHTTPSession):  # type: ignore[misc]
    """aiobotocore's session; before 3.9 it checked no host name, and by proxy not even the certificate."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        if CHECKS_HOST_NAMES:
            return await super()._get_session(proxy_url)
        if self._sessions is None:
            raise RuntimeError("the HTTP session is closed")
        session = self._sessions.get(proxy_url)
        if session is None:
            context = await asyncio.get_running_loop().run_in_executor(None, self._checked_context)
            session = self._sessions.get(proxy_url)
        else:
            return session
        if session is None:
            connector = aiohttp.TCPConnector(
                limit=self._max_pool_connections,
                ssl=context,
                **{name: value for name, value in self._connector_args.items() if name != "ssl_context"},
            )
            session = await self._exit_stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=connector,
                    timeout=self._timeout,
                    skip_auto_headers={"CONTENT-TYPE"},
                    auto_decompress=False,
                ),
            )
            self._sessions[proxy_url] = session
        return session

    def _checked_context(self) -> ssl.SSLContext:
        given = self._connector_args.get("ssl_context")
        if given is not None:
            assert isinstance(given, ssl.SSLContext)  # noqa: S101 - AioConfig checks it
            return given
        certificate = (self._cert_file, self._key_file) if self._key_file else self._cert_file
        context = build_context(self._verify, certificate)
        settings = self._proxy_config.settings
        if self._verify and (bundle := settings.get("proxy_ca_bundle")):
            context.load_verify_locations(cafile=bundle)
        own = settings.get("proxy_client_cert")
        if isinstance(own, tuple):
            context.load_cert_chain(*own)
        elif own:
            context.load_cert_chain(own)
        return context
