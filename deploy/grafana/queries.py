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


def total(metric: str, by: str = "") -> str:
    """The sum of a gauge over replicas, by labels."""
    return f"sum{_by(by)} ({metric})"


def rate(counter: str, by: str = "") -> str:
    """Per second."""
    return f"sum{_by(by)} (rate({counter}[$__rate_interval]))"


def per_minute(counter: str, by: str = "") -> str:
    return f"60 * {rate(counter, by)}"


def increase(counter: str, by: str = "") -> str:
    """How many in the dashboard's time range."""
    return f"sum{_by(by)} (increase({counter}[$__range]))"


def increase_of_new(counter: str) -> str:
    """Of a counter that appears with its first event, which `increase` doesn't see: it counts from 0."""
    before = f"last_over_time({counter}[1d] offset $__range)"
    return f"sum((increase({counter}[$__range]) and {before}) or ({counter} unless {before}))"


def percent(part: str, whole: str) -> str:
    """100 × part / whole; nothing, rather than NaN, where the whole is 0."""
    return f"100 * {part} / ({whole} > 0)"


def quantile(share: float, histogram: str, by: str = "", window: str = "$__rate_interval") -> str:
    """Of a histogram's `…_bucket` selector; nothing, rather than NaN, where nothing was observed."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}[{window}]))) >= 0"


def top(expression: str) -> str:
    """The highest few."""
    return f"topk({TOP}, {expression})"


def bottom(expression: str) -> str:
    """The lowest few."""
    return f"bottomk({TOP}, {expression})"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
