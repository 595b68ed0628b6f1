"""Clients, endpoints and signers somebody wrapped or replaced: the replacement is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.auth
import pytest
from aiobotocore.client import AioBaseClient
from aiobotocore.context import with_current_context
from aiobotocore.endpoint import AioEndpoint

from greenlang_async_storage import fastpath
from greenlang_async_storage.fastpath._conditions import Reason
from tests.fastpath.passing import HEAD, HTTP, is_compiled, passed_on
from tests.fastpath.recorders import DEFAULTS, new_session, twins

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("frozen", "recorded")]


_METHODS = [
    (AioBaseClient, "_make_api_call"), (AioBaseClient, "_make_request"),
    (AioBaseClient, "_convert_to_request_dict"), (AioEndpoint, "prepare_request"),
    (AioEndpoint, "_send"), (AioEndpoint, "make_request"),
]  # fmt: skip


async def test_another_signer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever replaces botocore's signer for S3 signs with it."""

    class Signer(botocore.auth.S3SigV4Auth):  # type: ignore[misc]
        def add_auth(self, request: Any) -> None:
            super().add_auth(request)

    async with twins(**HTTP) as pair:
        assert await is_compiled(pair)
        monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, "s3v4", Signer)
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.PATCHED}


@pytest.mark.parametrize(("owner", "name"), _METHODS)
async def test_wrapped_classes(owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method replaced on aiobotocore's class is called; put back, the calls are compiled again."""
    original: Callable[..., Any] = getattr(owner, name)
    calls: list[str] = []

    def wrapper(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(name)
        return original(self, *arguments, **named)

    async with twins(**HTTP) as pair:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, wrapper)
            assert await passed_on(pair, "HeadObject", HEAD) == {Reason.PATCHED}
            assert len(calls) == 2
        assert await is_compiled(pair)


async def test_a_stranger_in_native_clothes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function wrapped by aiobotocore's own decorator is still not aiobotocore's."""

    @with_current_context()  # type: ignore[untyped-decorator]
    async def wrapper(self: Any, *arguments: Any) -> Any:
        return await original(self, *arguments)

    original = AioBaseClient._make_api_call
    async with twins(**HTTP) as pair:
        monkeypatch.setattr(AioBaseClient, "_make_api_call", wrapper)
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.PATCHED}


async def test_a_wrapped_endpoint() -> None:
    """A method replaced on one endpoint object is called."""
    async with twins(**HTTP) as pair:
        endpoint = pair.fast._endpoint
        original = endpoint._send
        calls: list[Any] = []

        async def send(request: Any) -> Any:
            calls.append(request)
            return await original(request)

        endpoint._send = send
        assert await passed_on(pair, "HeadObject", HEAD) == {Reason.PATCHED}
        assert len(calls) == 1


async def test_another_base_with_a_call_of_its_own() -> None:
    """A class somebody else put between ours and aiobotocore's is not stepped over."""
    calls: list[str] = []

    class Other:
        async def _make_api_call(self, operation_name: str, api_params: Any) -> Any:
            calls.append(operation_name)
            return await super()._make_api_call(operation_name, api_params)  # type: ignore[misc]

    session = new_session(enabled=False)
    session.register("creating-client-class.s3", lambda base_classes, **_: base_classes.insert(0, Other))
    fastpath.enable(session)
    before = fastpath.statistics().passed_on.get(Reason.PATCHED, 0)
    async with session.create_client("s3", **DEFAULTS) as client:
        await client.head_object(**HEAD)
    assert calls == ["HeadObject"]
    assert fastpath.statistics().passed_on[Reason.PATCHED] == before + 1
