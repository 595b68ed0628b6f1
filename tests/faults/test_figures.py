"""The runner of figures and its table: every module in a process of its own, crashes and hangs as rows."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.figures import Figure, _report, _runner
from tests.faults.figures._runner import Module, Order, Run

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.allow_blocking("starts processes and reads the files they leave"),
]

GOOD = """
from tests.faults.figures import Figure

PATHS = (True, False)
MINUTES = 0.5

async def measure(scale):
    scale.progress("half way")
    (scale.folder / "mine").write_text("x")
    value = f"{scale.seed} {scale.full} {sorted(path.name for path in scale.folder.iterdir())}"
    return [Figure("G1", "path", "any", "fast" if scale.fast_path else "plain", True),
            Figure("G1", "scale", "any", value, True, seeds="0 to 9", notes=("a | note",))]
"""
LEAVES = "from tests.faults.figures import Figure\nPATHS = (True,)\n"
CRASH = f"{LEAVES}async def measure(scale):\n    raise OSError('no such /home/somebody/secret/file')\n"
KILLED = f"{LEAVES}import os\nasync def measure(scale):\n    os.kill(os.getpid(), 9)\n"
EMPTY = f"{LEAVES}async def measure(scale):\n    return []\n"
BROKEN = "PATHS = (True,)\nthis is no Python\n"
HANG = """
import subprocess, sys, time
from tests.faults.figures import Figure
PATHS = (True,)

async def measure(scale):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    scale.progress(f"child {child.pid}")
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fake modules lie, importable by the processes that run them."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{_runner.ROOT}")
    made = tmp_path / "fakes"
    made.mkdir()
    return made


async def run_fakes(
    folder: Path, *, limit: float = 60.0, full: bool = False, **texts: str
) -> tuple[list[Run], list[str]]:
    """The runs of modules with these texts, and what was said meanwhile."""
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    said: list[str] = []
    order = Order(full=full, seed=7, folder=folder, package="fakes", limit=limit)
    runs = await _runner.run_all(_runner.discover(folder), order, said.append)
    return runs, said


async def test_each_path_has_a_process_and_a_folder_of_its_own(folder: Path) -> None:
    """Figures come back with the scale they were asked for; progress is passed on live, with its module."""
    runs, said = await run_fakes(folder, full=True, g01_good=GOOD)
    assert [(run.fast_path, run.failure, len(run.figures)) for run in runs] == [(True, "", 2), (False, "", 2)]
    assert {run.figures[1].measured for run in runs} == {"7 True ['mine']"}
    assert sum("g01_good, plain path: half way" in line for line in said) == 1


async def test_what_breaks_is_a_row_that_failed(folder: Path) -> None:
    """A crash, a kill, a module that cannot be read and one without figures; none stops the others."""
    runs, _ = await run_fakes(
        folder, g02_crash=CRASH, g03_killed=KILLED, g04_empty=EMPTY, g05_broken=BROKEN, g01_good=GOOD
    )
    rows = {row.what: row for row in _report.rows(runs)}
    assert {what for what, row in rows.items() if row.holds} == {"path", "scale"}
    assert {what for what, row in rows.items() if not row.holds} == {
        "g02_crash",
        "g03_killed",
        "g04_empty",
        "g05_broken",
    }
    assert "OSError: no such" in rows["g02_crash"].fast
    assert f"signal {signal.SIGKILL.value}" in rows["g03_killed"].fast
    assert "no figure" in rows["g04_empty"].fast
    assert "SyntaxError" in rows["g05_broken"].fast
    assert rows["g05_broken"].goal == "G5"


async def test_a_hang_is_ended_with_its_children(folder: Path) -> None:
    """After its time a module is a failed figure, and what it has started ends with it."""
    runs, said = await run_fakes(folder, limit=4.0, g06_hang=HANG)
    assert [run.failure for run in runs] == ["hangs: not done within 4 s"]
    [child] = [int(line.rpartition(" ")[2]) for line in said if ": child " in line]
    while runs_still(child):
        pass  # a kill takes effect when the system gets to it


