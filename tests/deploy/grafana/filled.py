"""What Grafana puts in for variables, by its documentation: in an expression and in the URL of a link."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

RATE_INTERVAL = "10s"

PLACEHOLDER = re.compile(r"\$\{([\w.]+)(?::([\w:]+))?\}")


def fill_expression(expression: str, time_range_s: int, models: Sequence[str] = ()) -> str:
    """With all instances of the sidecars' job, and with these models or all."""
    chosen = [escape_regex(model) for model in models]
    model_id = ".+" if not chosen else chosen[0] if len(chosen) == 1 else f"({'|'.join(chosen)})"
    values = {
        "$__rate_interval": RATE_INTERVAL,
        "$__range": f"{time_range_s}s",
        "$job": "metrics-sidecar",
        "$instance": ".+",
        "$model_id": model_id,
        "${__from}": "0",
    }
    filled = expression
    for name, value in values.items():
        filled = filled.replace(name, value)
    assert not re.search(r"\$\w", filled), filled
    return filled


def escape_regex(value: str) -> str:
    """Each character that means something to a regular expression, in a string of PromQL."""
    return re.sub(r"[$^*{}\[\]+?.()|]", r"\\\\\g<0>", value.replace("\\", r"\\\\"))


def fill_url(url: str, values: dict[str, str], start: datetime, end: datetime) -> str:
    """`values` has what else can stand in a link: `gateway_url`, `__value.raw`, `__field.labels.…`."""

    def put(match: "re.Match[str]") -> str:
        name, form = match[1], match[2]
        if name in ("__from", "__to"):
            moment = (start if name == "__from" else end).astimezone(UTC)
            if form is None:
                return str(round(moment.timestamp() * 1000))
            assert form == "date:iso", form
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if form == "percentencode":
            return quote(values[name], safe="")
        if form == "queryparam":
            return f"var-{name}={quote(values[name], safe='')}"
        assert form is None, form
        return quote(values[name], safe=":/?#[]@!$&'()*+,;=%")  # a link as a whole is escaped as a URI

    return PLACEHOLDER.sub(put, url)
