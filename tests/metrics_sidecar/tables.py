"""What a table says, for those who look at few of its figures."""

from typing import Any

from metrics_sidecar.history.aggregate import LATENCY, Table

Figures = dict[str, Any]


def rows_of(table: Table) -> dict[tuple[str, int], Figures]:
    """Group and step → all figures, by the names of their columns."""
    columns: dict[str, list[Any]] = dict(table.sums.items())
    for spread, percentiles in table.percentiles_us.items():
        begin = "" if spread == LATENCY else f"{spread} "
        columns |= {f"{begin}p{percent}": values for percent, values in percentiles.items()}
    if table.errors:
        columns["errors"] = table.errors
    keys = zip(table.groups, table.minutes, strict=True)
    return {key: {name: column[row] for name, column in columns.items()} for row, key in enumerate(keys)}


def counts(table: Table) -> dict[str, int]:
    """Records of each group, of all steps together."""
    found: dict[str, int] = {}
    for (group, _), figures in rows_of(table).items():
        found[group] = found.get(group, 0) + figures["success_count"] + figures["failure_count"]
    return found
