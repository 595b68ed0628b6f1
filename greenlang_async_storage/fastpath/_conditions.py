"""When a call is not ours: the one list of reasons, and the checks that belong to a client as a whole."""

from __future__ import annotations

import os
from enum import StrEnum
from operator import is_not
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import aiobotocore
import aiobotocore.parsers
import botocore
import botocore.hooks
import botocore.serialize
import botocore.validate
from aiobotocore.client import AioBaseClient
from aiobotocore.endpoint import AioEndpoint
from aiobotocore.hooks import AioHierarchicalEmitter
from aiobotocore.signers import AioRequestSigner
from botocore.auth import AUTH_TYPE_MAPS
from botocore.history import get_global_history_recorder

if TYPE_CHECKING:
    from greenlang_async_storage.fastpath._botocore import ClientParts


class Reason(StrEnum):
    """Why a call went to botocore untouched: the keys of `statistics().passed_on`."""

    OPERATION = "operation not compiled"
    SESSION = "http session of another class"
    PROXY = "proxy"
    PATCHED = "client, endpoint or signer patched"
    HANDLERS = "event handlers other than botocore's own"
    STUBBER = "in-process stubber active"
    HISTORY = "history recorder enabled"
    SIGNATURE = "signature version other than s3v4"
    AUTH_PREFERENCE = "auth scheme preference set"
    CREDENTIALS = "no credentials"
    SERIALIZER = "serializer or parameter validation changed"
    PARSER = "response parser changed"
    BUCKET = "bucket name is an ARN or invalid"
    ENDPOINT = "endpoint rules: error, S3 Express or another auth scheme"
    PARAMETERS = "parameter unknown, missing or of another type"
    TEXT = "parameter not plain visible text"
    BODY = "kind of body"
    CHECKSUM = "checksum algorithm unknown here"
    RATE_LIMITED = "adaptive rate limiter active"


class PassOn(Exception):  # noqa: N818 - a signal to the mixin, not an error
    """This call goes to botocore unchanged."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


_OWN_CODE = tuple(os.path.dirname(package.__file__) + os.sep for package in (botocore, aiobotocore))  # noqa: PTH120
_HISTORY = get_global_history_recorder()
_SIGNATURES = frozenset({"s3v4", "v4"})
# With awscrt installed botocore signs by the second; the signatures of both are the same.
_SIGNERS = frozenset({"S3SigV4Auth", "CrtS3SigV4Auth"})
_OVERRIDABLE = frozenset(
    {
        "_make_api_call", "_make_request", "_convert_to_request_dict", "_emit_api_params",
        "_resolve_endpoint_ruleset", "make_request", "_send_request", "create_request", "prepare_request",
        "_get_response", "_do_get_response", "_send", "_needs_retry", "handler", "sign", "get_auth_instance",
        "_choose_signer",
    }
)  # fmt: skip


def is_native(function: object) -> bool:
    """Whether *function* is botocore's or aiobotocore's code, not a wrapper that carries its name."""
    if type(function) is not FunctionType or not function.__code__.co_filename.startswith(_OWN_CODE):
        return False
    wrapped = getattr(function, "__wrapped__", None)
    return wrapped is None or is_native(wrapped)


def _pipeline() -> tuple[object, ...]:
    return (
        AioBaseClient._make_api_call, AioBaseClient._make_request, AioBaseClient._convert_to_request_dict,
        AioBaseClient._emit_api_params, AioBaseClient._resolve_endpoint_ruleset,
        AioEndpoint.make_request, AioEndpoint._send_request, AioEndpoint.create_request,
        AioEndpoint.prepare_request, AioEndpoint._get_response, AioEndpoint._do_get_response,
        AioEndpoint._send, AioEndpoint._needs_retry,
        AioRequestSigner.handler, AioRequestSigner.sign, AioRequestSigner.get_auth_instance,
        AioRequestSigner._choose_signer, AUTH_TYPE_MAPS["s3v4"].add_auth,
    )  # fmt: skip


_verified: tuple[object, ...] = ()


def pipeline_patched(following: object) -> bool:
    """
    Whether a tracer (or a test) wrapped or replaced a step of the calls we leave out.

    *following* is what `super()._make_api_call` gives the mixin: AioBaseClient's own method, or another
    base's.
    """
    global _verified  # noqa: PLW0603 - the last state found clean; comparing with it is what every call pays
    current = _pipeline()
    # By identity: a wrapper may well call itself equal to what it wraps.
    if len(_verified) != len(current) or any(map(is_not, _verified, current)):
        if not all(map(is_native, current)):
            return True
        _verified = current
    return type(following) is not MethodType or following.__func__ is not current[0]


def client_reason(client: ClientParts) -> Reason | None:
    """The first reason that holds for every call of *client*, as it was configured."""
    config = client.meta.config
    endpoint: Any = client._endpoint
    if config.signature_version not in _SIGNATURES or AUTH_TYPE_MAPS["s3v4"].__name__ not in _SIGNERS:
        return Reason.SIGNATURE
    if getattr(config, "auth_scheme_preference", None):
        return Reason.AUTH_PREFERENCE
    serializer: Any = client._serializer
    if (
        type(serializer) is not botocore.validate.ParamValidationDecorator
        or type(serializer._serializer) is not botocore.serialize.RestXMLSerializer
    ):
        return Reason.SERIALIZER
    emitter: Any = client.meta.events
    if (
        type(emitter) is not botocore.hooks.EventAliaser
        or type(emitter._emitter) is not AioHierarchicalEmitter
        or endpoint._event_emitter is not emitter
    ):
        return Reason.HANDLERS
    if type(endpoint) is not AioEndpoint or type(client._request_signer) is not AioRequestSigner:
        return Reason.PATCHED
    if type(endpoint._response_parser_factory) is not aiobotocore.parsers.AioResponseParserFactory:
        return Reason.PARSER
    return Reason.ENDPOINT if client._ruleset_resolver is None else None


def call_reason(client: ClientParts, following: object) -> Reason | None:
    """The first reason that may come and go between two calls of the same client."""
    endpoint: Any = client._endpoint
    if (
        pipeline_patched(following)
        or not _OVERRIDABLE.isdisjoint(client.__dict__)
        or not _OVERRIDABLE.isdisjoint(endpoint.__dict__)
        or not _OVERRIDABLE.isdisjoint(client._request_signer.__dict__)
    ):
        return Reason.PATCHED
    if _HISTORY._enabled:
        return Reason.HISTORY
    if endpoint._response_parser_factory._defaults:
        return Reason.PARSER
    return Reason.CREDENTIALS if client._request_signer._credentials is None else None
