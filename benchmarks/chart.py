"""
The charts of a run, SVG and PNG; runs in .venv-bench, which has matplotlib.

    python -m benchmarks.chart benchmarks/results/full.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from benchmarks import results as figures
from benchmarks.candidates import BASELINE, BY_NAME, ENTRIES, OURS, RUST
from benchmarks.report import scaling_lines
from benchmarks.results import Results
from benchmarks.workloads import Workload

_OWN: Final = "#2e7d32"
_LIGHT: Final = "#81c784"
_COLOURS: Final = {OURS: _OWN, BASELINE: "#616161", RUST: "#c2571a"}
_PEER: Final = "#b0bec5"
_SHOWN: Final = (
    OURS,
    "bucket-uvloop",
    "bucket-plain",
    "enable",
    BASELINE,
    "boto3",
    "s3fs",
    "miniopy",
    "aiohttp-s3",
    RUST,
)
_COLUMNS: Final = 4
_ABOUT_MEMORY: Final = ("stream", "batch")


def colour(name: str) -> str:
    """Green for what is ours, one colour each for the two we are measured against."""
    return _COLOURS.get(name, _LIGHT if BY_NAME[name].own else _PEER)


def pyplot() -> Any:  # noqa: ANN401  # the project's own environment has no matplotlib
    """Matplotlib without a display."""
    import matplotlib as mpl  # type: ignore[import-not-found]

    mpl.use("agg")
    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "font.size": 9, "axes.spines.top": False})
    import matplotlib.pyplot as plt  # type: ignore[import-not-found]

    return plt


def save(figure: Any, path: Path) -> None:  # noqa: ANN401  # see above
    """*figure* as SVG and PNG under the name of *path*."""
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=120)


def bars(results: Results, path: Path) -> None:
    """CPU per unit, a panel for each workload; shorter is better."""
    plt = pyplot()
    works = [
        work
        for work in results.workloads
        if work.axis is None and work.kind not in _ABOUT_MEMORY and results.samples(OURS, work.name)
    ]
    if not works:
        return
    rows = -(-len(works) // _COLUMNS)
    figure, axes = plt.subplots(
        rows, _COLUMNS, figsize=(4 * _COLUMNS, 3.2 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(works) :]:
        axis.set_visible(False)
    for axis, work in zip(axes.flat, works, strict=False):
        _bar_panel(axis, results, work)
    figure.suptitle(f"Client CPU, µs ({results.date}); shorter is better")
    save(figure, path)


def _bar_panel(axis: Any, results: Results, work: Workload) -> None:  # noqa: ANN401  # see above
    shown = [name for name in _SHOWN if results.samples(name, work.name)][::-1]
    values = [(results.figure(name, work.name, figures.cpu) or 0.0) * 1e6 for name in shown]
    drawn = axis.barh([BY_NAME[name].label for name in shown], values, color=[colour(name) for name in shown])
    axis.bar_label(drawn, fmt="{:,.0f}" if max(values) >= 100 else "{:.1f}", padding=2, fontsize=8)
    axis.set_title(work.label if work.unit == "operation" else f"{work.label}, per {work.unit}", fontsize=10)
    axis.set_xlim(0, max(values) * 1.2)
    axis.spines["right"].set_visible(False)
    axis.set_xticks([])
    axis.tick_params(axis="y", length=0)


def lines(results: Results, path: Path) -> None:
    """CPU by concurrency, size and number of keys, both axes logarithmic."""
    groups = scaling_lines(results)
    if not groups:
        return
    plt = pyplot()
    rows = -(-len(groups) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(10, 3.8 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(groups) :]:
        axis.set_visible(False)
    for axis, (title, works) in zip(axes.flat, groups, strict=False):
        for entry in ENTRIES:
            points = [(work.x, results.figure(entry.name, work.name, figures.cpu)) for work in works]
            known = [(x, value * 1e6) for x, value in points if value is not None]
            if known:
                style = "--" if entry.uvloop else "-"
                axis.plot(
                    *zip(*known, strict=True),
                    style,
                    marker="o",
                    ms=3,
                    label=entry.label,
                    color=_line_colour(entry.name),
                )
        what, _, unit = title.partition(", ")
        axis.set(xscale="log", yscale="log", title=what, ylabel=f"µs of CPU {unit}")
        axis.set_xticks([work.x for work in works], [_short(work.x) for work in works], minor=False)
        axis.xaxis.set_minor_locator(plt.NullLocator())
        axis.yaxis.set_major_formatter(plt.FuncFormatter(_tick))
        axis.yaxis.set_minor_formatter(plt.FuncFormatter(_tick))
        axis.grid(visible=True, which="major", alpha=0.3)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    save(figure, path)


def _short(value: int) -> str:
    """2048 as 2Ki, 50000 as 50k."""
    for size, suffix in ((1024**2, "Mi"), (1024, "Ki"), (1000, "k")):
        if value >= size and value % size == 0:
            return f"{value // size}{suffix}"
    return str(value)


def _tick(value: float, _position: int | None = None) -> str:
    """The label of 1, 2 and 5 of each power of ten; the others go without."""
    return f"{value:,.6g}" if f"{value:.0e}"[0] in "125" else ""


def _line_colour(name: str) -> str:
    return {"miniopy": "#5c6bc0", "aiohttp-s3": "#8d6e63"}.get(name, colour(name))


def draw(data: Path) -> None:
    """Draw the charts of the run in *data* beside it."""
    results = Results.read(data)
    bars(results, data)
    lines(results, data if data.stem == "scaling" else data.with_name(f"{data.stem}-scaling"))


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
