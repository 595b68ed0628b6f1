"""The state a client keeps for its compiled calls, and the making of one request."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from aiobotocore.credentials import AioCredentials
from botocore.utils import ensure_boolean

from greenlang_async_storage.fastpath import _agent, _body, _checksums, _signer
from greenlang_async_storage.fastpath._conditions import PassOn, Reason, call_reason, client_reason
from greenlang_async_storage.fastpath._endpoint import EndpointCache, Target
from greenlang_async_storage.fastpath._handlers import Handlers, audit
from greenlang_async_storage.fastpath._model import OPERATIONS, Operation, operation
from greenlang_async_storage.fastpath._serializer import Draft, serialize
from greenlang_async_storage.fastpath._template import Form, Learnt, Template, form_of, settings_of, template
from greenlang_async_storage.fastpath._wire import Origin, WireResponse
from greenlang_async_storage.fastpath.transport import HTTPSession
from greenlang_async_storage.fastpath.transport._message import Message

if TYPE_CHECKING:
    from greenlang_async_storage.fastpath._botocore import ClientParts

_NO_BODY = _body.Outgoing(None, 0, expects=False)
_LENGTHLESS = frozenset({"GET", "HEAD"})
MAX_TEMPLATES: Final = 256


class Transport(Protocol):
    """One exchange at a time per connection; every exit, a cancel included, gives the slot back."""

    async def deliver(self, origin: Origin, request: Message) -> WireResponse:
        """
        The response to *request*, as soon as its head has arrived.

        Errors are the botocore classes aiobotocore's own session raises.
        """
        ...


@dataclass(slots=True, repr=False)
class Request:
    """One request, signed and ready, with what its reply is understood by. Its repr shows no header."""

    operation: Operation
    handlers: Handlers
    transport: Transport
    target: Target
    path: str
    """Path and query as signed."""
    headers: dict[str, str]
    """Empty where `message` has them."""
    body: _body.Outgoing
    draft: Draft
    invocation_id: str
    message: Message | None = None
    """The request as bytes, where a template made it."""


class _Signed(NamedTuple):
    """What came of signing a request, beside its headers."""

    path: str
    names: list[str]
    """Of the signed headers, in order."""
    algorithm: str | None
    """Of the checksum computed over the body."""
    features: frozenset[str]


class ClientState:
    """What one client remembers between calls."""

    __slots__ = (
        "_agent", "_checked", "_endpoints", "_expect_from", "_handlers", "_lookup_cache", "_operations",
        "_reason", "_session_reason", "_templates",
    )  # fmt: skip

    def __init__(self, expect_continue_from: int | None, session_reason: Reason) -> None:
        self._expect_from = expect_continue_from
        self._session_reason = session_reason
        self._agent = _agent.UserAgent()
        self._endpoints: dict[tuple[tuple[str, object], ...], EndpointCache] = {}
        self._operations: dict[str, Operation] = {}
        self._handlers: dict[str, Handlers] = {}
        self._lookup_cache: object = None
        self._checked = False
        self._reason: Reason | None = None
        self._templates: dict[Form, Template | None] = {}

    async def request(
        self, client: ClientParts, name: str, parameters: dict[str, Any], following: object
    ) -> Request:
        """The request for this call. PassOn when the call is botocore's, before anything has an effect."""
        if name not in OPERATIONS:
            raise PassOn(Reason.OPERATION)
        handlers, transport = self._admit(client, name, following)
        form = form_of(name, parameters, self._expects)
        keys = await _keys(client)
        if form is not None and (kept := self._templates.get(form)) is not None:
            request = self._repeated(client, kept, handlers, transport, parameters, keys)
            if request is not None:
                return request
        compiled = self._operations.get(name)
        if compiled is None:
            compiled = operation(client.meta.service_model, client._serializer._serializer, name)
            self._operations[name] = compiled
        return await self._composed(client, compiled, handlers, transport, parameters, keys, form)

    def _repeated(  # noqa: PLR0917 - one step of `request`
        self,
        client: ClientParts,
        kept: Template,
        handlers: Handlers,
        transport: Transport,
        parameters: dict[str, Any],
        keys: _signer.Keys,
    ) -> Request | None:
        """The request as its template makes it; None where that was made for other circumstances."""
        if handlers.redirects and kept.draft.bucket in handlers.redirects:
            return None
        config = client.meta.config
        agent = self._agent.header(client._user_agent_creator, config, kept.features)
        if not kept.fits(keys, agent, settings_of(config)):
            return None
        body = _body.outgoing(parameters["Body"]) if kept.has_body else _NO_BODY
        if not kept.takes(body):
            return None
        invocation = _agent.invocation_id()
        message = kept.message(parameters, body, invocation)
        if message is None:
            return None
        path = message.target
        return Request(
            kept.operation, handlers, transport, kept.target, path, {}, body, kept.draft, invocation, message
        )

    async def _composed(  # noqa: PLR0917 - one step of `request`
        self,
        client: ClientParts,
        compiled: Operation,
        handlers: Handlers,
        transport: Transport,
        parameters: dict[str, Any],
        keys: _signer.Keys,
        form: Form | None,
    ) -> Request:
        """The request from its parameters up, and the template of its form."""
        draft = serialize(compiled, parameters, client.meta.config)
        endpoints = self._endpoints.get(compiled.static_parameters)
        if endpoints is None:
            endpoints = self._endpoints[compiled.static_parameters] = EndpointCache()
        region = handlers.redirects.get(draft.bucket) if handlers.redirects else None
        target = await endpoints.target(client, compiled.model, draft.bucket, region, draft.parameters)
        body = _outgoing(compiled, draft)
        headers = draft.headers
        try:
            signed = await self._signed(client, compiled, draft, target, body, keys)
        except BaseException:
            body.rewind()
            raise
        invocation = _agent.invocation_id()
        headers["amz-sdk-invocation-id"] = invocation
        headers["amz-sdk-request"] = "attempt=1"
        headers["accept-encoding"] = "identity"
        if form is not None and region is None and Template.takes(body):
            settings = settings_of(client.meta.config)
            has_body = body.content is not None
            self._learn(
                form,
                Learnt(compiled, draft, target, headers, signed.names, keys, has_body, signed.algorithm,
                       signed.features, settings),
            )  # fmt: skip
        return Request(compiled, handlers, transport, target, signed.path, headers, body, draft, invocation)

    def _learn(self, form: Form, learnt: Learnt) -> None:
        """Keep what is alike in requests of *form*, or that nothing can be kept of them."""
        known = self._templates
        if form in known and known[form] is None:
            return
        if len(known) >= MAX_TEMPLATES:
            known.clear()
        known[form] = template(form, learnt)

    def _admit(self, client: ClientParts, name: str, following: object) -> tuple[Handlers, Transport]:
        """Every condition that does not depend on the parameters."""
        session = client._endpoint.http_session
        if type(session) is not HTTPSession:
            raise PassOn(self._session_reason)
        reason = call_reason(client, following)
        if reason is None:
            if not self._checked:
                self._reason = client_reason(client)
                self._checked = True
            reason = self._reason
        if reason is not None:
            raise PassOn(reason)
        # Every registration replaces the emitter's cache; holding the old one keeps its identity from coming
        # back.
        cache = client.meta.events._emitter._lookup_cache
        if cache is not self._lookup_cache:
            self._lookup_cache = cache
            self._handlers = {}
        handlers = self._handlers.get(name)
        if handlers is None:
            handlers = self._handlers[name] = audit(client, name)
        if handlers.reason is not None:
            raise PassOn(handlers.reason)
        if handlers.stubbers and handlers.is_stubbed():
            raise PassOn(Reason.STUBBER)
        if handlers.limiter is not None and handlers.limiter._enabled:
            raise PassOn(Reason.RATE_LIMITED)
        return handlers, session

    async def _signed(  # noqa: PLR0917 - one step of `request`
        self,
        client: ClientParts,
        compiled: Operation,
        draft: Draft,
        target: Target,
        body: _body.Outgoing,
        keys: _signer.Keys,
    ) -> _Signed:
        """Complete the headers of *draft*: checksum, identity, expectation, signature, length."""
        config = client.meta.config
        headers = draft.headers
        given = _checksums.given(headers)
        algorithm = None
        if not given:
            algorithm = _checksums.request_algorithm(compiled, draft.parameters, config, headers)
        streams_in = compiled.body_member is not None
        trailer = algorithm is not None and streams_in and target.secure
        checksum_header = "content-md5"
        if algorithm is not None:
            if trailer:
                await _put_trailer(algorithm, body, headers)
            else:
                checksum_header = f"x-amz-checksum-{algorithm}"
                headers[checksum_header] = await _checksum(algorithm, body)
        headers["host"] = target.host
        features = _checksums.features(algorithm, given)
        headers["user-agent"] = self._agent.header(client._user_agent_creator, config, features)
        if body.expects and self._expects(body.length):
            headers["expect"] = "100-continue"
        trace = _agent.trace_id()
        if trace is not None:
            headers["x-amzn-trace-id"] = trace
        if trailer:
            payload = _signer.UNSIGNED_TRAILER
        elif _signer.signs_payload(
            config.s3,
            secure=target.secure,
            streams=streams_in,
            checksum_header=checksum_header,
            headers=headers,
        ):
            payload = await _body.payload_hash(body) if body.length else _signer.EMPTY_SHA256
        else:
            payload = _signer.UNSIGNED
        path = target.bucket_path if draft.key is None else f"{target.key_prefix}/{draft.key}"
        names = _signer.sign(
            compiled.method, path, draft.query, headers, payload_hash=payload, keys=keys, target=target
        )
        if compiled.method not in _LENGTHLESS and not trailer:
            headers["content-length"] = str(body.length)
        return _Signed(f"{path}?{draft.query}" if draft.query else path, names, algorithm, features)

    def _expects(self, length: int) -> bool:
        if self._expect_from is not None:
            return length >= self._expect_from
        return length > 0 or not ensure_boolean(os.environ.get("BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE", ""))


