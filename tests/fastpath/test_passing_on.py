"""Every reason to leave a call to botocore: it is counted, and the call made as without us."""

from __future__ import annotations

import io
from typing import Any

import botocore.auth
import botocore.exceptions
import botocore.handlers
import botocore.history
import pytest
from aiobotocore.config import AioConfig
from botocore import UNSIGNED

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._conditions import Reason
from tests.fastpath.passing import HEAD, HTTP, is_compiled, passed_on
from tests.fastpath.recorders import DEFAULTS, RecordingSession, new_session, twins

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("frozen", "recorded")]


_ARN = "arn:aws:s3:eu-central-1:123456789012:accesspoint/ap"
_PARAMETERS: list[tuple[Reason, str, dict[str, Any]]] = [
    (Reason.OPERATION, "ListBuckets", {}),
    (Reason.OPERATION, "GetBucketLocation", {"Bucket": "bucket"}),
    (Reason.BUCKET, "HeadObject", {"Bucket": _ARN, "Key": "k"}),
    (Reason.BUCKET, "HeadObject", {"Bucket": "in valid", "Key": "k"}),
    (Reason.ENDPOINT, "HeadObject", {"Bucket": "b--euc1-az1--x-s3", "Key": "k"}),
    (Reason.PARAMETERS, "HeadObject", {"Bucket": "bucket"}),
    (Reason.PARAMETERS, "HeadObject", {**HEAD, "Unknown": "x"}),
    (Reason.PARAMETERS, "HeadObject", {"Bucket": "bucket", "Key": ""}),
    (Reason.PARAMETERS, "HeadObject", {"Bucket": "bucket", "Key": 7}),
    (Reason.PARAMETERS, "HeadObject", {**HEAD, "IfModifiedSince": "2026-03-01"}),
    (Reason.PARAMETERS, "HeadObject", {**HEAD, "VersionId": None}),
    (Reason.PARAMETERS, "GetObject", {**HEAD, "PartNumber": "1"}),
    (Reason.PARAMETERS, "GetObject", {**HEAD, "PartNumber": True}),
    (Reason.PARAMETERS, "PutObject", {**HEAD, "Body": None}),
    (Reason.PARAMETERS, "PutObject", {**HEAD, "Metadata": [("a", "b")]}),
    (Reason.PARAMETERS, "PutObject", {**HEAD, "Metadata": {"a": 1}}),
    (Reason.PARAMETERS, "PutObject", {**HEAD, "BucketKeyEnabled": 1}),
    (Reason.PARAMETERS, "PutObject", {**HEAD, "SSECustomerKey": 1}),
    (Reason.PARAMETERS, "CopyObject", {**HEAD, "CopySource": {"Bucket": "a"}}),
    (Reason.PARAMETERS, "CopyObject", {**HEAD, "CopySource": 1}),
    (Reason.PARAMETERS, "DeleteObjects", {"Bucket": "bucket", "Delete": {"Objects": [{"Key": 1}]}}),
    (Reason.PARAMETERS, "DeleteObjects", {"Bucket": "bucket", "Delete": {"Objects": [{"Nokey": "x"}]}}),
    (Reason.PARAMETERS, "PutObjectTagging", {**HEAD, "Tagging": {}}),
    (Reason.PARAMETERS, "ListObjectsV2", {"Bucket": "bucket", "OptionalObjectAttributes": "RestoreStatus"}),
    (Reason.TEXT, "PutObject", {**HEAD, "ContentDisposition": 'attachment; filename="ä"'}),
    (Reason.TEXT, "PutObject", {**HEAD, "ContentType": "a\r\nb: c"}),
    (Reason.TEXT, "PutObject", {**HEAD, "Metadata": {"Name": "1", "name": "2"}}),
    (Reason.TEXT, "PutObject", {**HEAD, "Metadata": {"a b": "1"}}),
    (Reason.TEXT, "PutObject", {**HEAD, "Metadata": {"a": "ä"}}),
    (Reason.TEXT, "HeadObject", {"Bucket": "bucket", "Key": "\ud800"}),
    (Reason.TEXT, "DeleteObjects", {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "\ud800"}]}}),
    (Reason.BODY, "PutObject", {**HEAD, "Body": 7}),
    (Reason.BODY, "PutObject", {**HEAD, "Body": b"abc", "ContentLength": 2}),
    (Reason.BODY, "PutObject", {**HEAD, "Body": "\ud800"}),
    (Reason.CHECKSUM, "PutObject", {**HEAD, "Body": b"x", "ChecksumAlgorithm": "CRC77"}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "operation", "parameters"), _PARAMETERS)
