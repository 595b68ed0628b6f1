"""Fixtures of the compiled calls: a clock that stands still, a silent transport, both event loops."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
from collections.abc import Callable, Iterator, Mapping

import botocore.auth
import botocore.compat
import pytest
import uvloop

from greenlang_async_storage.fastpath import _call, _mixin, _signer
from tests.fastpath.recorders import RecordingSession

MOMENT = datetime.datetime(2026, 3, 1, 12, 30, 45, tzinfo=datetime.timezone.utc)  # noqa: UP017 - botocore's own spelling

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
ON_BOTH_LOOPS = frozenset(
    {"test_behind_nginx", "test_bodies", "test_expecting", "test_on_servers", "test_retries", "test_trailers"}
)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Both event loops where bodies are read or servers answer; for the rest the loop is all the same."""
    names = LOOPS if item.path.stem in ON_BOTH_LOOPS else ["asyncio"]
    return {name: LOOPS[name] for name in names}


def _now(remove_tzinfo: bool = True) -> datetime.datetime:
    return MOMENT.replace(tzinfo=None) if remove_tzinfo else MOMENT


def _date(*, usegmt: bool) -> str:
    return email.utils.format_datetime(MOMENT, usegmt=usegmt)


class _FrozenClock:
    def now(self) -> str:
        return MOMENT.strftime("%Y%m%dT%H%M%SZ")


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    """A monkeypatch for fixtures that live as long as their module."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def frozen(module_patch: pytest.MonkeyPatch) -> None:
    """All signers see the same second."""
    module_patch.setattr(botocore.auth, "get_current_datetime", _now)
    module_patch.setattr(botocore.auth, "formatdate", _date)
    if botocore.compat.HAS_CRT:
        module_patch.setattr("botocore.crt.auth.get_current_datetime", _now)
    module_patch.setattr(_signer, "clock", _FrozenClock())


@pytest.fixture(scope="module")
def recorded(module_patch: pytest.MonkeyPatch) -> None:
    """Clients made with the fast path get a recording session instead of the transport."""
    module_patch.setattr(_call, "HTTPSession", RecordingSession)
    module_patch.setattr(_mixin, "HTTPSession", RecordingSession)
