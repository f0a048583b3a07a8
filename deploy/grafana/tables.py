"""A table with a row per model and a column per query."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models import common, dashboard, prometheus, table, units

from deploy.grafana.fields import NEUTRAL, NO_TRAFFIC, Field, Limits, override
from deploy.grafana.panels import Query, targets
from deploy.grafana.variables import DATA_SOURCE


@dataclass(frozen=True)
class Column:
    """One figure of each row. Its query gives one series per row."""

    title: str
    expr: str
    unit: str
    decimals: float | None = None
    limits: Limits = NEUTRAL


def table_panel(
    title: str,
    description: str,
    key: str,
    key_title: str,
    columns: Sequence[Column],
    key_links: list[dashboard.DashboardLink],
    worst_by: str,
) -> dashboard.Panel:
    """Rows by the label `key`, whose cells have the links; the highest of the column `worst_by` first."""
    cells = table.FieldConfig(filterable=True, cell_options=common.TableAutoCellOptions())
    config = Field(units.NoUnit, no_value=NO_TRAFFIC).of_figures([], cells)
    config.overrides = [override(key_title, links=key_links, unit="string"), *map(_look, columns)]
    return dashboard.Panel(
        type_val="table",
        title=title,
        description=description,
        datasource=DATA_SOURCE,
        targets=targets(
            [Query(column.expr) for column in columns], instant=True, form=prometheus.PromQueryFormat.TABLE
        ),
        field_config=config,
        options=_options(worst_by),
        transformations=_joined(key, key_title, columns),
    )


def list_panel(
    title: str, description: str, query: str, columns: Mapping[str, str], colors: Mapping[str, str], no_value: str
) -> dashboard.Panel:
    """A row for each series and a column for each of these labels (label → title; `Value` is the series' value), sorted
    by the first, whose values have colours."""
    first = next(iter(columns.values()))
    mapped = {value: dashboard.ValueMappingResult(color=color) for value, color in colors.items()}
    cells = table.FieldConfig(filterable=True, cell_options=common.TableAutoCellOptions())
    config = Field(units.LocaleFormat, decimals=0, no_value=no_value).of_figures([], cells)
    look = {"custom__cellOptions": {"type": "color-text"}, "mappings": [dashboard.ValueMap(mapped)]}
    config.overrides = [override(first, **look)]
    places = {label: place for place, label in enumerate(columns)}
    only = dashboard.DataTransformerConfig(
        id_val="filterFieldsByName", options={"include": {"names": list(columns)}, "byVariable": False}
    )
    named = {"excludeByName": {}, "indexByName": places, "renameByName": dict(columns)}
    return dashboard.Panel(
        type_val="table",
        title=title,
        description=description,
        datasource=DATA_SOURCE,
        targets=targets([Query(query)], instant=True, form=prometheus.PromQueryFormat.TABLE),
        field_config=config,
        options=_options(first, desc=False),
        transformations=[only, dashboard.DataTransformerConfig(id_val="organize", options=named)],
    )


def _options(sorted_by: str, desc: bool = True) -> table.Options:
    options = table.Options(
        show_header=True,
        cell_height=common.TableCellHeight.SM,
        sort_by=[common.TableSortByFieldState(display_name=sorted_by, desc=desc)],
    )
    options.footer = None  # the SDK adds one, which today's Grafana doesn't have any more
    return options


def _look(column: Column) -> dashboard.DashboardFieldConfigSourceOverrides:
    properties: dict[str, object] = {"unit": column.unit}
    if column.decimals is not None:
        properties["decimals"] = column.decimals
    if column.limits.steps:
        properties["thresholds"] = column.limits.thresholds()
        properties["custom__cellOptions"] = {"type": "color-text"}
    return override(column.title, **properties)


def _joined(key: str, key_title: str, columns: Sequence[Column]) -> list[dashboard.DataTransformerConfig]:
    """Grafana's table format names a query's values `Value #A`; rows that a query lacks stay empty."""
    values = {f"Value #{letter}": column.title for letter, column in zip(string.ascii_uppercase, columns, strict=False)}
    order = {name: place for place, name in enumerate([key, *values])}
    return [
        dashboard.DataTransformerConfig(id_val="merge", options={}),
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": order,
                "renameByName": {key: key_title, **values},
            },
        ),
    ]
