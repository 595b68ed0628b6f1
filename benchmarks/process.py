"""A worker process, seen from the runner: questions and answers as lines, an end by process id."""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.candidates import Entry, Target
from benchmarks.environment import ROOT
from benchmarks.measuring import Sample
from benchmarks.workloads import Workload

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
_PATIENCE: Final = 1800.0
"""Seconds one measurement may take; a large batch on a busy machine takes minutes."""
_END: Final = 20.0
_SHOWN: Final = 500


class WorkerFailedError(Exception):
    """The worker died, hung, or said what went wrong."""


class WorkerProcess:
    """One candidate, opened by the constructor; `opening` is what that took. A context manager."""

    def __init__(
        self, python: Path, entry: Entry, target: Target, folder: Path, *, monitored: bool = False
    ) -> None:
        self.entry = entry
        self._log = (folder / f"{entry.name}.log").open("w+b")
        self._child = subprocess.Popen(
            [str(python), "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env={**_environment(), **entry.environment()},
        )
        try:
            self._say(
                {
                    "candidate": entry.name,
                    "target": asdict(target),
                    "folder": str(folder),
                    "monitored": monitored,
                }
            )
            answer = self._answer()
        except BaseException:
            self.stop()
            raise
        self.opening = Sample(**answer["sample"])
        self.monitor_cost: float | None = answer.get("monitor_cost")

    def measure(self, work: Workload, prefix: str = "") -> Sample:
        """What *work* took; what is listed lies under *prefix*."""
        self._say({"workload": asdict(work), "prefix": prefix})
        answer = self._answer()
        if "error" in answer:
            raise WorkerFailedError(answer["error"])
        return Sample(**answer["sample"])

    def _say(self, message: Mapping[str, object]) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerFailedError(self._last_words()) from error

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], _PATIENCE)
        if not ready:
            raise WorkerFailedError(f"no answer within {_PATIENCE:.0f} s")
        line = self._child.stdout.readline()
        if not line:
            raise WorkerFailedError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._child.wait(_END)
        self._log.seek(0)
        text = self._log.read().decode(errors="replace").strip()
        last = text.splitlines()[-1] if text else "no output"
        return f"ended with code {self._child.returncode}: {last[:_SHOWN]}"

    def stop(self) -> None:
        """End the process: it closes its client when its input ends."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        try:
            self._child.wait(_END)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _environment() -> dict[str, str]:
    """No credentials, profile or setting of the user reaches a candidate."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
