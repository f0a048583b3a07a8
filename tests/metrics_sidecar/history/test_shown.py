"""The columns in which an invocation is shown."""

from typing import Annotated

import pytest

from metrics_sidecar.history.shown import dollars, exported_columns, is_later, nano_dollars, shown_columns
from shared.fields import Told, read_fields
from shared.record import FIELDS, MAX_COUNT, Count, Record


class Wider(Record, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """A record with fields that not all may see."""

    kept_us: Annotated[Count, Told(help="Not shown.", unit="us", shown=False)] = 0
    seen_us: Annotated[Count, Told(help="Not exported.", unit="us", exported=False)] = 0


def test_columns_of_the_first_releases_keep_their_places() -> None:
    """Whoever reads them by their places finds them there; what came later stands behind them."""
    first = [
        *("model_id", "timestamp", "success", "latency_ms", "error_log", "input_size", "output_size", "error_type"),
        *("trace_id", "request_id"),
    ]
    for columns in (shown_columns(FIELDS), exported_columns(FIELDS)):
        assert [column.name for column in columns][: len(first)] == first
        assert [column.name for column in columns if is_later(column)][:2] == ["request_id", "protocol"]


def test_a_field_is_where_its_table_says() -> None:
    """In rows, in files, or in both."""
    fields = read_fields(Wider)
    assert [column.name for column in shown_columns(fields)][-2:] == ["queue_ms", "seen_ms"]
    assert [column.name for column in exported_columns(fields)][-2:] == ["queue_ms", "kept_ms"]


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [(0, "0"), (1, "0.000000001"), (125_000, "0.000125"), (10**9, "1"), (MAX_COUNT, "9223372036.854775807")],
)
def test_money_is_told_exactly(nano_usd: int, text: str) -> None:
    assert dollars(nano_usd) == text
    assert nano_dollars(text) == nano_usd


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1.", ".5", "0.0000000001", "9223372036.854775808", "1\n", "١"])
def test_what_is_no_money_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="dollars"):
        nano_dollars(text)
