"""The one place that knows how aioboto3 makes a client; slow to import, so `_aws` imports it in a thread."""

# ruff: noqa: ANN401, SLF001  # aiobotocore publishes no types, and its seams are private attributes

from __future__ import annotations

import asyncio
import copy
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any, Final

import aiobotocore.credentials as aio_credentials
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiobotocore.utils import AioS3RegionRedirectorv2
from botocore.exceptions import DataNotFoundError
from botocore.loaders import Loader

from ._collector import collector_paused
from ._credentials import SharedCredentials
from ._http_sessions import secure
from ._settings import LOCALSTACK_CREDENTIAL, StorageSettings

DEFAULT_REGION: Final = "us-east-1"
EXPECT_CONTINUE_FROM: Final = 1 << 20
"""Bodies from this size on wait for `100 Continue`: a refusal then costs no upload."""

# These read small files and never wait for a network: a thread may run them to their end.
_FILE_PROVIDERS: Final = (
    aio_credentials.AioSharedCredentialProvider,
    aio_credentials.AioConfigProvider,
    aio_credentials.AioOriginalEC2Provider,
    aio_credentials.AioBotoProvider,
)
# Clients botocore makes by itself to fetch credentials; its own defaults would wait five minutes.
_CREDENTIAL_SERVICES: Final = frozenset({"sts", "sso", "sso-oidc", "signin"})
_CREDENTIAL_CONFIG: Final = AioConfig(
    connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"}
)


class StorageAioSession(AioSession):  # type: ignore[misc]  # aiobotocore publishes no types
    """An aiobotocore session; its clients, the credential chain's too, are safe and made in a thread."""

    def __init__(self, *, metadata_allowed: bool = False) -> None:
        super().__init__()
        self._metadata_allowed = metadata_allowed
        self._credentials: Any = None
        self._contexts: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._making = asyncio.Lock()
        self._searched = False

    def create_client(self, *args: Any, **kwargs: Any) -> _ClientContext:
        """An async context manager; it may be entered again, as botocore's SSO token provider does."""
        return _ClientContext(lambda: self._create_client(*args, **kwargs))

    async def get_credentials(self) -> Any:
        """What the chain found, temporary credentials shared by all callers; `None` when it found nothing."""
        if self._credentials is None and not self._searched:
            found = await self._search()
            if isinstance(found, aio_credentials.AioRefreshableCredentials):
                found = SharedCredentials(found)
            self._credentials, self._searched = found, True
        return self._credentials

    async def _search(self) -> Any:
        resolver = await asyncio.to_thread(self.get_component, "credential_provider")
        for provider in resolver.providers:
            if isinstance(provider, _FILE_PROVIDERS):
                found = await asyncio.to_thread(_finish, provider.load())
            else:
                found = await provider.load()
            if found is not None:
                return found
        return None

    async def _create_client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        if service_name in _CREDENTIAL_SERVICES:
            config = kwargs.get("config")
            kwargs["config"] = _CREDENTIAL_CONFIG if config is None else _CREDENTIAL_CONFIG.merge(config)
        else:
            await self.get_credentials()
        async with self._making:
            return await asyncio.to_thread(self._make, service_name, *args, **kwargs)

    def _make(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        with collector_paused():
            return self._make_client(service_name, *args, **kwargs)

    def _make_client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        client = _finish(super()._create_client(service_name, *args, **kwargs))
        secure(client, self._contexts, metadata_allowed=self._metadata_allowed)
        _bound_region_lookup(client)
        if service_name == "s3":
            # The fast path reads the rules again with its first call, under this key of the loader's cache.
            self.get_component("data_loader").load_service_model("s3", "endpoint-rule-set-1")
            # What `get_paginator` of the client would read from the disk on the event loop.
            client.can_paginate("list_objects_v2")
        return client

    def configured_endpoint(self) -> str | None:
        """The S3 endpoint of botocore's own chain: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, the profile."""
        if self.get_config_variable("ignore_configured_endpoint_urls"):
            return None
        store = copy.copy(self.get_component("config_store"))
        self._add_configured_endpoint_provider(client_name="s3", config_store=store)
        endpoint: str | None = store.get_config_variable("endpoint_url")
        return endpoint


class _ClientContext:
    """Makes a client each time it is entered."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._make = make
        self._client: Any = None

    async def __aenter__(self) -> Any:
        self._client = await self._make()
        return await self._client.__aenter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.__aexit__(*exc_info)


def _finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits; no event loop is needed, so any thread may run it."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(f"{coroutine!r} waits, though it should not; report the version of aiobotocore in use")


_looking_up_region: ContextVar[bool] = ContextVar("looking_up_region", default=False)
_models: Final[dict[str | None, dict[Any, Any]]] = {}
"""What botocore's loaders have read, by the folders they look into first (`AWS_DATA_PATH`)."""


def _bound_region_lookup(client: Any) -> None:
    """
    Keep botocore's region redirect to one look-up.

    To learn a bucket's region it sends HeadBucket, whose own redirect it looks up in the same way: a server
    that redirects without naming a region would be asked until the stack ends.
    """
    for handler in client.meta.events._emitter._handlers.prefix_search("needs-retry.s3"):
        redirector = getattr(handler, "__self__", None)
        if isinstance(redirector, AioS3RegionRedirectorv2):
            redirector.get_bucket_region = _once(redirector.get_bucket_region)


def _once(
    look_up: Callable[[str, Any], Awaitable[str | None]],
) -> Callable[[str, Any], Awaitable[str | None]]:
    async def look_up_once(bucket: str, response: Any) -> str | None:
        if _looking_up_region.get():
            return None
        token = _looking_up_region.set(True)
        try:
            return await look_up(bucket, response)
        finally:
            _looking_up_region.reset(token)

    return look_up_once


class _KnownServices:
    """
    The services botocore has a model of, one looked up without the others.

    To see that there is S3, botocore's loader walks the folders of all four hundred services, once for
    each kind of file: a tenth of opening a client.
    """

    def __init__(self, loader: Loader, list_all: Callable[[str], Iterable[str]], kind: str) -> None:
        self._loader = loader
        self._list_all = list_all
        self._kind = kind

    def __contains__(self, service: str) -> bool:
        try:
            return bool(self._loader.list_api_versions(service, self._kind))
        except DataNotFoundError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._list_all(self._kind))


