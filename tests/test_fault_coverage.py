"""What the handlers of a file are, and how their share is counted."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

from tools.fault_coverage import core_files, handler_lines, main, measure

SOURCE = dedent(
    """\
    def work():
        try:
            begin()
        except KeyError as error:
            if error.args:
                note()
            raise
        except (ValueError, OSError):
            with other():
                return (
                    0
                )
        else:
            go_on()
        finally:
            def last():
                close()
            last()
        done()
    """
)


def report_of(path: Path, **facts: object) -> dict[str, object]:
    """A report of coverage.py about one file."""
    branches: dict[str, object] = {"executed_branches": [], "missing_branches": []}
    return {"files": {path.name: {"executed_lines": [], "missing_lines": [], **branches, **facts}}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with handlers."""
    path = tmp_path / "work.py"
    path.write_text(SOURCE)
    return path


def test_lines_of_handlers() -> None:
    """Statements of `except` and `finally`, nested ones too; neither `try`, `else` nor what follows."""
    assert handler_lines(SOURCE) == {5, 6, 7, 9, 10, 16, 17, 18}


def test_a_share_of_the_lines(source: Path) -> None:
    """Ran by counted; a line that coverage leaves out counts for nothing."""
    told = report_of(source, executed_lines=[3, 5, 6, 7, 16, 17, 18, 19], missing_lines=[9])
    report = measure(told, [source], source.parent)
    assert report.lines == 7
    assert report.share == pytest.approx(6 / 7)
    assert list(report.missing()) == [f"{source}:9: with other():"]


def test_branches_of_the_lines_that_ran(source: Path) -> None:
    """A jump that was not taken is named, and counts as coverage.py counts it."""
    told = report_of(
        source,
        executed_lines=[5, 6, 7, 16, 17, 18],
        missing_lines=[9, 10],
        executed_branches=[[5, 6], [2, 3]],
        missing_branches=[[5, 7], [9, 10], [2, -1]],
    )
    report = measure(told, [source], source.parent)
    assert report.share == 6 / 8
    assert report.branch_share == pytest.approx(7 / 10)
    assert f"{source}:5: never went to line 7: if error.args:" in list(report.missing())


def test_a_file_nobody_imported(source: Path) -> None:
    """All of its handlers are missing."""
    assert measure({"files": {}}, [source], source.parent).share == 0


def test_a_report_without_branches(source: Path) -> None:
    """Said, instead of a share that counts less than was asked for."""
    told: dict[str, object] = {"files": {source.name: {"executed_lines": [], "missing_lines": []}}}
    with pytest.raises(ValueError, match="--branch"):
        measure(told, [source], source.parent)


def test_the_files_that_count() -> None:
    """The core and the fast path; neither the store for tests nor the users of the core."""
    names = {"/".join(path.parts[-2:]) for path in core_files()}
    assert {"greenlang_async_storage/_requests.py", "_ranges/_reader.py", "transport/_pool.py"} <= names
    assert not {name for name in names if name.startswith(("testing/", "cli/", "_faults/", "_memory/"))}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fails below what is asked for, and says how much it is."""
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps({"files": {}}))
    assert main([str(path)]) == 1
    assert "0.0% of" in capsys.readouterr().out
    assert main([str(path), "--least", "0"]) == 0
