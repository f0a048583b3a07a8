"""The columns in which an invocation is shown."""

from typing import Annotated

from metrics_sidecar.history.shown import exported_columns, is_later, shown_columns
from shared.fields import Told, read_fields
from shared.record import FIELDS, Count, Record


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
        assert [column.name for column in columns] == first
        assert [column.name for column in columns if is_later(column)] == ["request_id"]


def test_a_field_is_where_its_table_says() -> None:
    """In rows, in files, or in both."""
    fields = read_fields(Wider)
    assert [column.name for column in shown_columns(fields)][-2:] == ["request_id", "seen_ms"]
    assert [column.name for column in exported_columns(fields)][-2:] == ["request_id", "kept_ms"]
