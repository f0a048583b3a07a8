"""The plots of the report, as SVG, from the results alone."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

# matplotlib is installed for the bench only: elsewhere it has no types.
# mypy: disable-error-code="import-not-found, unused-ignore"
import matplotlib
from matplotlib.figure import Figure

from tests.bench.figures import Point, Results

# Texts stay texts, and the same results give the same file.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 10})


@dataclasses.dataclass(frozen=True)
class Plot:
    """How the points of one name are shown."""

    name: str
    title: str
    x: str
    y: str
    log_y: bool = False


PLOTS = (
    Plot("cpu-by-connections", "CPU per request against connections", "connections", "CPU µs per request"),
    Plot("cpu-by-body", "CPU per request against body size", "bytes of body", "CPU µs per request", log_y=True),
    Plot("ingest-by-batch", "Records into the sidecar against batch size", "records per batch", "records per second"),
    Plot("scrape-by-models", "A scrape of /metrics against models", "models", "CPU ms per scrape", log_y=True),
    Plot("rss-by-models", "Memory of the sidecar against models", "models", "MiB RSS"),
    Plot("rss-by-rows", "Memory of the sidecar against rows, 1,000 models", "rows", "MiB RSS"),
)


def draw_plots(results: Results, directory: Path) -> list[tuple[Plot, Path]]:
    """One file per plot that the results have points for."""
    directory.mkdir(exist_ok=True)
    points = [point for result in results.values() for point in result.outcome.points]
    drawn = []
    for plot in PLOTS:
        mine = [point for point in points if point.plot == plot.name]
        if mine:
            path = directory / f"{plot.name}.svg"
            _draw(plot, mine, path)
            drawn.append((plot, path))
    return drawn


def _draw(plot: Plot, points: Sequence[Point], path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for curve in dict.fromkeys(point.curve for point in points):
        mine = sorted((point.x, point.y) for point in points if point.curve == curve)
        axes.plot([x for x, _ in mine], [y for _, y in mine], marker="o", label=curve)
    xs = sorted({point.x for point in points})
    axes.set_xscale("log")
    axes.set_xticks(xs, [f"{x:,.0f}" for x in xs], minor=False)
    axes.set_xticks([], minor=True)
    if plot.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, max(point.y for point in points) * 1.2)
    axes.yaxis.set_major_formatter(lambda y, _position: f"{y:,g}")
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})
