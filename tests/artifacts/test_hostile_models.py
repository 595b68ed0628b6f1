"""Files that run code when they are loaded: 100 of them, and none gets to."""

from __future__ import annotations

import base64
import io
import os
import pickle
import pickletools
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]  # it publishes no types
import pytest

from greenlang_async_storage import Bucket, S3Error, S3IntegrityError, S3InvalidRequestError
from greenlang_async_storage.artifacts import ModelStore
from tests.support.seeding import Seeder


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def payloads(canary: Path) -> Iterator[bytes]:
    """100 hostile files, each of which would make *canary*."""
    target = str(canary)
    code = f"open({target!r}, 'w').close()"
    calls = [
        Calls(eval, code),
        Calls(exec, code),
        Calls(os.system, f"touch {target}"),
        Calls(eval, f"__import__('os').mkdir({target!r})"),
        Calls(subprocess.check_output, ["touch", target]),
        Calls(subprocess.getoutput, f"touch {target}"),
        Calls(exec, base64.b64decode(base64.b64encode(code.encode()))),
        Calls(Path(target).touch),
    ]
    for call in calls:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            yield pickle.dumps(call, protocol)
        yield pickle.dumps({"weights": [1.0, call]})
        yield pickletools.optimize(pickle.dumps([[call]]))
        buffer = io.BytesIO()
        joblib.dump({"model": call}, buffer)
        yield buffer.getvalue()
        yield zlib.compress(pickle.dumps(call))
        yield pickle.dumps(call)[:-1]
        yield b"\x93NUMPY" + pickle.dumps(call)
    # Written by hand: the code runs before the end that is missing, or behind an innocent value.
    for tail in (b".", b"", b"0.", b"garbage"):
        yield b"cposix\nsystem\n(S'touch " + target.encode() + b"'\ntR" + tail
        yield b"(S'touch " + target.encode() + b"'\niposix\nsystem\n" + tail
        text = b"X" + len(code).to_bytes(4, "little") + code.encode()
        yield b"\x80\x02](cbuiltins\neval\n" + text + b"\x85Re" + tail


@pytest.mark.asyncio
async def test_a_hundred_hostile_files_leave_no_trace(lake: Bucket, seed: Seeder, tmp_path: Path) -> None:
    """Saved in six formats, put in the place of a trusted model or its metrics, or left by others."""
    canary = tmp_path / "canary"
    files = list(payloads(canary))
    assert len(files) >= 100
    store = ModelStore(lake)
    trusted = await store.save("trusted", "1", {"weights": [1.0]}, {"r2": 1})
    for number, data in enumerate(files):
        chosen = ("pkl", "joblib", "pickle", "onnx", "safetensors", "bin")[number % 6]
        saved = await store.save("hostile", str(number), data, format=chosen)
        if chosen in {"pkl", "joblib", "pickle"}:
            with pytest.raises(S3InvalidRequestError, match="trust=True"):
                await store.load("hostile", saved.version)
        else:
            assert await store.load("hostile", saved.version, trust=True) == data
        seed.put(trusted.key, data)
        with pytest.raises(S3IntegrityError):
            await store.load("trusted", "1", trust=True)
        if number % 5:
            continue
        await store.download("hostile", tmp_path / "copy", saved.version)
        seed.put(f"models/common/left/{number}/model.pkl", data)
        with pytest.raises(S3Error):
            await store.load("left", str(number), trust=True)
        with pytest.raises(S3Error):
            await store.load("left", str(number), trust=True, allow_legacy=True, sha256="0" * 64)
        seed.put(trusted.metrics_key, data)
        with pytest.raises(S3IntegrityError):
            await store.metrics("trusted")
    assert not canary.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_the_canary_sings(tmp_path: Path) -> None:
    """The payloads work: loaded by hand, one of each kind makes its file."""
    canary = tmp_path / "canary"
    sung = 0
    for data in payloads(canary):
        try:
            pickle.loads(data)  # noqa: S301  # that it is hostile is the point
        except Exception:  # noqa: BLE001, S112  # broken on purpose, some of them
            continue
        finally:
            if canary.is_dir():
                canary.rmdir()
                sung += 1
            elif canary.exists():
                canary.unlink()
                sung += 1
    assert sung >= 60