def _lighten(loader: Any, data_path: str | None) -> None:
    """
    Make *loader* look S3 up alone, and read its models only if no session of this process has yet.

    They are 60,000 objects, which botocore reads but never changes: 12 MiB and two thirds of the time of
    every opening but the first.
    """
    if type(loader) is not Loader:
        return
    loader.list_available_services = partial(_KnownServices, loader, loader.list_available_services)
    if isinstance(getattr(loader, "_cache", None), dict):
        loader._cache = _models.setdefault(data_path, loader._cache)


def make_session(settings: StorageSettings) -> Any:
    """
    An `aioboto3.Session` for *settings*, or the aiobotocore session itself where aioboto3 is not installed.

    Blocks (imports, configuration files): call it in a thread.

    Raises:
        StorageSettingsError: botocore's own chain names an endpoint that *settings* do not allow.
    """
    core = StorageAioSession(metadata_allowed=settings.allow_link_local_endpoint)
    _lighten(core.get_component("data_loader"), core.get_config_variable("data_path"))
    if settings.endpoint is None and (url := core.configured_endpoint()):
        settings.check_foreign_endpoint(url)
    region = settings.region or core.get_config_variable("region") or DEFAULT_REGION
    core.set_config_variable("region", region)
    # The credential chain is built before the first client, from which botocore would learn the region.
    core._last_client_region_used = region
    if keys := _explicit_keys(settings):
        core.set_credentials(*keys)
    session = _as_aioboto3(core)
    if settings.fast_path:
        from .fastpath import enable

        enable(session, expect_continue_from=EXPECT_CONTINUE_FROM)
    return session


def client_args(settings: StorageSettings, version: str, *, on_aws: bool = True) -> dict[str, Any]:
    """The keyword arguments of `session.client("s3", ...)`; none where botocore's own chain decides."""
    s3: dict[str, Any] = {"us_east_1_regional_endpoint": "regional"}
    if on_aws:
        # Else presigned URLs name the global host, which redirects to the region and breaks the signature.
        # Elsewhere it would mean one host name per bucket, which such stores rarely have.
        s3["addressing_style"] = "virtual"
    if settings.use_accelerate:
        s3["use_accelerate_endpoint"] = True
    config = AioConfig(
        signature_version="s3v4",
        max_pool_connections=settings.max_pool_connections,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        # One layer retries, and it is not this one.
        retries={"total_max_attempts": 1, "mode": "standard"},
        # Checksums are computed and verified above, off the event loop.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra=f"greenlang-async-storage/{version}",
        s3=s3,
    )
    arguments: dict[str, Any] = {"config": config}
    if settings.endpoint:
        arguments["endpoint_url"] = settings.endpoint
    if settings.verify_tls is not True:
        arguments["verify"] = str(settings.verify_tls) if settings.verify_tls else False
    return arguments


def new_client(session: Any, settings: StorageSettings, version: str) -> Any:
    """The async context manager of the S3 client."""
    core = getattr(session, "_session", session)
    on_aws = (settings.endpoint or core.configured_endpoint()) is None
    make = getattr(session, "client", None) or session.create_client
    return make("s3", **client_args(settings, version, on_aws=on_aws))


def _explicit_keys(settings: StorageSettings) -> tuple[str, str, str | None] | None:
    if settings.access_key_id is not None and settings.secret_access_key is not None:
        token = settings.session_token
        secret = settings.secret_access_key.get_secret_value()
        return settings.access_key_id, secret, token.get_secret_value() if token else None
    if settings.use_localstack:
        return LOCALSTACK_CREDENTIAL, LOCALSTACK_CREDENTIAL, None
    return None


def _as_aioboto3(core: StorageAioSession) -> Any:
    try:
        import aioboto3
    except ModuleNotFoundError as error:
        if error.name != "aioboto3":
            raise
        return core  # plain aiobotocore 3.x, which aioboto3 does not allow yet
    return aioboto3.Session(botocore_session=core)
