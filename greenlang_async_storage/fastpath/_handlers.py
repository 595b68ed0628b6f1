"""
Which event handlers a call would meet: all of them known, or the call is not ours.

The compiled call does what botocore's own handlers do without calling them. So the handlers registered for
every event of one call must be exactly those of botocore and aiobotocore, told by identity: one more, one
less or an unknown one of a newer botocore, and the call is passed on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import aiobotocore.hooks
import aiobotocore.retryhandler
import botocore.handlers
from botocore.hooks import HierarchicalEmitter

from greenlang_async_storage.fastpath import _retry
from greenlang_async_storage.fastpath._conditions import PassOn, Reason, is_native

if TYPE_CHECKING:
    from greenlang_async_storage.fastpath._botocore import ClientParts

_EVENTS = (
    "provide-client-params", "before-parameter-build", "before-endpoint-resolution", "before-call",
    "request-created", "choose-signer", "before-sign", "before-send", "response-received", "before-parse",
    "needs-retry", "after-call", "after-call-error",
)  # fmt: skip

# Functions of botocore.handlers whose effect on the compiled operations is reproduced, or known to be none.
_EMULATED = frozenset(
    {
        "generate_idempotent_uuid", "_handle_request_validation_mode_member", "validate_bucket_name",
        "remove_bucket_from_url_paths_from_model", "set_list_objects_encoding_type_url",
        "handle_copy_source_param", "validate_ascii_metadata", "sse_md5", "copy_source_sse_md5",
        "convert_body_to_file_like_object", "customize_endpoint_resolver_builtins",
        "add_recursion_detection_header", "add_expect_header", "escape_xml_payload",
        "inject_api_version_header_if_needed", "add_retry_headers", "set_operation_specific_signer",
        "_set_auth_scheme_preference_signer", "remove_arn_from_signing_path",
        "_set_extra_headers_for_unsigned_request", "handle_expires_header", "_handle_200_error",
        "_update_status_code", "decode_list_object_v2", "decode_list_object_versions",
    }
)  # fmt: skip

# What a client registers on its own emitter, by event.
_CLIENT_HANDLERS: Mapping[str, tuple[str, ...]] = {
    "before-parameter-build": ("AioS3RegionRedirectorv2.annotate_request_context",
                               "AioClientCreator._inject_s3_input_parameters"),
    "before-endpoint-resolution": ("AioS3RegionRedirectorv2.redirect_from_cache",),
    "before-call": ("AioS3ExpressIdentityResolver.apply_signing_cache_key",),
    "request-created": ("AioRequestSigner.handler", "UserAgentString.rebuild_and_replace_user_agent_handler"),
    "before-sign": ("AioS3ExpressIdentityResolver.resolve_s3express_identity",),
    "needs-retry": ("AioS3RegionRedirectorv2.redirect_from_error",),
}  # fmt: skip
_STANDARD: Mapping[str, tuple[str, ...]] = {
    "needs-retry": ("AioRetryHandler.needs_retry",),
    "after-call": ("RetryQuotaChecker.release_retry_quota",),
}
_ADAPTIVE: Mapping[str, tuple[str, ...]] = {
    "before-send": ("AsyncClientRateLimiter.on_sending_request",),
    "needs-retry": ("AsyncClientRateLimiter.on_receiving_response",),
}
_LEGACY: Mapping[str, tuple[str, ...]] = {"needs-retry": ("AioRetryHandler",)}
_BY_MODE = {"legacy": (_LEGACY,), "standard": (_STANDARD,), "adaptive": (_STANDARD, _ADAPTIVE)}
# Presigned URLs only; registered or not by whether the user chose a signature version.
_NO_EFFECT = frozenset({"AioClientCreator._default_s3_presign_to_sigv2"})


@dataclass(slots=True)
class Handlers:
    """The handlers of one operation that keep state, and which a compiled call must serve."""

    reason: Reason | None = None
    stubbers: tuple[Any, ...] = ()
    redirects: Mapping[str, str] | None = None
    release_quota: Callable[..., None] | None = None
    needs_retry: Callable[..., Awaitable[object]] | None = None
    limiter: Any = None
    _metadata: dict[str, object] | None = None

    async def success_metadata(self, operation_model: object) -> Mapping[str, object]:
        """
        What the standard retry handler adds to the metadata of a first answer: `MaxAttemptsReached`, or
        nothing.
        """
        if self._metadata is None:
            parsed: dict[str, Any] = {}
            if self.needs_retry is not None:
                await self.needs_retry(**_retry.success_event(operation_model, parsed))
            self._metadata = dict(parsed.get("ResponseMetadata", {}))
        return self._metadata

    @property
    def settled_metadata(self) -> Mapping[str, object] | None:
        """The same, once it was asked for."""
        return self._metadata

    @property
    def no_more_attempts(self) -> bool:
        """Whether the retry handler, asked once, allowed one attempt only, and no rate limiter listens."""
        metadata = self._metadata
        return metadata is not None and metadata.get("MaxAttemptsReached") is True and self.limiter is None

    def is_stubbed(self) -> bool:
        """Whether an in-process stubber (moto's) would answer this call now."""
        return any(stubber.enabled for stubber in self.stubbers)


def audit(client: ClientParts, operation: str) -> Handlers:
    """
    The stateful handlers of *operation*, or the reason that *client* has handlers that are not botocore's
    own.
    """
    found = Handlers()
    try:
        for event in _EVENTS:
            # The rules' event names no operation.
            name = f"{event}.s3" if event == "before-endpoint-resolution" else f"{event}.s3.{operation}"
            handlers = client.meta.events._emitter._handlers.prefix_search(name)
            expected = _expected(event, name, client.meta.config.retries["mode"])
            if Counter(filter(None, (_known(client, found, handler) for handler in handlers))) != expected:
                raise PassOn(Reason.HANDLERS)
    except PassOn as signal:
        found.reason = signal.reason
    return found


def _expected(event: str, name: str, mode: str) -> Counter[str]:
    names = Counter(_builtin_names(name))
    for table in (_CLIENT_HANDLERS, *_BY_MODE.get(mode, ())):
        names.update(table.get(event, ()))
    return names


@lru_cache(maxsize=512)
def _builtin_names(name: str) -> tuple[str, ...]:
    return tuple(handler.__name__ for handler in _builtin_emitter()._handlers.prefix_search(name))


@lru_cache(maxsize=1)
def _builtin_emitter() -> Any:
    emitter = HierarchicalEmitter()
    for event, handler, *_section in botocore.handlers.BUILTIN_HANDLERS:
        native = aiobotocore.hooks._HANDLER_MAPPING.get(handler, handler)
        # Others (moto) append to this list too; botocore's own methods serve documentation and other
        # services.
        if type(native) is FunctionType and is_native(native):
            emitter.register(event, native)
    return emitter


def _known(client: ClientParts, found: Handlers, handler: Any) -> str | None:
    """The name of one of botocore's handlers; None for those without effect."""
    if type(handler) is FunctionType:
        if handler is _retry.before_call or handler is _retry.before_send:
            return None
        if handler.__name__ in _EMULATED and is_native(handler):
            return str(handler.__name__)
    elif type(handler) is MethodType and is_native(handler.__func__):
        owner = handler.__self__
        name = f"{type(owner).__name__}.{handler.__name__}"
        _keep(client, found, name, handler, owner)
        return None if name in _NO_EFFECT else name
    elif type(handler) is aiobotocore.retryhandler.AioRetryHandler:
        return "AioRetryHandler"
    elif type(handler).__module__.startswith("moto.") and hasattr(handler, "enabled"):
        found.stubbers = (*found.stubbers, handler)
        return None
    raise PassOn(Reason.HANDLERS)


def _keep(client: ClientParts, found: Handlers, name: str, handler: Any, owner: Any) -> None:
    match name:
        case "AioS3RegionRedirectorv2.redirect_from_cache":
            found.redirects = owner._cache
        case "RetryQuotaChecker.release_retry_quota":
            found.release_quota = handler
        case "AioRetryHandler.needs_retry":
            found.needs_retry = handler
        case "AsyncClientRateLimiter.on_receiving_response":
            found.limiter = owner
        case "AioRequestSigner.handler" if owner is not client._request_signer:
            raise PassOn(Reason.HANDLERS)
        case "UserAgentString.rebuild_and_replace_user_agent_handler" if (
            owner is not client._user_agent_creator
        ):
            raise PassOn(Reason.HANDLERS)