def runs_still(pid: int) -> bool:
    """Whether the process is there and has not ended; who reaps it is another matter."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_modules_are_read_without_being_run(folder: Path) -> None:
    """Their constants count, what they leave out has a default, and only figures are found."""
    (folder / "g07_alone.py").write_text("ALONE = True\nPATHS: tuple = (False,)\nMINUTES = 2\nraise OSError")
    (folder / "g08_plain.py").write_text("")
    (folder / "_g09_not.py").write_text("")
    assert _runner.discover(folder) == [
        Module("g07_alone", (False,), alone=True, minutes=2.0, full_minutes=120.0),
        Module("g08_plain", (True, False), alone=False, minutes=5.0, full_minutes=120.0),
    ]
    assert [module.goal for module in _runner.discover(folder, ["G08"])] == ["G8"]
    with pytest.raises(ValueError, match="'g11': there are g07_alone, g08_plain"):
        _runner.discover(folder, ["g11"])


def a_run(
    goal: str, measured: str, *, fast_path: bool = True, holds: bool = True, seconds: float = 1.0
) -> Run:
    """A run with one figure."""
    number = int(goal[1:])
    module = Module(f"g{number:02}_x", (True, False), alone=False, minutes=1.0, full_minutes=1.0)
    figure = Figure(goal, f"what {goal}", "0", measured, holds, seeds="0 to 9", notes=(f"took {measured}",))
    return Run(module, fast_path, seconds, (figure,))


async def test_both_paths_are_one_line() -> None:
    """It holds when both hold; seconds are those of both; goals are in their order."""
    runs = [a_run("G10", "1"), a_run("G2", "0"), a_run("G2", "3", fast_path=False, holds=False, seconds=2.0)]
    text = _report.render(runs, seed=5, day="2026-01-02")
    lines = [line for line in text.splitlines() if line.startswith("| G") and "Goal" not in line]
    assert lines == [
        "| G2 | what G2 | 0 | 0 | 3 | 3 | **no** | 2026-01-02 |",
        "| G10 | what G10 | 0 | 1 | - | 1 | yes | 2026-01-02 |",
    ]
    assert "- G2, what G2: seeds 0 to 9" in text
    assert "First seed 5." in text
    assert "Python 3." in text


async def test_the_table_tells_nothing_of_the_machine_but_its_kind() -> None:
    """No paths and no host name; a cell stays one cell."""
    run = a_run("G3", "a | b\nat /home/somebody/tree/file.py, 5/s, https://example.com/a/b")
    text = _report.render([run], seed=0, day="2026-01-02")
    assert "somebody" not in text
    assert os.uname().nodename not in text
    assert "| a \\| b at (path), 5/s, https://example.com/a/b |" in text


async def test_the_table_is_written_between_its_markers(tmp_path: Path) -> None:
    """Everything around it stays; part of the figures replaces their own lines and notes only."""
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- figures:pr -->\nstale\n<!-- /figures -->\n"
        "after\n<!-- figures:full -->\n<!-- /figures -->\n"
    )
    both = [a_run("G1", "one"), a_run("G2", "two")]
    _report.write(page, both, full=False, partly=False, seed=0, day="2026-01-02")
    _report.write(page, [a_run("G2", "three")], full=False, partly=True, seed=0, day="2026-01-03")
    text = page.read_text()
    assert "stale" not in text
    assert text.startswith("before\n<!-- figures:pr -->\n")
    assert text.endswith("<!-- /figures -->\nafter\n<!-- figures:full -->\n<!-- /figures -->\n")
    assert "| G1 | what G1 | 0 | one | - | 1 | yes | 2026-01-02 |" in text
    assert "| G2 | what G2 | 0 | three | - | 1 | yes | 2026-01-03 |" in text
    assert "took one" in text
    assert "took two" not in text
    page.write_text("nothing")
    with pytest.raises(ValueError, match="figures:full"):
        _report.write(page, both, full=True, partly=False, seed=0, day="2026-01-02")
