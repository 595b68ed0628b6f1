"""Fixtures of the compiled calls: a clock that stands still, and a transport that sends nothing."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Iterator

import botocore.auth
import botocore.compat
import pytest

from greenlang_async_storage.fastpath import _call, _mixin, _signer
from tests.fastpath.recorders import RecordingSession

MOMENT = datetime.datetime(2026, 3, 1, 12, 30, 45, tzinfo=datetime.timezone.utc)  # noqa: UP017 - botocore's own spelling


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