def _outgoing(compiled: Operation, draft: Draft) -> _body.Outgoing:
    if draft.body is None:
        # The one without a body is shared, so a coding for a trailer may not be put into it.
        body = _NO_BODY if compiled.body_member is None else _body.Outgoing(None, 0, expects=False)
    elif compiled.body_member is None:
        body = _body.Outgoing(draft.body, len(draft.body), expects=False)
    else:
        body = _body.outgoing(draft.body)
    announced = draft.headers.get("content-length")
    if announced is not None and announced != str(body.length):
        body.rewind()
        raise PassOn(Reason.BODY)
    return body


async def _checksum(algorithm: str, body: _body.Outgoing) -> str:
    content: Any = b"" if body.content is None else body.content
    if body.is_file:
        return await asyncio.to_thread(_checksums.compute_file, algorithm, content)
    if body.length >= _body.THREAD_FROM:
        return await asyncio.to_thread(_checksums.compute, algorithm, content)
    return _checksums.compute(algorithm, content)


async def _put_trailer(algorithm: str, body: _body.Outgoing, headers: dict[str, str]) -> None:
    """Recode *body* for a checksum in the trailer."""
    if body.is_file:
        raise PassOn(Reason.BODY)
    content: Any = b"" if body.content is None else body.content
    if body.length >= _body.THREAD_FROM:
        body.content = await asyncio.to_thread(_checksums.with_trailer, algorithm, content)
    else:
        body.content = _checksums.with_trailer(algorithm, content)
    coding = headers.get("content-encoding")
    headers["content-encoding"] = "aws-chunked" if coding is None else f"{coding},aws-chunked"
    headers["transfer-encoding"] = "chunked"
    headers["x-amz-trailer"] = f"x-amz-checksum-{algorithm}"
    headers["x-amz-decoded-content-length"] = str(body.length)
    headers.pop("content-length", None)


async def _keys(client: ClientParts) -> _signer.Keys:
    credentials: Any = client._request_signer._credentials
    if type(credentials) is AioCredentials:
        return _signer.Keys(credentials.access_key, credentials.secret_key, credentials.token)
    frozen = await credentials.get_frozen_credentials()
    return _signer.Keys(frozen.access_key, frozen.secret_key, frozen.token)
