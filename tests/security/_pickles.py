"""Files that run code when they are loaded, in every way pickle knows, and some that break while they do."""

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


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def payloads(canary: Path) -> list[bytes]:
    """More than 100 hostile files, each of which would make *canary*."""
    return [*_called(canary), *_written(str(canary)), *_built(str(canary))]


def _called(canary: Path) -> Iterator[bytes]:
    """By `__reduce__`: every protocol, nested, optimised, from joblib, compressed, cut short."""
    target = str(canary)
    code = f"open({target!r}, 'w').close()"
    for call in (
        Calls(eval, code),
        Calls(exec, code),
        Calls(os.system, f"touch {target}"),
        Calls(eval, f"__import__('os').mkdir({target!r})"),
        Calls(subprocess.check_output, ["touch", target]),
        Calls(subprocess.getoutput, f"touch {target}"),
        Calls(exec, base64.b64decode(base64.b64encode(code.encode()))),
        Calls(Path(target).touch),
    ):
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


def _written(target: str) -> Iterator[bytes]:
    """By hand: the code runs before the end that is missing, or behind an innocent value."""
    code = f"open({target!r}, 'w').close()"
    for tail in (b".", b"", b"0.", b"garbage"):
        yield b"cposix\nsystem\n(S'touch " + target.encode() + b"'\ntR" + tail
        yield b"(S'touch " + target.encode() + b"'\niposix\nsystem\n" + tail
        text = b"X" + len(code).to_bytes(4, "little") + code.encode()
        yield b"\x80\x02](cbuiltins\neval\n" + text + b"\x85Re" + tail


def _built(target: str) -> Iterator[bytes]:
    """No call in the file: one BUILD puts a function in the slot `__setstate__`, the next one calls it."""
    for protocol in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        for tail in (b".", b"", b"0]."):
            slots = b"N}V__setstate__\ncposix\nsystem\ns\x86"
            command = b"Vtouch " + target.encode() + b"\n"
            yield protocol + b"cargparse\nNamespace\n)\x81" + slots + b"b" + command + b"b" + tail
