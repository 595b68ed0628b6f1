"""A run as Markdown: tables of figures, the goals, and where the SDK loses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from benchmarks import results as figures
from benchmarks.candidates import BASELINE, BY_NAME, ENTRIES, MIB, OURS, RUST, Entry
from benchmarks.goals import Verdict, label_of, losses, verdicts
from benchmarks.results import Figure, Pass, Results
from benchmarks.workloads import OPENING, Workload

MISSING = "-"
_LOSSES_SHOWN = 25


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; figures to the right."""
    rule = "|".join(["---", *("---:" for _ in head[1:])])
    lines = [f"| {' | '.join(head)} |", f"|{rule}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float | None, digits: int = 3) -> str:
    """*value* with about *digits* significant digits, thousands set apart."""
    if value is None:
        return MISSING
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{max(0, digits - 1 - len(str(int(value))) + 1)}f}"


def circumstances(results: Results) -> str:
    """One paragraph: when, on what, with which versions."""
    machine, known = results.machine, results.versions
    versions = ", ".join(f"{name} {version}" for name, version in known.items() if name != "python")
    return (
        f"{results.date}, {results.plan} run, {results.rounds} rounds: {machine['cores']} cores of "
        f"{machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}; "
        f"{known.get('python', 'Python')}; {versions}; MinIO on the same machine, plain http over loopback."
    )


def _present(results: Results) -> list[Entry]:
    return [entry for entry in ENTRIES if results.has(entry.name)]


def main_workloads(results: Results) -> list[Workload]:
    """What was measured and is no point of a scaling plot."""
    measured = {record.workload for record in results.records}
    return [work for work in results.workloads if work.axis is None and work.name in measured]


def _matrix(
    results: Results,
    columns: Sequence[tuple[str, str]],
    cell: Callable[[str, str], str],
) -> str:
    rows = [
        [_bold(entry, entry.label), *(cell(entry.name, name) for name, _ in columns)]
        for entry in _present(results)
    ]
    kept = [row for row in rows if any(value != MISSING for value in row[1:])]
    return table(["", *(title for _, title in columns)], kept)


def _bold(entry: Entry, text: str) -> str:
    return f"**{text}**" if entry.name == OURS else text


def _columns(results: Results, *kinds: str) -> list[tuple[str, str]]:
    return [
        (work.name, work.label if work.unit == "operation" else f"{work.label}, per {work.unit}")
        for work in main_workloads(results)
        if not kinds or work.kind in kinds
    ]


def cpu_table(results: Results) -> str:
    """µs of CPU of everybody at everything."""
    columns = [(OPENING, "open + first PUT, ms"), *_columns(results)]

    def cell(candidate: str, workload: str) -> str:
        if workload == OPENING:
            value = results.figure(candidate, workload, figures.wall)
            return number(None if value is None else value * 1e3)
        value = results.figure(candidate, workload, figures.cpu)
        return number(None if value is None else value * 1e6)

    return _matrix(results, columns, cell)


def ratio_table(results: Results) -> str:
    """How many times less CPU than each peer, for `Bucket`: per round, then the median."""
    columns = _columns(results)
    rows = []
    for entry in _present(results):
        if entry.own:
            continue
        ratios = [results.ratio(entry.name, OURS, name, figures.cpu) for name, _ in columns]
        if any(ratio is not None for ratio in ratios):
            rows.append([entry.label, *(_times(ratio) for ratio in ratios)])
    return table(["Bucket uses … x less CPU than", *(title for _, title in columns)], rows)


def _times(ratio: float | None) -> str:
    return MISSING if ratio is None else f"{number(ratio)} x"


def figure_table(
    results: Results,
    figure: Figure,
    scale: float,
    *,
    kinds: Sequence[str] = (),
    measured: Pass = "cpu",
    opening: bool = False,
) -> str:
    """The median of *figure*, times *scale*, for everybody; of stalls the longest."""
    columns = _columns(results, *kinds)
    if opening:
        columns.insert(0, (OPENING, "open + first PUT"))
    middle = results.worst if measured == "stall" else results.figure

    def cell(candidate: str, workload: str) -> str:
        value = middle(candidate, workload, figure, measured)
        return number(None if value is None else value * scale)

    return _matrix(results, columns, cell)


def goals_table(results: Results) -> str:
    """Every goal with what was measured."""
    rows = [[item.subject, item.wanted, item.measured, _met(item)] for item in verdicts(results)]
    return table(["goal", "wanted", "measured", ""], rows)


def _met(verdict: Verdict) -> str:
    return {True: "met", False: "**missed**", None: MISSING}[verdict.met]


