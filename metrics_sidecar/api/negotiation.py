"""What a client accepts, from its headers (RFC 9110, 12.5).

prometheus_client's `choose_encoder` takes what is named first, whatever its `q` and even at 0, says yes to versions
that nobody has written yet, knows no `application/*`, and raises TypeError for a version that is no number.
"""

OPENMETRICS = ("application/openmetrics-text", "1.0.0")
PLAIN_TEXT = ("text/plain", "0.0.4")

Ranges = list[tuple[str, dict[str, str], float]]
"""Lower-case name (a media range or a coding), its parameters without `q`, and `q`."""


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0.0 is preferred to plain text; at equal preference it must be named."""
    ranges = _ranges(accept)
    specificity, quality = _preference(ranges, *OPENMETRICS)
    _, text_quality = _preference(ranges, *PLAIN_TEXT)
    return quality > text_quality or (quality == text_quality > 0 and specificity >= 2)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether the body may be compressed; `*` stands for all codings that are not named."""
    qualities = {name: quality for name, _, quality in _ranges(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _preference(ranges: Ranges, media_type: str, version: str) -> tuple[int, float]:
    """How specific the range that decides about a media type is (3 names its version), and its `q`."""
    found = [(0, 0.0)]
    for name, parameters, quality in ranges:
        if name == media_type and parameters.get("version", version) == version:
            found.append((3 if "version" in parameters else 2, quality))
        elif name == f"{media_type.partition('/')[0]}/*":
            found.append((1, quality))
        elif name == "*/*":
            found.append((0, quality))
    return max(found)


def _ranges(header: str) -> Ranges:
    ranges = []
    for element in header.lower().split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        parameters = {key.strip(): value.strip() for key, _, value in (part.partition("=") for part in rest)}
        ranges.append((name, parameters, _quality(parameters.pop("q", "1"))))
    return ranges


def _quality(text: str) -> float:
    """Between 0 and 1; 0, which is "not acceptable", for what is no number."""
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0
