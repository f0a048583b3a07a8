"""The results as a table for people."""

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure, Results

STYLES = {"pass": "green", "short": "bold red", "not measurable": "yellow", "": ""}


def print_table(console: Console, results: Results) -> None:
    """One row per figure, and the notes below."""
    table = Table(title="Medians of interleaved runs; CPU time is that of the measured processes alone")
    for heading in ("line", "figure", "unit"):
        table.add_column(heading)
    table.add_column("ours", justify="right")
    table.add_column("yardstick", justify="right")
    table.add_column("", overflow="fold")
    table.add_column("ratio", justify="right")
    table.add_column("budget", justify="right")
    table.add_column("verdict")
    for line, result in results.items():
        for figure in result.outcome.figures:
            table.add_row(line, *cells(figure), style=STYLES[figure.verdict])
        table.add_section()
    console.print(table)
    for line, result in results.items():
        for figure in result.outcome.figures:
            if figure.note:
                console.print(f"{line}, {figure.name}: {figure.note}", highlight=False)


def cells(figure: Figure) -> tuple[str, ...]:
    """Name, unit, ours, yardstick and its name, ratio, budget, verdict."""
    return (
        figure.name,
        figure.unit,
        number(figure.ours),
        number(figure.yardstick),
        figure.yardstick_name,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if figure.budget is None else str(figure.budget),
        figure.verdict,
    )


def number(value: float | None) -> str:
    """Three digits at least."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
