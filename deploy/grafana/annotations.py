"""What happened, marked below every graph, a lane for each kind."""

from grafana_foundation_sdk.models import dashboard, prometheus

from deploy.grafana import queries as q
from deploy.grafana.variables import DATA_SOURCE


def pages(matchers: str = "") -> dashboard.AnnotationQuery:
    """Alerts that need someone now, while they fire: one mark for all models and replicas that have the same one.
    Tickets stand in the list of alerts: they last for hours, and would cover all else."""
    return _annotation(
        "Pages",
        f"group by (alertname) ({q.firing('page', matchers)})",
        color="red",
        title="{{alertname}}",
        text="a page, while it fires",
        tags="alertname",
    )


def restarts() -> dashboard.AnnotationQuery:
    """A sidecar that started: at the time that the process itself tells, whatever is seen of it."""
    started = f"1000 * {q.series('process_start_time_seconds')}"
    return _annotation(
        "Restarts",
        f"{started} >= ${{__from}}",
        color="blue",
        title="Sidecar started",
        text="{{instance}}",
        tags="instance",
        value_is_time=True,
    )


def _annotation(
    name: str, expr: str, *, color: str, title: str, text: str, tags: str, value_is_time: bool | None = None
) -> dashboard.AnnotationQuery:
    """`value_is_time`: the mark is where the value says, in ms since 1970, and not where the sample is."""
    return dashboard.AnnotationQuery(
        name=name,
        datasource=DATA_SOURCE,
        icon_color=color,
        target=prometheus.Dataquery(expr=expr, ref_id="Anno", range_val=True, interval="15s", datasource=DATA_SOURCE),
        title_format=title,
        text_format=text,
        tag_keys=tags,
        use_value_for_time=value_is_time,
    )
