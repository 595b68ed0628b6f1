"""Every library in a process of its own, two at a time, in the environment of the benchmarks."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import environment
from tests.faults.peers._report import ROOT
from tests.faults.peers._rules import Score

AT_A_TIME: Final = 2


async def run(names: Sequence[str], step: int, progress: Callable[[str], None]) -> list[Score]:
    """The scores of the libraries *names*, in that order; RuntimeError for one that cannot be run."""
    python = await asyncio.to_thread(environment.ensure)
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(name: str) -> Score:
        async with places:
            progress(name)
            return await _score(python, name, step)

    return list(await asyncio.gather(*(one(name) for name in names)))


async def _score(python: Path, name: str, step: int) -> Score:
    own = name.startswith("greenlang")
    # Peers run as `pip install` leaves them: awscrt, which this project brings, changes botocore's checksums.
    variables = {**os.environ, **({} if own else {"BOTO_DISABLE_CRT": "true"})}
    process = await asyncio.create_subprocess_exec(
        *(str(python), "-m", "tests.faults.peers._worker", name, "--step", str(step)),
        cwd=ROOT,
        env=variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}: {errors.decode()[-2000:]}")
    return Score(**json.loads(output.decode().splitlines()[-1]))
