"""The kinds of panel in use, each with this project's looks; the texts, queries and links come from the dashboards."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import bargauge, common, dashboard, heatmap, piechart, prometheus, stat, timeseries

from deploy.grafana.fields import Field
from deploy.grafana.variables import DATA_SOURCE

Links = list[dashboard.DashboardLink]


@dataclass(frozen=True)
class Query:
    """An expression and how its series are called: a text with `{{label}}`s."""

    expr: str
    legend: str = ""
    exemplars: bool = False


class GraphOptions(timeseries.Options):
    """With annotations in lanes of their own, which the SDK doesn't know yet."""

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "annotations": {"multiLane": True}}


def stat_panel(
    title: str,
    description: str,
    queries: str | Sequence[Query],
    field: Field,
    links: Links | None = None,
    *,
    since: str | None = None,
) -> dashboard.Panel:
    """A figure of now or of the whole time range; with legends if there may be several, or it has a name. Never the
    last of a course: what was last reported an hour ago is not how things are. `since`: a time range of its own up to
    now, in Grafana's words."""
    named = not isinstance(queries, str)
    options = stat.Options(
        graph_mode=common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.VALUE,
        text_mode=common.BigValueTextMode.VALUE_AND_NAME if named else common.BigValueTextMode.VALUE,
        reduce_options=_last(),
    )
    asked = [Query(queries)] if isinstance(queries, str) else queries
    made = _panel("stat", title, description, asked, field.of_figures(links or []), options, instant=True)
    made.time_from = since
    return made


def bars(
    title: str, description: str, query: Query, field: Field, links: Links, *, by_limits: bool = False
) -> dashboard.Panel:
    """A bar for each series, coloured by the field's limits or each by its name."""
    options = bargauge.Options(
        display_mode=common.BarGaugeDisplayMode.BASIC,
        value_mode=common.BarGaugeValueMode.TEXT,
        orientation=common.VizOrientation.HORIZONTAL,
        reduce_options=_last(),
    )
    config = field.of_figures(links) if by_limits else field.of_series(links)
    return _panel("bargauge", title, description, [query], config, options, instant=True)


def pie(title: str, description: str, query: Query, field: Field, links: Links) -> dashboard.Panel:
    """The shares of each series."""
    options = piechart.Options(
        pie_type=piechart.PieChartType.DONUT,
        display_labels=[piechart.PieChartLabels.PERCENT],
        reduce_options=_last(),
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.SINGLE),
        legend=piechart.PieChartLegendOptions(
            display_mode=common.LegendDisplayMode.TABLE,
            placement=common.LegendPlacement.RIGHT,
            show_legend=True,
            values=[piechart.PieChartLegendValues.VALUE, piechart.PieChartLegendValues.PERCENT],
        ),
    )
    return _panel(
        "piechart", title, description, [query], field.of_series(links, piechart.FieldConfig()), options, instant=True
    )


def graph(
    title: str,
    description: str,
    queries: Sequence[Query],
    field: Field,
    links: Links | None = None,
    *,
    stacked: bool = False,
    low_is_worse: bool = False,
) -> dashboard.Panel:
    """Series over time, the worst first in the legend; limits that have steps are drawn as dashed lines."""
    dashed = common.GraphThresholdsStyleMode.DASHED if field.limits.steps else common.GraphThresholdsStyleMode.OFF
    custom = timeseries.FieldConfig(
        line_width=1,
        fill_opacity=25 if stacked else 8,
        show_points=common.VisibilityMode.NEVER,
        stacking=common.StackingConfig(mode=common.StackingMode.NORMAL if stacked else common.StackingMode.NONE),
        thresholds_style=common.GraphThresholdsStyleConfig(mode=dashed),
    )
    options = GraphOptions(
        legend=common.VizLegendOptions(
            display_mode=common.LegendDisplayMode.TABLE,
            placement=common.LegendPlacement.BOTTOM,
            show_legend=True,
            calcs=["lastNotNull", "min" if low_is_worse else "max"],
            sort_by="Last *",  # what Grafana calls lastNotNull there
            sort_desc=not low_is_worse,
        ),
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING),
    )
    config = field.of_series(links or [], custom)
    return _panel("timeseries", title, description, queries, config, options, instant=False)


def heat(title: str, description: str, query: Query, field: Field, links: Links) -> dashboard.Panel:
    """A histogram over time: a row per bucket (`le`), darker where more fell into it."""
    options = heatmap.Options(
        calculate=False,
        color=heatmap.HeatmapColorOptions(
            mode=heatmap.HeatmapColorMode.SCHEME, scheme="Blues", fill="blue", exponent=0.5, steps=64
        ),
        filter_values=heatmap.FilterValueRange(le=1e-9),
        rows_frame=heatmap.RowsHeatmapOptions(layout=common.HeatmapCellLayout.AUTO),
        show_value=common.VisibilityMode.NEVER,
        y_axis=heatmap.YAxisConfig(unit=field.unit, axis_placement=common.AxisPlacement.LEFT),
        legend=heatmap.HeatmapLegend(show=True),
        tooltip=heatmap.HeatmapTooltip(mode=common.TooltipDisplayMode.SINGLE, y_histogram=True),
        exemplars=heatmap.ExemplarConfig(color="rgba(255,0,255,0.7)"),
    )
    made = _panel(
        "heatmap", title, description, [query], field.of_series(links, heatmap.FieldConfig()), options, instant=False
    )
    made.targets = targets([query], instant=False, form=prometheus.PromQueryFormat.HEATMAP)
    return made


def targets(
    queries: Sequence[Query],
    *,
    instant: bool,
    form: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES,
) -> list[Dataquery]:
    """Queries A, B, C, … of one panel."""
    return [
        prometheus.Dataquery(
            ref_id=letter,
            expr=query.expr,
            legend_format=query.legend or "__auto",
            exemplar=query.exemplars,
            instant=instant,
            range_val=not instant,
            format_val=form,
            editor_mode=prometheus.QueryEditorMode.CODE,
            datasource=DATA_SOURCE,
        )
        for letter, query in zip(string.ascii_uppercase, queries, strict=False)
    ]


def _last() -> common.ReduceDataOptions:
    """NaN, too, which has a text of its own."""
    return common.ReduceDataOptions(calcs=["last"], values=False, fields="")


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: Sequence[Query],
    config: dashboard.FieldConfigSource,
    options: object,
    *,
    instant: bool,
) -> dashboard.Panel:
    return dashboard.Panel(
        type_val=kind,
        title=title,
        description=description,
        datasource=DATA_SOURCE,
        targets=targets(queries, instant=instant),
        field_config=config,
        options=options,
    )