async def test_parameters_that_are_botocores(
    reason: Reason, operation: str, parameters: dict[str, Any]
) -> None:
    """What we do not cover, or botocore refuses, is refused or sent by botocore."""
    async with twins(**HTTP) as pair:
        # For S3 Express botocore asks for a session first, by a call of its own.
        assert await passed_on(pair, operation, parameters) - {Reason.OPERATION} == {reason} - {
            Reason.OPERATION
        }


async def test_botocores_errors_show_nothing_of_us() -> None:
    """What a passed-on call raises has no trace of the signal that passed it on."""
    async with twins(**HTTP) as pair:
        with pytest.raises(botocore.exceptions.ParamValidationError) as caught:
            await pair.fast.head_object(Bucket="bucket")
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None


async def test_a_subclass_of_str_is_botocores() -> None:
    """`str()` of a text enum is not its value: botocore's business."""

    class Key(str):
        __slots__ = ()

    async with twins(**HTTP) as pair:
        assert await passed_on(pair, "HeadObject", {"Bucket": "bucket", "Key": Key("k")}) == {
            Reason.PARAMETERS
        }


async def test_a_file_object_that_does_not_stand_at_its_start() -> None:
    """Which bytes are sent then depends on botocore's signer."""
    async with twins(**HTTP) as pair:
        before = fastpath.statistics().passed_on.get(Reason.BODY, 0)
        body = io.BytesIO(b"abcdef")
        body.seek(2)
        await pair.fast.put_object(Bucket="bucket", Key="key", Body=body)
        assert fastpath.statistics().passed_on[Reason.BODY] == before + 1


_CLIENTS: list[tuple[Reason, dict[str, Any]]] = [
    (Reason.SIGNATURE, {**HTTP, "config": {"signature_version": "s3"}}),
    (Reason.CREDENTIALS, {**HTTP, "config": {"signature_version": UNSIGNED}}),
    (Reason.SERIALIZER, {**HTTP, "config": {"parameter_validation": False}}),
    (Reason.PROXY, {**HTTP, "config": {"proxies": {"http": "http://localhost:1"}}}),
    (Reason.AUTH_PREFERENCE, {**HTTP, "config": {"auth_scheme_preference": "sigv4a,sigv4"}}),
    (Reason.ENDPOINT, {"config": {"s3": {"use_accelerate_endpoint": True}, "use_fips_endpoint": True}}),
    (Reason.ENDPOINT, {"endpoint_url": "http://user:secret@localhost:9000"}),
]


@pytest.mark.parametrize(("reason", "arguments"), _CLIENTS)
async def test_clients_that_are_botocores(reason: Reason, arguments: dict[str, Any]) -> None:
    """A client configured for what we do not do is left alone."""
    async with twins(**arguments) as pair:
        if reason is Reason.PROXY:
            # aiobotocore's own session stays in place, so nothing is sent here.
            assert type(pair.fast_session) is not RecordingSession
            pair.fast._endpoint.http_session = pair.fast_session = RecordingSession2()
        assert await passed_on(pair, "HeadObject", HEAD) == {reason}


class RecordingSession2(RecordingSession):
    """A session class of somebody else's."""


async def test_a_session_class_the_user_chose_stays() -> None:
    """`http_session_cls` is honoured, and its client's calls are passed on."""
    session = new_session()
    config = AioConfig(http_session_cls=RecordingSession2)
    before = fastpath.statistics().passed_on.get(Reason.SESSION, 0)
    async with session.create_client("s3", config=config, **DEFAULTS) as client:
        assert type(client._endpoint.http_session) is RecordingSession2
        await client.head_object(**HEAD)
        assert fastpath.statistics().passed_on[Reason.SESSION] == before + 1


async def test_a_session_put_in_later_stays() -> None:
    """Replacing the client's session takes its calls off the fast path."""
    async with twins(**HTTP) as pair:
        assert await is_compiled(pair)
        pair.fast._endpoint.http_session = pair.fast_session = RecordingSession2()
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.SESSION}


async def test_without_credentials() -> None:
    """Then botocore says that it could not find any."""
    async with twins(**HTTP) as pair:
        for client in (pair.plain, pair.fast):
            client._request_signer._credentials = None
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.CREDENTIALS}


_EVENTS = [
    "provide-client-params.s3.HeadObject", "before-parameter-build", "before-endpoint-resolution.s3",
    "before-call.s3", "request-created.*", "choose-signer.s3.HeadObject", "before-sign.s3", "before-send",
    "response-received.s3.*", "before-parse.s3.HeadObject", "needs-retry.s3", "after-call.s3.HeadObject",
    "after-call-error",
]  # fmt: skip


@pytest.mark.parametrize("event", _EVENTS)
async def test_handlers_of_the_client(event: str) -> None:
    """A handler registered on the client is called; when it is gone the calls are compiled again."""
    seen: list[str] = []

    def handler(event_name: str, **_: Any) -> None:
        seen.append(event_name)

    async with twins(**HTTP) as pair:
        assert await is_compiled(pair)
        pair.fast.meta.events.register(event, handler)
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.HANDLERS}
        assert seen or event.startswith("after-call-error")
        pair.fast.meta.events.unregister(event, handler)
        assert await is_compiled(pair)


