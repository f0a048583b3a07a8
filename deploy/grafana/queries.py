"""PromQL, right for any number of replicas: sums come after `rate`, success and averages from counters, never from
gauges of single replicas. Each expression is bound to the dashboard's variables."""

PAIR = 'job=~"$job", instance=~"$instance"'
"""A replica: one gateway with its sidecar. Every query is bound to the chosen ones."""

MODEL = f'{PAIR}, model_id=~"$model_id"'

TOP = 20
"""Models in a panel with a series each; a thousand would be neither readable nor drawable."""


def series(metric: str, matchers: str = PAIR, *more: str) -> str:
    """A selector."""
    return f"{metric}{{{', '.join((matchers, *more))}}}"


def firing(severity: str, matchers: str = "") -> str:
    """Alerts of this project that fire; other alerts have other severities. `ALERTS` has a `job` and an `instance` only
    where the rule keeps them."""
    selector = ", ".join(filter(None, ('alertstate="firing"', f'severity=~"{severity}"', matchers)))
    return f"ALERTS{{{selector}}}"


def total(metric: str, by: str = "") -> str:
    """The sum of a gauge over replicas, by labels."""
    return f"sum{_by(by)} ({metric})"


def rate(counter: str, by: str = "") -> str:
    """Per second."""
    return f"sum{_by(by)} (rate({counter}[$__rate_interval]))"


def per_hour(counter: str, by: str = "") -> str:
    return f"3600 * {rate(counter, by)}"


def per_minute(counter: str, by: str = "") -> str:
    return f"60 * {rate(counter, by)}"


def count(counter: str, by: str = "") -> str:
    """How many in the dashboard's time range, exactly: of counters that the ledger keeps, which never go down.

    `increase` would stretch what the scrapes show to the whole range, and miss what a new series begins with. What was
    not there at the start of the range counts from 0, and so does what has gone down, of a ledger that was replaced. A
    range that starts while the sidecar was away starts with what was known an hour before, at the most.
    """
    before = f"last_over_time({counter}[1h] offset $__range) <= {counter}"
    return f"sum{_by(by)} ({counter} - (({before}) or 0 * {counter}))"


def increase_of_new(counter: str) -> str:
    """In the time range, of a counter that begins anew with its process; what was never seen before counts from 0."""
    before = f"last_over_time({counter}[1d] offset $__range)"
    return f"sum((increase({counter}[$__range]) and {before}) or ({counter} unless {before}))"


def last(gauge: str, by: str = "") -> str:
    """The sum of what each replica told last within the time range: also of one that is away."""
    return f"sum{_by(by)} (last_over_time({gauge}[$__range]))"


def percent(part: str, whole: str) -> str:
    """100 × part / whole; NaN where the whole is 0."""
    return f"100 * {part} / {whole}"


def percent_of_called(part: str, whole: str) -> str:
    """100 × part / whole; nothing where the whole is 0."""
    return f"100 * {part} / ({whole} > 0)"


UP = f"count({series('up')} == 1)"
"""Nothing where no sidecar can be scraped."""


def or_idle(expression: str) -> str:
    """NaN where a sidecar is there and has no figure, so that "No traffic" is told from "Not reported"."""
    return f"({expression}) or on () NaN * {UP}"


def told(expression: str) -> str:
    """The same, and nothing while no sidecar is up: what was fine before an outage says nothing of it."""
    return or_idle(f"({expression}) and on () {UP}")


def quantile(share: float, histogram: str, by: str = "", window: str = "$__rate_interval") -> str:
    """Of a histogram's `…_bucket` selector; nothing, rather than NaN, where nothing was observed."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}[{window}]))) >= 0"


def top(expression: str, few: int = TOP) -> str:
    """The highest few."""
    return f"topk({few}, {expression})"


def bottom(expression: str) -> str:
    """The lowest few."""
    return f"bottomk({TOP}, {expression})"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
