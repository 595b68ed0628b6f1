"""The public surface: names, signatures and values that users, examples and other packages rely on."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import greenlang_async_storage
from greenlang_async_storage import (
    BatchReport,
    Bucket,
    Download,
    MultipartUpload,
    ObjectInfo,
    Outcome,
    PresignedPost,
    PresignedUpload,
    PresignedUrl,
    Progress,
    Readiness,
    S3Error,
    S3PoolTimeoutError,
    S3TimeoutError,
    Statistics,
    StorageSession,
    UploadedPart,
    UploadItem,
    UploadResult,
    WriteOptions,
    _errors,
    _types,
)

TYPED_CALLS = Path(__file__).parent / "typing" / "api.py"

TRANSFER = "part_size=None, concurrency=None, on_progress=None"
BATCH = "concurrency=None, on_progress=None, fail_fast=False"
COROUTINES = {
    "upload_bytes": "(key, data, *, timeout=None, **options)",
    "upload_json": "(key, value, *, timeout=None, **options)",
    "upload_file": f"(key, path, *, {TRANSFER}, resume=None, timeout=None, **options)",
    "upload_stream": f"(key, chunks, *, {TRANSFER}, fixed_parts=False, timeout=None, **options)",
    "download_bytes": "(key, *, range=None, max_size=None, version_id=None, timeout=None)",
    "download_json": "(key, *, max_size=None, version_id=None, timeout=None)",
    "download_file": (
        f"(key, path, *, {TRANSFER}, resume=None, durable=True, verify='if-available', version_id=None, "
        "timeout=None)"
    ),
    "head": "(key, *, if_match=None, if_none_match=None, version_id=None, timeout=None)",
    "exists": "(key, *, timeout=None)",
    "delete": "(key, *, version_id=None, timeout=None)",
    "copy": "(source, destination, *, source_bucket=None, version_id=None, timeout=None)",
    "move": "(source, destination, *, timeout=None)",
    "get_tags": "(key, *, version_id=None, timeout=None)",
    "set_tags": "(key, tags, *, version_id=None, timeout=None)",
    "presign_download": "(key, *, expires_in=3600, filename=None, version_id=None, timeout=None)",
    "presign_upload": "(key, *, content_type, content_length=None, expires_in=3600, timeout=None)",
    "presign_post": "(key, *, content_type, max_size, min_size=1, expires_in=3600, timeout=None)",
    "presign_part": "(upload, number, *, expires_in=3600, timeout=None)",
    "create_multipart": "(key, *, timeout=None, **options)",
    "list_parts": "(upload, *, timeout=None)",
    "complete_multipart": "(upload, parts, *, if_none_match=False, if_match=None, timeout=None)",
    "abort_multipart": "(upload, *, timeout=None)",
    "upload_many": f"(items, *, {BATCH}, timeout=None)",
    "download_many": f"(keys, directory, *, {BATCH}, durable=False, timeout=None)",
    "delete_many": f"(keys, *, {BATCH}, timeout=None)",
    "abort_stale_uploads": "(prefix='', *, older_than, dry_run=False, timeout=None)",
}
ITERATORS = {
    "list_objects": "(prefix='', *, start_after=None, page_size=1000)",
    "list_prefixes": "(prefix='', delimiter='/')",
    "list_versions": "(prefix='')",
}
CONTEXTS = {
    "open_download": "(key, *, range=None, if_match=None, if_none_match=None, version_id=None)",
    "stream_uploads": "(items, *, concurrency=None)",
    "stream_downloads": "(keys, directory, *, concurrency=None, durable=False)",
}
OF_A_SESSION = {
    "aclose": "(*, drain=30.0)",
    "check": "(*, timeout=10.0)",
    "probe": "(bucket=None, *, timeout=60.0)",
    "ensure_buckets": "(*, allow_aws=False, timeout=60.0)",
}
FIELDS: dict[type[Any], str] = {
    UploadResult: "key etag size version_id checksum",
    ObjectInfo: (
        "key size etag last_modified version_id content_type metadata storage_class checksum verified "
        "content_disposition content_encoding cache_control encryption parts"
    ),
    BatchReport: "succeeded failed bytes seconds",
    Outcome: "index key bucket result error",
    PresignedUpload: "url headers expires_at",
    PresignedPost: "url fields expires_at",
    MultipartUpload: "bucket key upload_id checksum token",
    UploadedPart: "number etag size checksum",
    Readiness: "ok buckets credentials_expire_in",
    Progress: "done total rate items_done items_total key",
    Statistics: (
        "in_flight pool_size pool_waiting requests attempts retries throttles errors bytes_sent "
        "bytes_received possible_orphans cleanups_pending"
    ),
}
OPTIONS = [
    *("metadata", "tags", "content_type", "content_disposition", "cache_control", "encryption"),
    *("if_none_match", "if_match", "storage_class"),
]


def shape(function: object) -> str:
    """The signature without `self` and annotations."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    named = [
        each.replace(annotation=each.empty) for each in signature.parameters.values() if each.name != "self"
    ]
    return str(signature.replace(parameters=named, return_annotation=signature.empty))


