"""The plot of `benchmarks.soak`; runs in .venv-bench, which has matplotlib."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

from benchmarks.chart import pyplot, save

_GREEN, _ORANGE, _BLUE, _GREY = "#2e7d32", "#c2571a", "#5c6bc0", "#616161"


def draw(data: Path, plot: Path) -> None:
    """Memory, descriptors with tasks, and requests per second over time, as *plot*.svg and .png."""
    run = json.loads(data.read_text())
    rows = run["samples"]
    minutes = [row["at"] / 60 for row in rows]
    figure, (memory, held, rate) = pyplot().subplots(
        3, 1, figsize=(8, 6.4), sharex=True, layout="constrained"
    )
    memory.plot(minutes, [row["rss"] for row in rows], color=_GREEN, lw=1)
    memory.set(ylabel="resident set, MiB")
    held.plot(minutes, [row["fds"] for row in rows], color=_ORANGE, lw=1, label="descriptors")
    held.plot(minutes, [row["connections"] for row in rows], color=_BLUE, lw=1, label="sockets")
    held.plot(minutes, [row["tasks"] for row in rows], color=_GREY, lw=1, label="tasks")
    held.set(ylabel="open")
    held.legend(fontsize=8, ncols=3, loc="lower right")
    speed = [(now["requests"] - old["requests"]) / (now["at"] - old["at"]) for old, now in pairwise(rows)]
    rate.plot(minutes[1:], speed, color=_GREEN, lw=1)
    rate.set(ylabel="requests per second", xlabel="minutes")
    for axis in (memory, held, rate):
        axis.set_ylim(0, axis.get_ylim()[1] * 1.15)
        axis.axvspan(0, run["warm_up"] / 60, color="#eceff1", lw=0)
        axis.grid(visible=True, alpha=0.3)
        axis.margins(x=0)
        axis.spines["right"].set_visible(False)
    requests = f"{rows[-1]['requests']:,} requests by {run['callers']} callers"
    change = f"memory {run['drift_mib']:+.1f} MiB after the warm-up (grey)"
    figure.suptitle(f"{requests} on MinIO, {run['machine']['cores']} cores, {run['date']}; {change}", size=10)
    save(figure, plot)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
