"""The class in front of aiobotocore's client: its calls are compiled where they can be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiobotocore.endpoint import AioEndpoint
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import HTTPClientError

from greenlang_async_storage.fastpath import _retry
from greenlang_async_storage.fastpath._botocore import ClientParts
from greenlang_async_storage.fastpath._call import ClientState, Request
from greenlang_async_storage.fastpath._checksums import response_algorithm
from greenlang_async_storage.fastpath._columns import columns_wanted
from greenlang_async_storage.fastpath._conditions import PassOn, Reason
from greenlang_async_storage.fastpath._errors import plain_refusal
from greenlang_async_storage.fastpath._listing import LARGE_DOCUMENT
from greenlang_async_storage.fastpath._options import Options
from greenlang_async_storage.fastpath._payload import Payload
from greenlang_async_storage.fastpath._reply import read_document, read_fields, safe_for_botocore
from greenlang_async_storage.fastpath._statistics import COUNTERS
from greenlang_async_storage.fastpath._stream import streamed_body
from greenlang_async_storage.fastpath._wire import WireResponse
from greenlang_async_storage.fastpath.transport import HTTPSession
from greenlang_async_storage.fastpath.transport._message import Message, message
from greenlang_async_storage.fastpath.transport._raw import RawResponse

if TYPE_CHECKING:
    from collections.abc import Callable

_PORTABLE_CONNECTOR_ARGS = frozenset({"keepalive_timeout", "use_dns_cache", "ttl_dns_cache"})


class FastPathMixin(ClientParts):
    """Stands before `AioBaseClient` in the bases of an S3 client."""

    _fastpath_options: Options = Options()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        reason = _install_transport(self._endpoint)
        self._fastpath = ClientState(self._fastpath_options.expect_continue_from, reason)
        self.meta.events.register("before-call.s3", _retry.before_call)
        self.meta.events.register("before-send.s3", _retry.before_send)

    async def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        # The next base is AioBaseClient, which mypy cannot know.
        following: Callable[..., Any] = super()._make_api_call  # type: ignore[misc]
        request: Request | None = None
        try:
            request = await self._fastpath.request(self, operation_name, api_params, following)
        except PassOn as signal:
            COUNTERS.passed_on[signal.reason] += 1
        if request is None:
            # Outside the handler: what botocore raises has nothing to do with our signal.
            return await following(operation_name, _plain(api_params))
        COUNTERS.operations[operation_name] += 1
        answer = await _exchange(self, request)
        if isinstance(answer, dict):
            return answer
        COUNTERS.handed_over += 1
        request.body.rewind()
        return await _retry.hand_over(answer, following, _plain(api_params))

    async def _list_objects_in_columns(self, **parameters: Any) -> dict[str, Any]:
        """`list_objects_v2`, whose `Contents` may be `Columns`: for this SDK's own listing."""
        client: Any = self
        with columns_wanted():
            reply: dict[str, Any] = await client.list_objects_v2(**parameters)
        return reply


def _install_transport(endpoint: Any) -> Reason:
    """Put our transport in place of aiobotocore's default session; the reason where that cannot be."""
    session = endpoint.http_session
    if type(endpoint) is not AioEndpoint or type(session) is not AIOHTTPSession:
        return Reason.SESSION
    if session._proxy_config._proxies:
        return Reason.PROXY
    if not session._connector_args.keys() <= _PORTABLE_CONNECTOR_ARGS:
        return Reason.SESSION
    certificate = session._cert_file
    if session._key_file is not None:
        certificate = (session._cert_file, session._key_file)
    endpoint.http_session = HTTPSession(
        verify=session._verify,
        timeout=(session._timeout.sock_connect, session._timeout.sock_read),
        max_pool_connections=session._max_pool_connections,
        socket_options=session._socket_options,
        client_cert=certificate,
        connector_args=session._connector_args,
    )
    return Reason.SESSION


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    body = parameters.get("Body")
    return {**parameters, "Body": body.plain()} if type(body) is Payload else parameters


async def _exchange(client: FastPathMixin, request: Request) -> dict[str, Any] | _retry.FirstAnswer:
    """The result of the call when its first answer settles it; else that answer, for botocore."""
    operation = request.operation
    try:
        sent = request.message or _message(request)
        wire = await request.transport.deliver(request.target.origin, sent)
    except Exception as error:  # noqa: BLE001 - botocore decides what each of them means
        return _failed(request, error)
    try:
        headers = read_fields(wire)
        if operation.streams and 200 <= wire.status < 300:
            answer = _streamed(request, wire, headers)
            if type(answer) is dict and not _settled_at_once(request, answer):
                await _settled(request, answer)
            return answer
        body = await read_document(wire, headers, operation.name)
    except HTTPClientError as error:
        wire.close()
        if operation.streams:
            # aiobotocore reads the text of a refused GetObject after its retry rules; so its failure is
            # final.
            raise
        return _failed(request, error)
    except BaseException:
        wire.close()
        raise
    parsed = None
    if 200 <= wire.status < 300:
        if len(body) < LARGE_DOCUMENT:
            parsed = _parsed(request, wire.status, headers, body)
        else:
            parsed = await asyncio.to_thread(_parsed, request, wire.status, headers, body)
    if parsed is None:
        return await _refused(client, request, wire.status, headers, body)
    if not _settled_at_once(request, parsed):
        await _settled(request, parsed)
    return parsed


