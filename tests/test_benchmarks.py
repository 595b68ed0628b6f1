"""The benchmarks run and count right; their figures are nobody's business here."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import goals, measuring, memory, publish, report, results, runner
from benchmarks.candidates import BASELINE, BY_NAME, ENTRIES, FILE_PARTS, MIB, OURS, RUST, Target
from benchmarks.measuring import Sample
from benchmarks.process import WorkerProcess
from benchmarks.profile import group_of
from benchmarks.results import Record, Results
from benchmarks.seeding import seed
from benchmarks.workloads import FULL, KIB, SHORT, TINY, Plan, Workload, list_prefix
from greenlang_async_storage.testing import StorageServer

ROOT = Path(__file__).parents[1]


def canned(plan: Plan = TINY) -> Results:
    """Three rounds of GET 1 KiB: the machine is slow in the second, and aioboto3 not equally dear in each."""
    run = Results(
        "tiny", "2026-01-02", 3, {"cores": 2, "processor": "P", "memory_gib": 8, "system": "S"}, {}, []
    )
    run.workloads = [*plan.workloads, *plan.once]
    cost = {OURS: 100e-6, BASELINE: 1300e-6, RUST: 50e-6}
    for number, (slow, dear) in enumerate(((1.0, 1.0), (2.0, 0.5), (1.1, 1.2))):
        for name, cpu in cost.items():
            spent = cpu * 10 * slow * (dear if name == BASELINE else 1.0)
            sample = Sample(operations=10, units=10, wall=slow, cpu=spent, p50=0.001, p99=0.002)
            run.records.append(Record(name, "get-1k", number, "cpu", sample))
    return run


def test_adapters_import_no_library() -> None:
    """Every adapter can be imported and made where none of the peers is installed."""
    names = ("aioboto3", "aiobotocore", "boto3", "s3fs", "miniopy_async", "aiohttp_s3_client", "obstore")
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({(*names, 'greenlang_async_storage')!r}))\n"
        "from benchmarks.candidates import ENTRIES\n"
        "print(len([entry.make() for entry in ENTRIES]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(len(ENTRIES)), done.stderr


def test_ratios_are_taken_per_round() -> None:
    """The ratio is the median of the rounds' own: neither of medians nor the best one."""
    run = canned()
    assert run.ratio(BASELINE, OURS, "get-1k", results.cpu) == pytest.approx(13.0)
    assert run.ratio(RUST, OURS, "get-1k", results.cpu) == pytest.approx(0.5)
    assert run.figure(OURS, "get-1k", results.cpu) == pytest.approx(110e-6)
    assert run.ratio(BASELINE, OURS, "head-1k", results.cpu) is None


def test_report_shows_ratios_goals_and_losses() -> None:
    """The report has the figures, says which goal was met or missed, and names who is better."""
    text = report.markdown(canned())
    assert "| **Bucket** | - | 110 |" in text
    assert "| aioboto3, one shared client | 13.0 x |" in text
    assert "| GET 1 KiB | ≥ 12 x less CPU than aioboto3, one shared client | 13.00 x | met |" in text
    assert "less CPU than obstore (Rust), aim at 2 | 0.50 x | **missed** |" in text
    assert "- GET 1 KiB, CPU: obstore (Rust) is 2.00 x better." in text


def test_goals_not_measured_are_neither_met_nor_missed() -> None:
    """A goal without figures counts neither way."""
    found = {verdict.met for verdict in goals.verdicts(canned()) if verdict.subject != "GET 1 KiB"}
    assert found == {None}


def test_memory_limits_are_those_of_the_goals() -> None:
    """A stream may hold five parts and 32 MiB; a batch 32 MiB; one byte more is too much."""
    stream, batch = memory.checks(stream_mib=1, items=10, item_size=1)
    assert (stream.limit, batch.limit) == (72 * MIB, 32 * MIB)
    at_limit = Sample(1, 1, 1.0, 1.0, rss_start=MIB, rss_peak=MIB + stream.limit)
    assert ": ok;" in stream.line(at_limit)
    assert ": EXCEEDED;" in stream.line(replace(at_limit, rss_peak=at_limit.rss_peak + 1))


