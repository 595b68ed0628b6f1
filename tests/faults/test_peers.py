"""The comparison's rules: the same for all, and blind to nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from greenlang_async_storage.testing import Fault
from tests.faults.peers import _report
from tests.faults.peers._rules import (
    HANG,
    KINDS,
    LEAK,
    MIXED,
    PIECE,
    UNTYPED,
    WRONG,
    Observed,
    Score,
    broken,
    counts,
)

FAULT = Fault("PutObject", 1, "withheld", "reset")
GOOD = Observed(
    ended=True,
    error=None,
    result_right=True,
    stored=b"new",
    old=b"old",
    new=b"new",
    file=b"new file",
    old_file=b"old file",
    new_file=b"new file",
    uploads=0,
    creates=1,
)
FAILED: dict[str, Any] = {"error": OSError("broken"), "stored": b"old", "file": b"old file"}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, []),
        (FAILED, []),
        ({**FAILED, "stored": b"new", "file": b"new file"}, []),
        ({"stored": b"old"}, [WRONG]),
        ({"result_right": False}, [WRONG]),
        ({"file": b"new"}, [WRONG]),
        ({**FAILED, "stored": b"ne"}, [MIXED]),
        ({**FAILED, "stored": None}, [MIXED]),
        ({**FAILED, "file": b"new fi"}, [PIECE]),
        ({**FAILED, "file": None}, [PIECE]),
        ({**FAILED, "error": ValueError("what is this")}, [UNTYPED]),
        ({**FAILED, "uploads": 1}, [LEAK]),
        ({**FAILED, "uploads": 1, "creates": 2}, []),
        ({"ended": False, "stored": b"old", "file": b"old file"}, [HANG]),
        ({"ended": False, "stored": b"n", "uploads": 1}, [HANG, MIXED, LEAK]),
    ],
)
def test_what_a_call_broke(change: dict[str, Any], found: list[str]) -> None:
    """Success must be the whole truth, a failure may leave old or new, and nothing else."""
    assert list(broken(replace(GOOD, **change), FAULT, (OSError,))) == found


def test_an_upload_nobody_can_know_of_is_nobodys_leak() -> None:
    """Where the reply that names it was lost."""
    lost = Fault("CreateMultipartUpload", 1, "withheld", "reset")
    refused = Fault("CreateMultipartUpload", 1, "unforwarded", "reset")
    left = replace(GOOD, uploads=1)
    assert list(broken(left, lost, ())) == []
    assert list(broken(left, refused, ())) == [LEAK]


def test_only_refusals_that_mean_the_same_to_all() -> None:
    """A 404 may be what a delete wants, a 412 what a condition wants."""
    assert counts(Fault("PutObject", 1, "unforwarded", "replace", status=503))
    assert not counts(Fault("DeleteObject", 1, "unforwarded", "replace", status=404))


def test_the_score_counts_each_kind_once_a_case() -> None:
    """And keeps one example of each, with the error's name."""
    made = Score("anybody")
    made.add("put: first", GOOD, [])
    made.add("put: second", replace(GOOD, stored=b"old"), [WRONG])
    made.add("put: third", replace(GOOD, error=OSError(), uploads=1), [LEAK])
    assert (made.cases, made.passed, made.succeeded) == (3, 1, 1)
    assert {kind: count for kind, count in made.broken.items() if count} == {WRONG: 1, LEAK: 1}
    assert made.examples == {WRONG: "put: second", LEAK: "put: third (OSError)"}


def test_the_table_stands_between_its_markers() -> None:
    """Written twice it stands there once, and what others wrote stays."""
    page = _report.placed("# Page\n", _report.table([Score("one", cases=2, passed=1)], "2026-01-01", 1))
    again = _report.placed(page + "\nmore\n", _report.table([Score("two")], "2026-01-02", 5))
    assert "| one | " in page
    assert "1 (50.0%)" in page
    assert "| one | " not in again
    assert "one of every 5 cases" in again
    assert again.startswith("# Page\n")
    assert again.endswith("more\n")
    assert again.count(_report.BEGIN) == again.count(_report.END) == 1
    assert all(kind.capitalize() in again for kind in KINDS)