@pytest.mark.parametrize("first", [True, False])
async def test_handlers_of_the_session(first: bool) -> None:
    """A handler registered on the session, before or after `enable()`, is called."""
    seen: list[str] = []

    def handler(event_name: str, **_: Any) -> None:
        seen.append(event_name)

    session = new_session(enabled=False)
    if first:
        session.register("before-send.s3", handler)
    fastpath.enable(session)
    if not first:
        session.register("before-send.s3", handler)
    before = fastpath.statistics().passed_on.get(Reason.HANDLERS, 0)
    async with session.create_client("s3", **DEFAULTS) as client:
        await client.head_object(**HEAD)
    assert seen == ["before-send.s3.HeadObject"]
    assert fastpath.statistics().passed_on[Reason.HANDLERS] == before + 1


async def test_a_handler_of_another_operation_does_not_count() -> None:
    """Only the events of the call itself are looked at."""
    async with twins(**HTTP) as pair:
        pair.fast.meta.events.register("before-call.s3.PutBucketPolicy", lambda **_: None)
        pair.fast.meta.events.register("before-call.sts", lambda **_: None)
        assert await is_compiled(pair)


async def test_botocores_own_handler_taken_away() -> None:
    """Whoever removes the check of bucket names can use other names."""
    async with twins(**HTTP) as pair:
        for client in (pair.plain, pair.fast):
            client.meta.events.unregister("before-parameter-build.s3", botocore.handlers.validate_bucket_name)
        assert await passed_on(pair, "HeadObject", {"Bucket": "tenant:bucket", "Key": "k"}) == {
            Reason.HANDLERS
        }


async def test_a_wrapper_that_borrows_a_name_is_a_stranger() -> None:
    """`functools.wraps` copies name and module; identity is what counts."""
    import functools

    @functools.wraps(botocore.handlers.sse_md5)
    def handler(**arguments: Any) -> None:
        botocore.handlers.sse_md5(**arguments)

    async with twins(**HTTP) as pair:
        pair.fast.meta.events.unregister("before-parameter-build.s3.HeadObject", botocore.handlers.sse_md5)
        pair.fast.meta.events.register("before-parameter-build.s3.HeadObject", handler)
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.HANDLERS}


async def test_an_in_process_stubber_counts_while_it_is_active() -> None:
    """The handler of moto is on every client of a process that imported it."""
    stubber_class = type("BotocoreStubber", (), {"__module__": "moto.core.botocore_stubber", "enabled": False,
                                                 "__call__": lambda self, **_: None})  # fmt: skip
    stubber = stubber_class()
    async with twins(**HTTP) as pair:
        pair.fast.meta.events.register("before-send", stubber)
        assert await is_compiled(pair)
        stubber.enabled = True
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.STUBBER}
        stubber.enabled = False
        assert await is_compiled(pair)


async def test_the_history_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """While botocore records history, it makes the calls it records."""
    recorder = botocore.history.get_global_history_recorder()
    async with twins(**HTTP) as pair:
        monkeypatch.setattr(recorder, "_enabled", True)
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.HISTORY}


async def test_parsers_of_the_user() -> None:
    """A timestamp parser set on the session is used."""
    async with twins(**HTTP) as pair:
        for client in (pair.plain, pair.fast):
            client._endpoint._response_parser_factory.set_parser_defaults(timestamp_parser=str)
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.PARSER}


async def test_an_active_rate_limiter() -> None:
    """In adaptive mode a throttled client waits for its tokens in botocore's way."""
    async with twins(**HTTP, config={"retries": {"mode": "adaptive"}}) as pair:
        assert await is_compiled(pair)
        for client in (pair.plain, pair.fast):
            limiter = next(
                each.__self__
                for each in _searched(client, "before-send.s3.HeadObject")
                if hasattr(each, "__self__")
            )
            limiter._enabled = True
            await limiter._token_bucket.set_max_rate(1_000_000)
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.RATE_LIMITED}


def _searched(client: Any, event: str) -> list[Any]:
    return list(client.meta.events._emitter._handlers.prefix_search(event))


async def test_every_reason_is_tested() -> None:
    """A new reason needs a case here."""
    tested = {reason for reason, *_ in _PARAMETERS} | {reason for reason, _ in _CLIENTS} | {
        Reason.SESSION, Reason.PATCHED, Reason.HANDLERS, Reason.STUBBER, Reason.HISTORY, Reason.PARSER,
        Reason.CREDENTIALS, Reason.RATE_LIMITED,
    }  # fmt: skip
    assert tested == set(Reason)