def test_results_survive_their_file(tmp_path: Path) -> None:
    """What was written is read back equal."""
    run = canned(FULL)
    run.write(tmp_path / "run.json")
    assert Results.read(tmp_path / "run.json") == run


def test_publishing_replaces_known_blocks_only() -> None:
    """Blocks with a name that is known are replaced, everything else stays."""
    text = "a\n" + "".join(
        f"<!-- benchmark:{name} -->\n{content}\n<!-- /benchmark -->\n"
        for name, content in (("cpu", "old"), ("x", "kept"))
    )
    filled = publish.fill(text, {"cpu": "new"})
    assert filled == text.replace("old", "new")
    assert publish.fill(filled, {"cpu": "new"}) == filled


def test_every_goal_names_a_workload_that_is_run() -> None:
    """No goal is left unmeasured because of a name."""
    for plan in (SHORT, FULL):
        names = {work.name for work in (*plan.workloads, *plan.once)}
        asked = {goal.workload for goal in goals._GOALS} - {"open"}
        assert asked <= names


def test_listings_lie_inside_each_other() -> None:
    """The prefix of a small listing starts with that of a larger one, so no key is stored twice."""
    counts = (10, 100, 1000)
    prefixes = [list_prefix(count, counts) for count in counts]
    assert all(small.startswith(large) for small, large in itertools.pairwise(prefixes))
    assert len(set(prefixes)) == len(counts)


def test_profile_knows_whose_code_it_is() -> None:
    """Files are counted for the part of the work they belong to."""
    assert group_of("/x/greenlang_async_storage/fastpath/transport/_pool.py").startswith("transport")
    assert group_of("/x/greenlang_async_storage/_retry.py").startswith("gate")
    assert group_of("/usr/lib/python3.11/asyncio/events.py") == "event loop and tasks"


@pytest.mark.asyncio
async def test_the_monitor_sees_a_stall() -> None:
    """What computes for 30 ms without letting go of the loop is seen as a stall, and as CPU."""
    with measuring.LoopMonitor() as monitor:
        await asyncio.sleep(0.005)
        end = time.thread_time() + 0.03
        while time.thread_time() < end:
            pass
        await asyncio.sleep(0.005)
    assert monitor.stall >= 0.02
    assert monitor.stall_cpu >= 0.02


@pytest.mark.asyncio
async def test_the_closed_loop_keeps_its_width() -> None:
    """Never more calls in flight than asked for, every one timed, each with its own number."""
    numbers: list[int] = []
    running = most = 0

    async def call(number: int) -> None:
        nonlocal running, most
        numbers.append(number)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    times = await measuring.closed_loop(call, in_flight=3, seconds=0.01)
    assert most == 3
    assert sorted(numbers) == list(range(len(times)))


def _tiny(works: tuple[Workload, ...]) -> tuple[Workload, ...]:
    shrunk = {"upload-file": 12 * MIB, "download-file": 12 * MIB, "stream": 12 * MIB}
    return tuple(replace(work, size=shrunk.get(work.kind, work.size)) for work in works)


@pytest.mark.timeout(180)
@pytest.mark.slow("starts worker processes")
def test_ours_does_every_workload(server: StorageServer, tmp_path: Path) -> None:
    """A worker process opens the SDK and measures every workload of the plan."""
    plan = replace(TINY, workloads=_tiny(TINY.workloads), once=_tiny(TINY.once))
    target: Target = runner.target_on(server, f"bench-{server.name}")
    asyncio.run(seed(target, plan, tmp_path, lambda _: None))
    works = [*plan.workloads, *plan.once]
    with WorkerProcess(Path(sys.executable), BY_NAME[OURS], target, tmp_path) as worker:
        assert worker.opening.wall > 0
        for work in works:
            assert work.includes(worker.entry)
            prefix = list_prefix(work.count, plan.keys) if work.kind == "list" else ""
            sample = worker.measure(work, prefix)
            assert sample.operations >= 1
            assert sample.cpu > 0
            assert sample.rss_peak > 0


def test_file_transfers_hold_as_many_parts_as_promised() -> None:
    """The goals table says at most six parts of 8 MiB, and objects of 1 KiB."""
    assert FILE_PARTS == 6
    assert {work.size for work in FULL.workloads if work.name.endswith("-1k")} == {KIB}
