"""The plot of `benchmarks.ray_scaling`; runs in .venv-bench, which has matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.chart import pyplot, save


def draw(data: Path) -> None:
    """Objects per second by number of actors, beside *data*."""
    told = json.loads(data.read_text())
    figure, axis = pyplot().subplots(figsize=(6, 3.6), layout="constrained")
    actors = [row["actors"] for row in told["rows"]]
    for job in ("upload", "verify", "copy"):
        axis.plot(actors, [row[job]["objects_per_second"] for row in told["rows"]], marker="o", label=job)
    axis.set(xlabel="actors", ylabel="objects per second", xticks=actors)
    axis.set_ylim(bottom=0)
    what = f"{told['objects']:,} objects of {told['size'] // 1024} KiB"
    axis.set_title(f"{what}, MinIO and actors on {told['machine']['cores']} cores")
    axis.grid(visible=True, alpha=0.3)
    axis.legend()
    save(figure, data)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
