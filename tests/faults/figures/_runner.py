"""Finds the modules of figures and runs each path of each in a process of its own, with a time limit."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.figures._figure import Figure

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
AT_ONCE: Final = 3
"""Processes side by side, where no module asks to be alone: some of them mostly wait."""
LEAST_SECONDS: Final = 120.0
TIMES_OVER: Final = 4.0
"""A process that takes so many times its estimate hangs."""
FULL_MINUTES: Final = 120.0
"""The estimate of a nightly run that a module does not give itself."""
_KEPT_LINES: Final = 30
_DEFAULTS: Final[dict[str, object]] = {
    "PATHS": (True, False),
    "ALONE": False,
    "MINUTES": 5.0,
    "FULL_MINUTES": FULL_MINUTES,
}


@dataclass(frozen=True, slots=True)
class Module:
    """What a module of figures says of itself, read without importing it."""

    name: str
    paths: tuple[bool, ...]
    alone: bool
    minutes: float
    """Of the short run, all paths together."""
    full_minutes: float

    @property
    def goal(self) -> str:
        """`G5` for `g05_cancel`."""
        return f"G{int(self.name[1:3])}"

    def limit(self, *, full: bool) -> float:
        """Seconds after which one of its processes is taken to hang."""
        minutes = self.full_minutes if full else self.minutes
        return max(LEAST_SECONDS, minutes * 60 * TIMES_OVER)


@dataclass(frozen=True, slots=True)
class Run:
    """One module through one path: what came of it."""

    module: Module
    fast_path: bool
    seconds: float
    figures: tuple[Figure, ...] = ()
    failure: str = ""
    """Why there are no figures; empty when there are."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a run."""

    full: bool = False
    seed: int = 0
    folder: Path = HERE
    """Where the modules lie."""
    package: str = "tests.faults.figures"
    limit: float | None = None
    """Seconds for each process, in place of the modules' own estimates."""


def discover(folder: Path = HERE, only: Sequence[str] = ()) -> list[Module]:
    """
    The modules `g<nn>_<name>.py` in *folder*, by name; those whose name starts with one of *only*, if any.

    Raises:
        ValueError: nothing starts with one of *only*.
    """
    found = [_described(path) for path in sorted(folder.glob("g[0-9][0-9]*.py"))]
    wanted = [name.lower() for name in only]
    for name in wanted:
        if not any(module.name.startswith(name) for module in found):
            known = ", ".join(module.name for module in found)
            raise ValueError(f"no module of figures starts with {name!r}: there are {known}")
    return [module for module in found if not wanted or module.name.startswith(tuple(wanted))]


def _described(path: Path) -> Module:
    """The module's constants; a file that cannot be parsed fails when it is run, not here."""
    told = dict(_DEFAULTS)
    with contextlib.suppress(SyntaxError):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = getattr(node, "value", None)
            for target in targets:
                if isinstance(target, ast.Name) and target.id in told and isinstance(value, ast.expr):
                    told[target.id] = ast.literal_eval(value)
    paths = told["PATHS"]
    assert isinstance(paths, tuple)
    minutes, full_minutes = (float(str(told[name])) for name in ("MINUTES", "FULL_MINUTES"))
    return Module(path.stem, paths, bool(told["ALONE"]), minutes, full_minutes)


async def run_all(modules: Iterable[Module], order: Order, say: Callable[[str], None]) -> list[Run]:
    """Every path of every module: some processes at a time, then those that want to be alone."""
    jobs = [(module, path) for module in modules for path in module.paths]
    runs: list[Run] = []
    for alone in (False, True):
        width = asyncio.Semaphore(1 if alone else AT_ONCE)

        async def one(module: Module, *, path: bool, width: asyncio.Semaphore = width) -> None:
            async with width:
                runs.append(await run_one(module, order, say, fast_path=path))

        async with asyncio.TaskGroup() as group:
            for module, path in jobs:
                if module.alone is alone:
                    group.create_task(one(module, path=path))
    return sorted(runs, key=lambda run: (run.module.name, not run.fast_path))


async def run_one(module: Module, order: Order, say: Callable[[str], None], *, fast_path: bool) -> Run:
    """One path of one module, in a process of its own; a crash and a hang are results too."""
    where = "fast path" if fast_path else "plain path"
    limit = order.limit if order.limit is not None else module.limit(full=order.full)
    started = time.monotonic()

    def tell(line: str) -> None:
        say(f"[{time.monotonic() - started:7.1f} s] {module.name}, {where}: {line}")

    tell("starts")
    with tempfile.TemporaryDirectory(prefix="figures-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        result = folder / "result.json"
        (folder / "work").mkdir()
        arguments = {
            "module": f"{order.package}.{module.name}",
            "full": order.full,
            "fast_path": fast_path,
            "folder": str(folder / "work"),
            "result": str(result),
            "seed": order.seed,
        }
        failure = await _in_process(json.dumps(arguments), limit, tell)
        seconds = time.monotonic() - started
        try:
            told = json.loads(result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            told = {}
    figures = tuple(Figure(**{**one, "notes": tuple(one["notes"])}) for one in told.get("figures", ()))
    failure = told.get("failure") or failure
    if not failure and not figures:
        failure = "it gave no figure"
    tell(failure or "done")
    return Run(module, fast_path, seconds, () if failure else figures, failure)


async def _in_process(arguments: str, limit: float, tell: Callable[[str], None]) -> str:
    """Why the process failed; empty when it did not. Its output is passed on line by line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "tests.faults.figures._one", arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    try:
        async with asyncio.timeout(limit):
            while line := await process.stdout.readline():
                last.append(line.decode("utf-8", "replace").rstrip())
                tell(last[-1])
            status = await process.wait()
    except TimeoutError:
        return f"hangs: not done within {limit:g} s"
    except ValueError:
        return "wrote a line longer than 64 KiB"
    finally:
        # The group, for the servers and workers a measurement has started.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if status == 0:
        return ""
    ended = f"signal {-status}" if status < 0 else f"exit code {status}"
    return f"ended with {ended}" + (f": {last[-1]}" if last else "")