def losses_text(results: Results) -> str:
    """Where a peer is better, as a list; the goals that were missed first."""
    missed = [item for item in verdicts(results) if item.met is False]
    lines = [
        f"- Goal missed: {item.subject}: wanted {item.wanted}, measured {item.measured}." for item in missed
    ]
    found = losses(results)
    lines += [
        f"- {loss.workload}, {loss.figure}: {loss.peer} is {number(loss.ratio)} x better."
        for loss in found[:_LOSSES_SHOWN]
    ]
    if len(found) > _LOSSES_SHOWN:
        lines.append(f"- … and {len(found) - _LOSSES_SHOWN} smaller ones; the JSON file has them all.")
    return "\n".join(lines) if lines else "- In this run, nowhere by more than 5 %."


def headline(results: Results) -> str:
    """The short table of the README: µs of CPU of the SDK and the two peers it is measured against."""
    names = [name for name in (OURS, "bucket-uvloop", BASELINE, RUST) if results.has(name)]
    rows = []
    for name, title in _columns(results):
        values = [results.figure(candidate, name, figures.cpu) for candidate in names]
        if sum(value is not None for value in values) > 1:
            cells = [number(None if value is None else value * 1e6) for value in values]
            ratios = [_times(results.ratio(peer, OURS, name, figures.cpu)) for peer in (BASELINE, RUST)]
            rows.append([title, *cells, *ratios])
    return table(
        ["CPU, µs", *(BY_NAME[name].label for name in names), "less than aioboto3", "less than obstore"], rows
    )


def markdown(results: Results) -> str:
    """The whole report."""
    calls = ("put", "get", "head")
    cost = (
        ""
        if results.monitor_cost is None
        else f" (the monitor itself takes {results.monitor_cost:.1%} of a core)"
    )
    files = ("upload-file", "download-file", "stream")
    sections = [
        ("CPU", "µs of user and system time of the whole process, median of the rounds.", cpu_table(results)),
        ("Ratios", "Taken round by round, then the median.", ratio_table(results)),
        ("Goals", "", goals_table(results)),
        ("Where it loses", "`Bucket` on asyncio with the fast path.", losses_text(results)),
        (
            "Throughput",
            "Operations, keys or MiB a second; the server shares the machine and is often the limit.",
            figure_table(results, figures.throughput, 1),
        ),
        ("Latency, p50", "ms.", figure_table(results, figures.p50, 1e3, kinds=calls)),
        ("Latency, p99", "ms.", figure_table(results, figures.p99, 1e3, kinds=calls)),
        (
            "Memory",
            "Peak resident MiB, everything included; each cell in a process of its own.",
            figure_table(results, figures.rss, 1 / MIB, kinds=(*files, "batch")),
        ),
        (
            "Memory growth",
            "MiB above the start (of a batch: above what a tenth of its items took).",
            figure_table(results, figures.growth, 1 / MIB, kinds=(*files, "batch")),
        ),
        (
            "Longest stall of the event loop",
            f"ms, in a pass of its own{cost}. Includes what the machine did to the process.",
            figure_table(results, figures.stall, 1e3, measured="stall", opening=True),
        ),
        (
            "CPU of the longest stall",
            "ms the loop's thread computed between two ticks: the part no other process caused.",
            figure_table(results, figures.stall_cpu, 1e3, measured="stall", opening=True),
        ),
    ]
    if not main_workloads(results):
        sections = []
    scaling = scaling_tables(results)
    if scaling:
        sections.append(("Scaling", "CPU in µs.", scaling))
    body = "\n\n".join(
        "\n\n".join(filter(None, (f"## {title}", note, text))) for title, note, text in sections
    )
    failures = "".join(f"\n- {line}" for line in results.failures)
    failed = f"\n\n## Failures\n{failures}" if failures else ""
    return f"# Benchmark\n\n{circumstances(results)}\n\n{body}{failed}\n"


def scaling_tables(results: Results) -> str:
    """A table for each line of the scaling plots."""
    blocks = []
    for title, works in scaling_lines(results):
        names = [entry for entry in _present(results) if results.samples(entry.name, works[0].name)]
        rows = []
        for work in works:
            values = [results.figure(entry.name, work.name, figures.cpu) for entry in names]
            cells = [number(None if value is None else value * 1e6) for value in values]
            rows.append([label_of(results, work.name), *cells])
        blocks.append(table([title, *(entry.label for entry in names)], rows))
    return "\n\n".join(blocks)


def scaling_lines(results: Results) -> list[tuple[str, list[Workload]]]:
    """The workloads of each plot with its title, in the order of x."""
    groups: dict[str, list[Workload]] = {}
    for work in results.workloads:
        if work.axis is None or not any(record.workload == work.name for record in results.records):
            continue
        title = {
            "concurrency": "GET 1 KiB by calls in flight, per call",
            "size": f"{work.kind.upper()} by object size in bytes, per call",
            "keys": "listing by number of keys, per key",
        }[work.axis]
        groups.setdefault(title, []).append(work)
    return [(title, sorted(works, key=lambda work: work.x)) for title, works in groups.items()]