def public(cls: type) -> dict[str, Any]:
    """The public members of a class of ours, inherited ones included, as they are defined."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("greenlang_async_storage")]
    return {
        name: value
        for base in reversed(own)
        for name, value in vars(base).items()
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property))
    }


def classes() -> Iterator[type]:
    """Every exported class."""
    for name in greenlang_async_storage.__all__:
        value = getattr(greenlang_async_storage, name)
        if inspect.isclass(value):
            yield value


@pytest.mark.parametrize("name", COROUTINES)
def test_calls_of_a_bucket(name: str) -> None:
    """Each is a coroutine with the promised parameters, and `timeout=` for the whole call."""
    method = getattr(Bucket, name)
    assert inspect.iscoroutinefunction(method)
    assert shape(method) == COROUTINES[name]
    assert inspect.signature(method).parameters["timeout"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("name", [*ITERATORS, *CONTEXTS])
def test_iterators_and_contexts_of_a_bucket(name: str) -> None:
    """Listings are read with `async for`, streams entered with `async with`; neither is awaited."""
    method = getattr(Bucket, name)
    gives = "AsyncIterator[" if name in ITERATORS else "AbstractAsyncContextManager["
    assert not inspect.iscoroutinefunction(method)
    assert inspect.signature(method).return_annotation.startswith(gives)
    assert shape(method) == {**ITERATORS, **CONTEXTS}[name]


def test_a_bucket_has_no_other_calls() -> None:
    """Every public member of `Bucket` is one of these."""
    members = public(Bucket)
    assert {name for name, value in members.items() if isinstance(value, property)} == {"name", "prefix"}
    assert shape(members["scoped"]) == "(prefix)"
    assert members.keys() == {*COROUTINES, *ITERATORS, *CONTEXTS, "name", "prefix", "scoped"}


def test_a_session_has_these_members() -> None:
    """Buckets and the client are attributes, questions to the store are coroutines."""
    members = public(StorageSession)
    attributes = {"data_lake", "reports", "models", "temp", "cache", "client", "settings"}
    assert {name for name, value in members.items() if isinstance(value, property)} == attributes
    assert {name: shape(members[name]) for name in OF_A_SESSION} == OF_A_SESSION
    assert all(inspect.iscoroutinefunction(members[name]) for name in OF_A_SESSION)
    assert (shape(members["bucket"]), shape(members["statistics"])) == ("(name)", "()")
    assert members.keys() == {*attributes, *OF_A_SESSION, "bucket", "statistics"}
    assert shape(StorageSession) == "(settings=None)"


def test_a_download_has_these_members() -> None:
    """`info`, `read()` and `async for`."""
    assert public(Download).keys() == {"info", "read"}
    assert isinstance(inspect.getattr_static(Download, "info"), property)
    assert inspect.iscoroutinefunction(Download.read)
    assert inspect.iscoroutinefunction(Download.__anext__)


@pytest.mark.parametrize("cls", FIELDS, ids=lambda cls: cls.__name__)
def test_results_have_these_fields(cls: type[Any]) -> None:
    """In this order, which positional construction relies on."""
    assert [field.name for field in dataclasses.fields(cls)] == FIELDS[cls].split()


def test_values_are_frozen_and_small() -> None:
    """Every exported dataclass is frozen and has slots."""
    values = [cls for cls in classes() if dataclasses.is_dataclass(cls)]
    assert len(values) >= len(FIELDS)
    assert not [cls.__name__ for cls in values if not cls.__dataclass_params__.frozen]  # type: ignore[attr-defined]
    assert not [cls.__name__ for cls in values if "__slots__" not in vars(cls)]


def test_write_options_are_the_same_everywhere() -> None:
    """What a write takes by keyword, an `UploadItem` takes as a field, with the same type."""
    assert list(WriteOptions.__annotations__) == OPTIONS
    fields = [field.name for field in dataclasses.fields(UploadItem)]
    assert fields == ["key", "source", "bucket", *OPTIONS]
    of_item, of_call = get_type_hints(UploadItem), get_type_hints(WriteOptions)
    assert {name: of_item[name] for name in OPTIONS} == {name: of_call[name] for name in OPTIONS}


def test_a_presigned_url_is_text() -> None:
    """Any HTTP client takes it as it is."""
    assert issubclass(PresignedUrl, str)
    assert set(get_type_hints(PresignedUrl)) == {"expires_at"}


def test_errors_are_one_tree() -> None:
    """Every exported error but that of the settings hangs under `S3Error`, with the promised fields."""
    errors = [cls for cls in classes() if issubclass(cls, Exception)]
    outside = {cls.__name__ for cls in errors if not issubclass(cls, S3Error)}
    assert outside == {"StorageSettingsError"}
    assert issubclass(S3PoolTimeoutError, S3TimeoutError)
    given: dict[str, Any] = {"operation": "GetObject", "bucket": "b", "key": "k", "code": "C", "status": 400}
    given |= {"request_id": "R", "attempts": 2, "retryable": True, "outcome": "unknown"}
    assert vars(S3Error("failed", **given)).items() >= given.items()


def documented() -> list[Any]:
    """Every public class, method and property as a test case."""
    found = []
    for cls in classes():
        found.append(pytest.param(cls.__dict__.get("__doc__"), id=cls.__name__))
        for name, value in public(cls).items():
            # pydantic asks for class methods; a protocol's one method is what its class describes.
            if not isinstance(value, classmethod) and not getattr(cls, "_is_protocol", False):
                found.append(pytest.param(value.__doc__, id=f"{cls.__name__}.{name}"))
    return found


@pytest.mark.parametrize("text", documented())
def test_everything_public_is_documented(text: str | None) -> None:
    """The first paragraph is a sentence that says what you get, on at most three lines."""
    first = inspect.cleandoc(text or "").partition("\n\n")[0]
    assert first
    assert first[0].isupper() or first[0] in '`*"'
    assert first.rstrip().endswith((".", ":"))
    assert first.count("\n") <= 2


def written_types() -> Iterator[str]:
    """Every annotation a user meets in calls and results, as written."""
    for cls in classes():
        if dataclasses.is_dataclass(cls):
            yield from (str(field.type) for field in dataclasses.fields(cls))
        for value in public(cls).values():
            function: Any = value.fget if isinstance(value, property) else value
            yield from map(str, inspect.get_annotations(getattr(function, "__func__", function)).values())


def defined_types() -> set[str]:
    """The types and aliases the package defines for its users."""
    names = set()
    for node in ast.parse(inspect.getsource(_types)).body + ast.parse(inspect.getsource(_errors)).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_types_in_signatures_are_exported() -> None:
    """Whoever wraps a call can name the type of each of its arguments and results."""
    trees = [ast.parse(text, mode="eval") for text in written_types()]
    named = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {"ObjectInfo", "ProgressHook", "UploadItem"} <= named
    missing = named & defined_types() - set(greenlang_async_storage.__all__)
    assert not missing


def test_typed_examples_use_everything() -> None:
    """`tests/typing/api.py`, the list of all that is public, imports and calls all of it and no more."""
    tree = ast.parse(TYPED_CALLS.read_text(encoding="utf-8"))
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "greenlang_async_storage"
        for alias in node.names
    }
    assert imported == set(greenlang_async_storage.__all__)
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {*public(Bucket), *public(StorageSession), *public(Download)} <= used


def test_version_is_a_version() -> None:
    """`__version__` is that of the installed distribution, in the form PEP 440 asks for."""
    assert greenlang_async_storage.__version__ == metadata.version("greenlang-async-storage")
    assert greenlang_async_storage.__version__.count(".") == 2


def test_extras_are_installed_metadata() -> None:
    """`[all]` and its parts are offered by the distribution."""
    offered = set(metadata.metadata("greenlang-async-storage").get_all("Provides-Extra") or ())
    assert {"all", "demo", "json", "testing"} <= offered


def test_every_public_name_is_there_when_first_asked_for() -> None:
    """Whichever comes first; before that the package shows what it has, and denies what it has not."""
    code = (
        "import greenlang_async_storage as package\n"
        "assert {*package.__all__} <= {*dir(package)}\n"
        "assert not hasattr(package, 'Buckett')\n"
        "assert 'Bucket' not in vars(package)\n"
        "first = getattr(package, sys.argv[1])\n"
        "assert {*package.__all__} <= {*vars(package)}\n"
        "from greenlang_async_storage import *\n"
        "assert eval(sys.argv[1]) is first\n"
    )
    for name in ("StorageSession", "S3Error", "Verify", "SecretFilter"):
        subprocess.run([sys.executable, "-c", f"import sys\n{code}", name], check=True)
