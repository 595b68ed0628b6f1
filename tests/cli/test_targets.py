from __future__ import annotations

import pytest

from greenlang_async_storage import (
    S3AccessDeniedError,
    S3ConnectionError,
    S3CredentialsError,
    S3Error,
    S3IntegrityError,
    S3InvalidRequestError,
    S3LocalFileError,
    S3NotFoundError,
    S3ObjectChangedError,
    S3PoolTimeoutError,
    S3PreconditionFailedError,
    S3ThrottlingError,
)
from greenlang_async_storage.cli import _errors, _format
from greenlang_async_storage.cli._doctor import _settings
from greenlang_async_storage.cli._errors import ExitCode, UsageError, common_code, exit_code
from greenlang_async_storage.cli._reading import parse_range
from greenlang_async_storage.cli._sync import _limit
from greenlang_async_storage.cli._targets import Local, Remote, glob_prefix, matcher, place, remote


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b", Remote("s3://bucket/a/b", "a/b", bucket_name="bucket")),
        ("s3://bucket", Remote("s3://bucket", "", bucket_name="bucket")),
        ("s3://bucket//a", Remote("s3://bucket//a", "/a", bucket_name="bucket")),
        ("data-lake:bronze/x", Remote("data-lake:bronze/x", "bronze/x", purpose="data_lake")),
        ("data_lake:x:y", Remote("data_lake:x:y", "x:y", purpose="data_lake")),
        ("models:", Remote("models:", "", purpose="models")),
        ("-", Local("-")),
        ("./temp:file", Local("./temp:file")),
        ("C:\\files\\a", Local("C:\\files\\a")),
        ("2024-01-01T10:00.txt", Local("2024-01-01T10:00.txt")),
        ("folder/a:b", Local("folder/a:b")),
    ],
)
def test_places(text: str, expected: object) -> None:
    """Buckets, purposes and paths are told apart by how they begin."""
    assert place(text) == expected


@pytest.mark.parametrize("text", ["data-lak:x", "https://host/x", "s4://bucket/key"])
def test_a_typo_is_no_file_name(text: str) -> None:
    """What looks like a place and is none is refused, with the names there are."""
    with pytest.raises(UsageError, match="data-lake:"):
        place(text)


@pytest.mark.parametrize("text", ["file.txt", "s3://", "s3:///key", "-"])
def test_a_place_in_a_store_is_required(text: str) -> None:
    """Where only a store makes sense, a path or a missing bucket is usage."""
    with pytest.raises(UsageError, match="s3://bucket/key"):
        remote(text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a/*.csv", ["a/x.csv", "a/.csv"], ["a/b/x.csv", "a/x.csv2", "b/x.csv"]),
        ("a/**/x", ["a/x", "a/b/x", "a/b/c/x"], ["a/bx", "ax"]),
        ("a/**", ["a/b", "a/b/c"], ["ab"]),
        ("f?[0-9].t", ["fa1.t"], ["f/1.t", "fab.t", "fa1xt"]),
        ("[!a]b", ["cb"], ["ab", "/b"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a+(b)*", ["a+(b)x"], ["aab"]),
        ("*\n*", ["a\nb"], ["ab"]),
    ],
)
def test_globs(pattern: str, yes: list[str], no: list[str]) -> None:
    """`*` and `?` stay in their folder, `**` does not, sets work, and everything else is itself."""
    matches = matcher(pattern)
    assert [key for key in yes if not matches(key)] == []
    assert [key for key in no if matches(key)] == []
    assert all(key.startswith(glob_prefix(pattern)) for key in yes)


def test_a_bad_set_is_usage() -> None:
    """A pattern nobody can read names the way out."""
    with pytest.raises(UsageError, match="--literal"):
        matcher("[z-a]")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (S3NotFoundError("x"), 3),
        (S3AccessDeniedError("x"), 4),
        (S3CredentialsError("x"), 4),
        (S3PreconditionFailedError("x"), 5),
        (S3ObjectChangedError("x"), 5),
        (S3IntegrityError("x"), 6),
        (S3PoolTimeoutError("x"), 7),
        (S3ConnectionError("x"), 7),
        (S3ThrottlingError("x"), 7),
        (S3InvalidRequestError("x"), 2),
        (S3InvalidRequestError("x", status=501), 1),
        (S3LocalFileError("x", errno=2), 3),
        (S3LocalFileError("x", errno=28), 1),
        (S3Error("x"), 1),
        (UsageError("x"), 2),
        (FileNotFoundError(2, "x"), 3),
        (KeyError("x"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int) -> None:
    """Each failure has the exit code the documentation gives it."""
    assert exit_code(error) == code


def test_many_failures_have_one_code() -> None:
    """Failures of one kind keep their code, of several kinds they are 1."""
    assert common_code([]) == ExitCode.OK
    assert common_code([ExitCode.ACCESS, ExitCode.ACCESS]) == ExitCode.ACCESS
    assert common_code([ExitCode.ACCESS, ExitCode.NOT_FOUND]) == ExitCode.FAILURE


def test_an_unexpected_failure_is_one_line() -> None:
    """A fault of the program says so, and how to see more."""
    text = _errors.text_of(KeyError("x\ny"))
    assert "--debug" in text
    assert "KeyError" in text


def test_settings_are_named_as_the_settings_name_themselves() -> None:
    """Doctor's table of variables is the package's own."""
    from greenlang_async_storage import StorageSettings
    from greenlang_async_storage._settings import _variables

    for field in StorageSettings.model_fields:
        assert _settings.variables(field) == _variables(field)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("15m", 900), ("1.5h", 5400), ("7d", 604800), ("2 w", 1209600)]
)
def test_times(text: str, seconds: float) -> None:
    """Times are seconds, or have a unit."""
    assert _format.parse_seconds(text, "--x") == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("12", 12), ("10MiB", 10485760), ("10M", 10485760), ("5 GB", 5 * 10**9), ("1.5k", 1536)],
)
def test_sizes(text: str, size: int) -> None:
    """Sizes are bytes, or have a unit; one letter is binary."""
    assert _format.parse_size(text, "--x") == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "1 parsec"])
def test_what_is_no_number_is_usage(text: str) -> None:
    """Times and sizes nobody can read name the option and an example."""
    for parse in (_format.parse_seconds, _format.parse_size):
        with pytest.raises(UsageError, match=r"--opt.*such as"):
            parse(text, "--opt")


@pytest.mark.parametrize(
    ("text", "expected"), [("0-99", (0, 100)), ("5-", (5, None)), ("-10", (90, None)), ("-500", (0, None))]
)
def test_ranges(text: str, expected: tuple[int, int | None]) -> None:
    """`cat --range` counts as HTTP does."""
    assert parse_range(text, 100) == expected


@pytest.mark.parametrize("text", ["", "-", "a-b", "9-3", "5"])
def test_bad_ranges(text: str) -> None:
    """Ranges nobody can read are usage."""
    with pytest.raises(UsageError, match="--range"):
        parse_range(text, 100)


def test_delete_limits() -> None:
    """`--max-deletes` is a number or a share; the plan tells them apart by type."""
    assert (_limit(None), _limit("10"), _limit("10%"), _limit("100 %")) == (0.5, 10, 0.1, 1.0)
    assert type(_limit("1")) is int
    for text in ("x", "1.5", "101%", "-1"):
        with pytest.raises(UsageError, match="--max-deletes"):
            _limit(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1048575, "1.0 MiB"), (10**15, "909.5 TiB")],
)
def test_sizes_read_well(size: int, text: str) -> None:
    """Four digits at most, and the unit changes in time."""
    assert _format.size_text(size) == text
