"""What happened, marked on every graph."""

from grafana_foundation_sdk.models import dashboard, prometheus

from deploy.grafana.queries import PAIR
from deploy.grafana.variables import DATA_SOURCE


def alerts(matchers: str = "") -> dashboard.AnnotationQuery:
    """Alerts while they fire. `ALERTS` has a `job` and an `instance` only where the rule keeps them."""
    selector = ", ".join(filter(None, ('alertstate="firing"', matchers)))
    return _annotation(
        "Alerts",
        f"ALERTS{{{selector}}}",
        color="red",
        title="{{alertname}} {{model_id}}",
        text="severity {{severity}}",
        tags="severity,model_id,instance",
    )


def restarts() -> dashboard.AnnotationQuery:
    """A sidecar that started anew."""
    expression = f"changes(process_start_time_seconds{{{PAIR}}}[$__rate_interval]) > 0"
    return _annotation(
        "Restarts", expression, color="blue", title="Sidecar restarted", text="{{instance}}", tags="instance"
    )


def _annotation(name: str, expr: str, *, color: str, title: str, text: str, tags: str) -> dashboard.AnnotationQuery:
    return dashboard.AnnotationQuery(
        name=name,
        datasource=DATA_SOURCE,
        icon_color=color,
        target=prometheus.Dataquery(expr=expr, ref_id="Anno", range_val=True, interval="15s", datasource=DATA_SOURCE),
        title_format=title,
        text_format=text,
        tag_keys=tags,
    )
