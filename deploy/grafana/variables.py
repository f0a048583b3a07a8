"""What can be chosen on top of a dashboard."""

from typing import Any

from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import DataSourceRef

from deploy.grafana.queries import PAIR

DATA_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

ANY = ".+"
"""What "All" stands for in a query: short, however many values there are."""


def data_source() -> dashboard.VariableModel:
    """Named by its type: `${DS_PROMETHEUS}` of exported dashboards is never filled in by provisioning."""
    return _variable(
        type_val=dashboard.VariableType.DATASOURCE,
        name="datasource",
        label="Data source",
        description="The Prometheus that scrapes the sidecars.",
        query="prometheus",
        current=dashboard.VariableOption(selected=True, text="Prometheus", value="prometheus"),
        refresh=dashboard.VariableRefresh.ON_DASHBOARD_LOAD,
    )


def job() -> dashboard.VariableModel:
    """All stands for the one that the rules name: also when no sidecar has told anything for so long that there is none
    to choose. `up` and `process_*` of other jobs are no sidecar's."""
    description = "Scrape job of the sidecars. All: metrics-sidecar."
    return _values_of_label("job", "Job", description, "sidecar_commits_total", "metrics-sidecar")


def instance() -> dashboard.VariableModel:
    metric = 'sidecar_commits_total{job=~"$job"}'
    return _values_of_label("instance", "Instance", "Replicas: a gateway and its sidecar each.", metric, ANY)


def model() -> dashboard.VariableModel:
    metric = f"model_invocations_total{{{PAIR}}}"
    return _values_of_label("model_id", "Model", "Models; beyond the sidecar's cap: __overflow__.", metric, ANY)


def gateway_url() -> dashboard.VariableModel:
    """Where a browser reaches the history API, through the gateway."""
    url = "http://localhost:8000"
    return _variable(
        type_val=dashboard.VariableType.TEXTBOX,
        name="gateway_url",
        label="Gateway URL",
        description="Where your browser reaches the gateway: links to the history lead there.",
        query=url,
        current=dashboard.VariableOption(selected=True, text=url, value=url),
    )


def _values_of_label(label: str, title: str, description: str, metric: str, every: str) -> dashboard.VariableModel:
    """`every`: the pattern that stands for all values."""
    return _variable(
        type_val=dashboard.VariableType.QUERY,
        name=label,
        label=title,
        description=description,
        datasource=DATA_SOURCE,
        # As Grafana's own editor writes it; 1 is its number for label values.
        query={
            "qryType": 1,
            "query": f"label_values({metric}, {label})",
            "refId": "PrometheusVariableQueryEditor-VariableQuery",
        },
        current=dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]),
        multi=True,
        include_all=True,
        all_value=every,
        refresh=dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=dashboard.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
    )


def _variable(**settings: Any) -> dashboard.VariableModel:
    """Without the settings that only intervals have, which the SDK would add."""
    return dashboard.VariableModel(auto=None, auto_min=None, auto_count=None, **settings)
