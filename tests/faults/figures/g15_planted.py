"""G15: every protection taken away on purpose is missed by the row that guards it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from greenlang_async_storage import _retry
from greenlang_async_storage._multipart import _abort
from tests.faults._planted import HOLDS_WITHIN, PLANTED, Planted, notices, run
from tests.faults.figures._figure import Figure, Scale
from tests.support.faults import Door

PATHS: Final = (True, False)
MINUTES: Final = 2.0
LEAST: Final = 30


async def measure(scale: Scale) -> list[Figure]:
    """Each planted bug over sockets: its row passes as things are, and fails without the protection."""
    missed, broken, tried = [], [], 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_retry.RetryPolicy, "pause", lambda *_: 0.0)
        patched.setattr(_abort, "LANDING_SECONDS", 0.0)
        for name, planted in PLANTED.items():
            if planted.fast_only and not scale.fast_path:
                continue
            tried += 1
            if not await _holds(name, planted, scale):
                broken.append(name)
            elif not await notices(planted, _folder(scale, name, "gone"), "served", **_path(scale)):
                missed.append(name)
            scale.progress(f"G15 {tried} {name}")
    found = tried - len(missed) - len(broken)
    return [
        Figure(
            "G15",
            "planted bugs (protections taken away one by one) that the harness finds",
            f"all, at least {LEAST}",
            f"{found} of {tried}",
            found == tried >= LEAST,
            notes=(
                *(f"G15: not found: {name}" for name in missed),
                *(f"G15: fails with the protection too: {name}" for name in broken),
            ),
        )
    ]


def _path(scale: Scale) -> dict[str, Any]:
    return {"fast_path": scale.fast_path}


def _folder(scale: Scale, name: str, what: str) -> Any:
    folder = scale.folder / f"{name}-{what}".replace(" ", "-")
    folder.mkdir()
    return folder


async def _holds(name: str, planted: Planted, scale: Scale) -> bool:
    door: Door = "served"
    try:
        await run(planted, _folder(scale, name, "there"), door, HOLDS_WITHIN, **_path(scale))
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # however it shows
        scale.progress(f"G15 {name}: {error!r}")
        return False
    return True
