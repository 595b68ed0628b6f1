"""Opening and closing the pooled S3 client, slow work in threads; where its credentials come from."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from xml.parsers import expat

from ._collector import collector_paused
from ._endpoints import is_loopback_endpoint, redacted_endpoint
from ._error_map import map_errors
from ._log import log
from ._settings import StorageSettings
from ._version import __version__

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

SAFE_EXPAT: Final = (2, 6, 0)
"""The first without CVE-2023-52425, quadratic time for large tokens."""


@dataclass(frozen=True, slots=True)
class OpenedClient:
    """An entered client and what must end with it; an async context manager, or call `aclose()`."""

    client: S3Client
    endpoint_url: str
    """Without user or query; safe to log."""
    region: str
    _stack: AsyncExitStack = field(repr=False)

    async def aclose(self) -> None:
        """Close the connections and end a credential renewal that is still running; again does nothing."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


async def open_client(settings: StorageSettings) -> OpenedClient:
    """
    The pooled S3 client for *settings*, entered; it checks TLS host names, as do the clients that fetch its
    credentials.

    Imports, model files, TLS context and credential files are read in threads. The network is not used,
    except for instance or container metadata where credentials come from there; the temporary credentials of
    a role are fetched by the first call.

    Raises:
        StorageSettingsError: `AWS_ENDPOINT_URL` names what these settings do not allow.
        S3CredentialsError: the profile or the credential configuration cannot be used.
    """
    with map_errors("OpenSession"):
        aws = await asyncio.to_thread(_import_stack)
        session = await asyncio.to_thread(_make_session, aws, settings)
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(aws.new_client(session, settings, __version__))
            if closes := getattr(_credentials(client), "aclose", None):
                stack.push_async_callback(closes)
            endpoint = str(client.meta.endpoint_url)
            opened = OpenedClient(
                client, redacted_endpoint(endpoint), str(client.meta.region_name), stack.pop_all()
            )
    _warn(opened.endpoint_url, settings)
    return opened


def credentials_source(client: S3Client) -> str:
    """
    How the client came by its credentials, in botocore's words: `assume-role-with-web-identity`, `env`, ...

    `explicit` for keys given in code, `none` where nothing was found.
    """
    return str(getattr(_credentials(client), "method", "none"))


def credentials_expire_at(client: S3Client) -> datetime | None:
    """When the present credentials end; `None` when they never do or were not fetched yet."""
    expires_at: datetime | None = getattr(_credentials(client), "expires_at", None)
    return expires_at


async def refresh_credentials(client: S3Client) -> bool:
    """
    Whether a call the store refused as expired may be tried again; `False` where nothing can be renewed.

    One renewal serves all who ask at the same time, or within 5 s after it.

    Raises:
        S3CredentialsError: the renewal failed.
    """
    renew = getattr(_credentials(client), "renew", None)
    if renew is None:
        return False
    with map_errors("RefreshCredentials"):
        await renew()
    return True


def _credentials(client: Any) -> Any:  # noqa: ANN401  # botocore publishes no types
    return client._request_signer._credentials  # noqa: SLF001  # there is no other way to what it signs with


def _import_stack() -> ModuleType:
    with collector_paused():
        from . import _aws_session

        return _aws_session


def _make_session(aws: ModuleType, settings: StorageSettings) -> Any:  # noqa: ANN401  # see _credentials
    with collector_paused():
        return aws.make_session(settings)


@cache
def _tell_expat(version: str, parts: tuple[int, ...]) -> None:
    """Once a process: no warning, since replies are bounded here and distributions mend old versions."""
    if parts < SAFE_EXPAT:
        log.info("storage.expat_old", version=version, remedy="run a Python with expat 2.6.0 or newer")


def _warn(url: str, settings: StorageSettings) -> None:
    _tell_expat(expat.EXPAT_VERSION, expat.version_info)
    if url.startswith("http://") and not is_loopback_endpoint(url):
        log.warning("storage.endpoint_unencrypted", endpoint_url=url, remedy="use an https:// endpoint")
    if settings.verify_tls is False:
        log.warning(
            "storage.tls_unverified", endpoint_url=url, remedy="give GREENLANG_STORAGE_VERIFY_TLS a CA bundle"
        )
