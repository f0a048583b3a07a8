"""Where a panel leads: to the single invocations behind it, to the other dashboard, to the sidecar's books."""

from urllib.parse import urlencode

from grafana_foundation_sdk.models import dashboard

GATEWAY_URL = "${gateway_url}"

# Grafana's own variables: its time as RFC 3339, which the API takes; a model's name may be anything, so it is escaped.
TIME_RANGE = "since=${__from:date:iso}&until=${__to:date:iso}"
MODEL_OF_SERIES = "${__field.labels.model_id:percentencode}"
ERROR_TYPE_OF_SERIES = "${__field.labels.error_type:percentencode}"
MODEL_OF_CELL = "${__value.raw:percentencode}"


def history(title: str, **filters: str) -> dashboard.DashboardLink:
    """The invocations of the dashboard's time range: all, or those that the filters of the history leave."""
    query = [f"{name}={value}" for name, value in filters.items() if value]
    return link(title, f"{GATEWAY_URL}/metrics/history?{'&'.join([*query, TIME_RANGE])}")


def of_series(status: str = "") -> list[dashboard.DashboardLink]:
    """From a series with a model to that model's invocations."""
    what = "failures" if status == "failure" else "invocations"
    return [history(f"History: {what} of ${{__field.labels.model_id}}", model_id=MODEL_OF_SERIES, status=status)]


def of_errors(model_id: str = "") -> list[dashboard.DashboardLink]:
    """From a series with a type of error, and maybe a model, to the failures of that type."""
    return [history("History: ${__field.labels.error_type}", model_id=model_id, error_type=ERROR_TYPE_OF_SERIES)]


def of_all(status: str = "") -> list[dashboard.DashboardLink]:
    """From a figure over all models to the invocations behind it."""
    return [history(f"History: all {'failures' if status == 'failure' else 'invocations'}", status=status)]


def reconcile() -> dashboard.DashboardLink:
    return link("Reconcile the books", f"{GATEWAY_URL}/metrics/reconcile")


def to_dashboard(title: str, uid: str) -> dashboard.DashboardLink:
    """The other dashboard, for the same replicas and the same time."""
    query = urlencode({"from": "${__from}", "to": "${__to}"}, safe="${}")
    variables = "&".join(f"${{{name}:queryparam}}" for name in ("datasource", "job", "instance"))
    return link(title, f"/d/{uid}?{query}&{variables}", new_tab=False)


def link(title: str, url: str, new_tab: bool = True) -> dashboard.DashboardLink:
    made = dashboard.DashboardLink(title=title, url=url, icon="external link", target_blank=new_tab)
    # The SDK puts each link into a menu, and has no way to say otherwise; without a placement it is where one looks.
    made.placement = None  # type: ignore[assignment]  # its encoder leaves out what is None
    return made
