"""Models as bytes or as a file on their way to the store, and back into objects where they are trusted."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from greenlang_async_storage import Buffer, S3LocalFileError

from ._json import damaged
from ._segments import check_extension
from ._threads import in_thread

PICKLES: Final = frozenset({"pkl", "pickle"})
JOBLIB: Final = "joblib"
UNSAFE: Final = PICKLES | {JOBLIB}
"""Formats whose loading runs whatever code the file asks for."""

_FRAMEWORKS: Final = {"onnx": "onnx", "safetensors": "safetensors"}


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model ready to be sent."""

    data: Buffer | Path
    format: str
    framework: str


@asynccontextmanager
async def prepared(model: object, format: str | None, framework: str | None) -> AsyncIterator[PreparedModel]:
    """
    *model* as bytes or a file, in a format.

    Bytes stay what they are (`bin` unless *format* says otherwise), a path names its file (format by its
    extension), and any other object is written by pickle, joblib, or its own `SerializeToString` (ONNX), in a
    thread, into a temporary file that is removed afterwards.
    """
    if isinstance(model, bytes | bytearray | memoryview):
        chosen = check_extension("format", format or "bin")
        yield PreparedModel(model, chosen, framework or _FRAMEWORKS.get(chosen, "unknown"))
    elif isinstance(model, str | os.PathLike):
        path = Path(cast("os.PathLike[str]", model))
        await in_thread(partial(_require_file, path))
        chosen = check_extension("format", format or path.suffix.removeprefix(".").lower() or "bin")
        yield PreparedModel(path, chosen, framework or _FRAMEWORKS.get(chosen, "unknown"))
    else:
        serializable = hasattr(model, "SerializeToString")
        chosen = check_extension("format", format or ("onnx" if serializable else "pkl"))
        dump = _dumper(model, chosen)
        async with temporary_folder() as folder:
            path = folder / f"model.{chosen}"
            await in_thread(partial(dump, path))
            yield PreparedModel(path, chosen, framework or type(model).__module__.partition(".")[0])


@asynccontextmanager
async def temporary_folder() -> AsyncIterator[Path]:
    """A private folder (mode 0700), removed with all it holds however the block ends."""
    made: list[Path] = []

    def make() -> None:
        try:
            made.append(Path(tempfile.mkdtemp(prefix="greenlang-model-")))
        except OSError as error:
            raise _local(error, "no temporary folder can be made") from error

    try:
        await in_thread(make)
        yield made[0]
    finally:
        for folder in made:
            await in_thread(partial(shutil.rmtree, folder, ignore_errors=True))


def unpickled(path: Path, format: str, bucket: str, key: str) -> object:
    """The object in a pickle or joblib file; runs the code in it. Blocks: call it in a thread."""
    try:
        if format == JOBLIB:
            return _joblib().load(path)
        with path.open("rb") as file:
            return cast("object", pickle.load(file))  # noqa: S301  # the caller trusts it, and its hash matched
    except (pickle.UnpicklingError, EOFError) as error:
        raise damaged(bucket, key, f"is no {format} file: {error}") from error
    except (ImportError, AttributeError) as error:
        error.add_note(f"s3://{bucket}/{key} needs the packages it was written with; install their versions")
        raise


class _Joblib(Protocol):
    """What is used of joblib, which has no types of its own."""

    def load(self, filename: Path) -> object: ...

    def dump(self, value: object, filename: Path) -> object: ...


def _joblib() -> _Joblib:
    try:
        return cast("_Joblib", import_module("joblib"))
    except ImportError as error:
        error.add_note("models in the format 'joblib' need it: pip install joblib")
        raise


def _dumper(model: object, format: str) -> Callable[[Path], None]:
    if format in PICKLES:
        return partial(_pickle_into, model)
    if format == JOBLIB:
        return partial(_joblib_into, model)
    to_bytes = getattr(model, "SerializeToString", None)
    if callable(to_bytes):
        return lambda path: _write(path, to_bytes())
    raise TypeError(
        f"a {type(model).__name__} cannot be written as {format!r}; pass its bytes or the path of its file, "
        "or leave format= out"
    )


def _pickle_into(model: object, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(model, file, protocol=pickle.HIGHEST_PROTOCOL)


def _joblib_into(model: object, path: Path) -> None:
    _joblib().dump(model, path)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _require_file(path: Path) -> None:
    """Told before anything is sent."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise S3LocalFileError(
                f"{path} is no file", remedy="Pass the path of one file; pack a directory first."
            )
    except OSError as error:
        raise _local(error, f"{path} cannot be read") from error


def _local(error: OSError, what: str) -> S3LocalFileError:
    return S3LocalFileError(f"{what}: {error.strerror or error}", errno=error.errno)