def _message(request: Request) -> Message:
    body = request.body
    length = body.length if body.is_file else None
    headers = list(request.headers.items())
    return message(request.operation.method, request.path, headers, body.content, length)


def _failed(request: Request, error: Exception) -> _retry.FirstAnswer:
    """A failure for botocore to judge; raised where its judgement is known: no attempt is left."""
    if request.handlers.no_more_attempts:
        request.body.rewind()
        raise error
    return _retry.FirstAnswer(request.operation.name, request.invocation_id, error=error)


def _answered(
    request: Request, status: int, headers: dict[str, str], body: bytes, raw: RawResponse | None = None
) -> _retry.FirstAnswer:
    response = _retry.received(f"{request.target.url}{request.path}", status, headers, body, raw)
    return _retry.FirstAnswer(request.operation.name, request.invocation_id, response)


def _streamed(
    request: Request, wire: WireResponse, headers: dict[str, str]
) -> dict[str, Any] | _retry.FirstAnswer:
    operation = request.operation
    reply = RawResponse(wire, f"{request.target.url}{request.path}", operation.method)
    try:
        parsed = operation.reply.head(wire.status, headers)
    except Exception:  # noqa: BLE001 - botocore meets the same reply and raises its own
        return _answered(request, wire.status, headers, b"", reply)
    algorithm = response_algorithm(operation, request.draft.parameters, headers)
    expected = None
    if algorithm is not None:
        parsed["ResponseMetadata"]["ChecksumAlgorithm"] = algorithm
        expected = headers[f"x-amz-checksum-{algorithm}"]
    parsed["Body"] = streamed_body(reply, wire, headers.get("content-length"), algorithm, expected)
    return parsed


async def _refused(
    client: FastPathMixin, request: Request, status: int, headers: dict[str, str], body: bytes
) -> _retry.FirstAnswer:
    """The answer for botocore, unless it is plainly a refusal, which is raised."""
    operation = request.operation
    body = safe_for_botocore(body)
    is_last = request.handlers.no_more_attempts
    refusal = await plain_refusal(client, operation, status, headers, body, is_last=is_last)
    if refusal is not None:
        request.body.rewind()
        await _note(request, refusal)
        error = client.exceptions.from_code(refusal["Error"]["Code"])
        raise error(refusal, operation.name)
    return _answered(request, status, headers, body)


def _parsed(request: Request, status: int, headers: dict[str, str], body: bytes) -> dict[str, Any] | None:
    reply = request.operation.reply
    try:
        parsed = reply.head(status, headers)
        reply.body(status, body, parsed, decode_keys=request.draft.decode_keys)
    except Exception:  # noqa: BLE001 - an odd or broken reply is botocore's to judge
        return None
    return parsed


def _settled_at_once(request: Request, parsed: dict[str, Any]) -> bool:
    """As `_settled`, where nothing has to be awaited; whether that was so."""
    handlers = request.handlers
    added = handlers.settled_metadata
    if added is None or handlers.limiter is not None:
        return False
    metadata = parsed["ResponseMetadata"]
    if added:
        metadata.update(added)
    metadata["RetryAttempts"] = 0
    if handlers.release_quota is not None:
        handlers.release_quota(context={}, http_response=_retry.SUCCEEDED)
    return True


async def _settled(request: Request, parsed: dict[str, Any]) -> None:
    """Note a first answer that is the result, as botocore's handlers would."""
    await _note(request, parsed)
    if request.handlers.release_quota is not None:
        request.handlers.release_quota(context={}, http_response=_retry.SUCCEEDED)


async def _note(request: Request, parsed: dict[str, Any]) -> None:
    """What botocore's retry handlers note of a first answer that is not retried."""
    handlers = request.handlers
    metadata = parsed["ResponseMetadata"]
    added = handlers.settled_metadata
    if added is None:
        added = await handlers.success_metadata(request.operation.model)
    if added:
        metadata.update(added)
    if handlers.limiter is not None:
        await handlers.limiter.on_receiving_response(**_retry.success_event(request.operation.model, parsed))
    metadata["RetryAttempts"] = 0
