"""A table with a row per model and a column per query."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models import common, dashboard, prometheus, table

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
) -> dashboard.Panel:
    """Rows by the label `key`, whose cells have the links; sorted by the first column."""
    cells = table.FieldConfig(filterable=True, cell_options=common.TableAutoCellOptions())
    config = Field("short", no_value=NO_TRAFFIC).config([], cells)
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
        options=_options(columns[0].title),
        transformations=_joined(key, key_title, columns),
    )


def _options(sorted_by: str) -> table.Options:
    options = table.Options(
        show_header=True,
        cell_height=common.TableCellHeight.SM,
        sort_by=[common.TableSortByFieldState(display_name=sorted_by, desc=True)],
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
        properties["color"] = dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
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
