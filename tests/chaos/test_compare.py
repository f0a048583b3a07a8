"""The comparison itself: whatever goes wrong, it says so."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tests.chaos.calls import ERROR_EVENT, Call, Reply, note_answer, without_error_event
from tests.chaos.compare import Findings, Key, compare, compare_call
from tests.chaos.expected import series_of, stats_of
from tests.chaos.models import TOKENS
from tests.chaos.scraper import Scraper
from tests.chaos.views import Row, Sidecar, Views

OK = Call("m", 1, 1, 0.0, 1.0, "answered", 200, Reply(None, True, 1.5, ""), 1)
FAILED = Call("m", 2, 1, 0.0, 1.0, "answered", 504, Reply(None, False, 20, "too late"))
GONE = Call("m", 3, 1, 0.0, 1.0, "unknown")
REFUSED = Call("m", 4, 1, 0.0, 1.0, "refused")
CALLS = [OK, FAILED, GONE, REFUSED]

OK_ROW = Row(1, "m", True, 1.5, "", 1, 1, None)
FAILED_ROW = Row(2, "m", False, 20, "too late", 2, 0, "timeout")
GONE_ROW = Row(3, "m", False, 3, "died", 3, 0, "gateway_died")
REFUSED_ROW = Row(4, "m", False, 3, "died", 4, 0, "gateway_died")
STRAY_ROW = Row(5, "m", True, 1.5, "", 9, 1, None)


def views_of(rows: Sequence[Row]) -> Views:
    """Views that agree with each other."""
    return Views([*rows], len(rows), {"m": stats_of(rows)}, series_of("m", rows))


def found(
    rows: Sequence[Row],
    dropped: int = 0,
    full_rounds: frozenset[int] = frozenset(),
    seen: Sequence[tuple[int, Key]] = (),
) -> Findings:
    return compare(CALLS, seen, views_of(rows), dropped, full_rounds)


def counts(findings: Findings) -> tuple[int, int, int]:
    return len(findings.lost), len(findings.doubled), len(findings.disagreements)


@pytest.mark.parametrize("rows", [[OK_ROW, FAILED_ROW], [OK_ROW, FAILED_ROW, GONE_ROW]])
def test_a_call_without_an_answer_may_have_a_row(rows: list[Row]) -> None:
    """Its caller can't know."""
    findings = found(rows)
    assert counts(findings) == (0, 0, 0)
    assert (findings.unknown_with_row, findings.unknown_without_row) == (len(rows) - 2, 3 - len(rows))


@pytest.mark.parametrize("came", range(len(ERROR_EVENT) + 1))
def test_what_the_gateway_says_of_a_broken_stream_is_no_part_of_it(came: int) -> None:
    """However much of that a caller has when it waits no longer."""
    assert without_error_event(b"data: 1\n\n" + ERROR_EVENT[:came]) == 9
    assert without_error_event(b"data: 1\n\n" + ERROR_EVENT + b"\ndata: 2\n\n"[:came]) == 9


def test_a_call_that_reached_the_upstream_must_have_a_row() -> None:
    """Even where its caller knows nothing: its begin mark is enough to tell."""
    seen = [(1, OK.key), (1, FAILED.key), (1, GONE.key)]
    assert counts(found([OK_ROW, FAILED_ROW], seen=seen)) == (1, 0, 0)
    assert counts(found([OK_ROW, FAILED_ROW, GONE_ROW], seen=seen)) == (0, 0, 0)
    assert counts(found([OK_ROW, FAILED_ROW, GONE_ROW], seen=[*seen, (1, OK.key)])) == (0, 0, 1)
    assert counts(found([OK_ROW, FAILED_ROW, GONE_ROW], seen=[*seen, (2, OK.key)])) == (0, 0, 0)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([OK_ROW], (1, 0, 0)),
        ([OK_ROW, FAILED_ROW, msgspec.structs.replace(OK_ROW, id=9)], (0, 1, 0)),
        ([OK_ROW, FAILED_ROW, REFUSED_ROW], (0, 0, 1)),
        ([OK_ROW, FAILED_ROW, STRAY_ROW], (0, 0, 1)),
        ([OK_ROW, msgspec.structs.replace(FAILED_ROW, latency_ms=21)], (0, 0, 1)),
        ([OK_ROW, msgspec.structs.replace(FAILED_ROW, error_log="")], (0, 0, 1)),
        ([OK_ROW, msgspec.structs.replace(FAILED_ROW, error_type="connect")], (0, 0, 1)),
        ([msgspec.structs.replace(OK_ROW, output_size=0), FAILED_ROW], (0, 0, 1)),
    ],
)
def test_rows_that_callers_did_not_see_so_are_found(rows: list[Row], expected: tuple[int, int, int]) -> None:
    """Lost, doubled, or not as it was answered."""
    assert counts(found(rows)) == expected


def stream(status: int = 200, **more: Any) -> Call:
    """A call of a dialect."""
    return Call("m", 9, 1, 0.0, 1.0, "answered", status, **more)


WHOLE = stream(output_size=50, streamed=True, ending="whole")
FAILED_STREAM = stream(output_size=20, streamed=True, ending="failed", message="it broke off")
CUT = replace(WHOLE, outcome="unknown", output_size=20, ending="none")
BUSY = stream(429, output_size=70, message="1 calls are in flight")
WHOLE_ROW = Row(9, "m", True, 1.5, "", 9, 50, None, True, TOKENS, TOKENS, 1.0)
BROKEN_ROW = Row(9, "m", False, 1.5, "upstream's answer: it broke off", 9, 30, "invalid_response")
BUSY_ROW = Row(9, "m", False, 1.5, "1 calls are in flight, the limit", 9, 0, "overloaded")
DIED_ROW = Row(9, "m", False, 1.5, "died", 9, 0, "gateway_died")


@pytest.mark.parametrize(
    ("call", "row", "agree"),
    [
        (WHOLE, WHOLE_ROW, True),
        (WHOLE, msgspec.structs.replace(WHOLE_ROW, output_size=49), False),
        *(
            (WHOLE, msgspec.structs.replace(WHOLE_ROW, **{field: None}), False)
            for field in ("input_tokens", "output_tokens", "time_to_first_token_ms")
        ),
        (WHOLE, msgspec.structs.replace(WHOLE_ROW, streamed=False), False),
        (WHOLE, msgspec.structs.replace(WHOLE_ROW, cost_usd="0.1"), False),
        (replace(WHOLE, model_id="chat-slow"), msgspec.structs.replace(WHOLE_ROW, cost_usd="0.000125"), True),
        (replace(WHOLE, model_id="chat-slow"), WHOLE_ROW, False),
        (WHOLE, BROKEN_ROW, False),
        (WHOLE, DIED_ROW, False),
        (replace(WHOLE, ending="unfinished"), WHOLE_ROW, False),
        (replace(WHOLE, ending="unfinished"), BROKEN_ROW, False),
        (FAILED_STREAM, BROKEN_ROW, True),
        (FAILED_STREAM, WHOLE_ROW, False),
        (FAILED_STREAM, DIED_ROW, False),
        (FAILED_STREAM, msgspec.structs.replace(BROKEN_ROW, error_type="client_disconnected"), False),
        (FAILED_STREAM, msgspec.structs.replace(BROKEN_ROW, error_log="something else"), False),
        (FAILED_STREAM, msgspec.structs.replace(BROKEN_ROW, output_size=19), False),
        (CUT, DIED_ROW, True),
        (CUT, BROKEN_ROW, True),
        (CUT, WHOLE_ROW, True),  # its record is older than the last that its caller would have got
        (CUT, msgspec.structs.replace(BROKEN_ROW, output_size=19), False),
        (BUSY, BUSY_ROW, True),
        (BUSY, msgspec.structs.replace(BUSY_ROW, error_type="timeout"), False),
        (BUSY, msgspec.structs.replace(BUSY_ROW, error_log="other"), False),
        (BUSY, WHOLE_ROW, False),
    ],
)
def test_a_call_of_a_dialect_is_compared_by_how_it_ended(call: Call, row: Row, agree: bool) -> None:
    """Whole, with an error, or in the middle; and by how much of it came."""
    assert (not list(compare_call(call, row))) == agree


ERROR = b'event: error\ndata: {"type":"error","error":{"type":"x","message":"no"}}\n\n'
WORD = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, WORD + b"data: [DONE]\n\n", ("whole", len(WORD) + 14, "")),
        (200, b'event: message_stop\ndata: {"type":"message_stop"}\n\n', ("whole", 51, "")),
        (200, WORD, ("unfinished", len(WORD), "")),
        (200, WORD + ERROR, ("failed", len(WORD), "no")),
        (502, b'{"error":{"message":"no"}}', ("none", 26, "no")),
    ],
)
def test_what_a_caller_of_a_stream_sees(status: int, body: bytes, expected: tuple[str, int, str]) -> None:
    """How it ended, how much came before an error, and what that said."""
    call = stream(status, streamed=status == 200)
    note_answer(call, body)
    assert (call.ending, call.output_size, call.message) == expected


def test_drops_must_be_counted_exactly_and_only_where_the_disk_was_full() -> None:
    """Records that are not there and drops that were counted are the same number."""
    full = frozenset({1})
    assert counts(found([OK_ROW, GONE_ROW], 1, full)) == (0, 0, 0)
    assert counts(found([OK_ROW, GONE_ROW], 0, full)) == (1, 0, 0)
    assert counts(found([OK_ROW, GONE_ROW], 2, full)) == (0, 0, 1)
    assert counts(found([OK_ROW, GONE_ROW], 1)) == (1, 0, 1)
    assert counts(found([OK_ROW], 2, full)) == (0, 0, 0)  # the unknown one may be among the dropped


def test_views_that_differ_are_found() -> None:
    """Statistics, counters and gauges are computed anew from the rows."""
    rows = [OK_ROW, FAILED_ROW]
    views = views_of(rows)
    series, active = dict(views.series), 'model_active_invocations{model_id="m"}'
    errors = 'model_invocation_errors_total{model_id="m",error_type="timeout"}'
    assert views.series[errors] == 1
    wrong = [
        replace(views, total_count=3),
        replace(views, differences="rows: expected 3, found 2"),
        replace(views, stats={}),
        replace(views, stats={"m": stats_of(rows), "n": stats_of(rows)}),
        replace(views, series={**series, errors: 2.0}),
        replace(views, series={name: value for name, value in series.items() if name != errors}),
        replace(views, series={**series, active: 1.0}),
        replace(views, series={**series, 'model_invocations_total{model_id="n",status="failure"}': 1.0}),
    ]
    assert [counts(compare(CALLS, [], each, 0, frozenset())) for each in wrong] == [(0, 0, 1)] * len(wrong)


def test_usage_and_times_of_streams_are_counted() -> None:
    """Tokens, cost, and how long the streams took."""
    row = Row(9, "m", True, 1.5, "", 9, 50, None, True, 7, 5, 20.5, 3.25, 2, 1, "0.000000125", "chat")
    silent = Row(8, "m", True, 1.5, "", 9, 50, None, True, operation="chat")
    series = series_of("m", [row, row, silent])
    expected = {
        'model_tokens_total{model_id="m",type="input"}': 14.0,
        'model_tokens_total{model_id="m",type="cached_input"}': 4.0,
        'model_tokens_total{model_id="m",type="output"}': 10.0,
        'model_tokens_total{model_id="m",type="reasoning"}': 2.0,
        'model_cost_usd_total{model_id="m"}': 0.00000025,
        'model_usage_missing_total{model_id="m"}': 1.0,
        'model_time_to_first_token_seconds_bucket{model_id="m",le="0.04"}': 2.0,
        'model_time_to_first_token_seconds_sum{model_id="m"}': 0.041,
        'model_time_to_first_token_seconds_count{model_id="m"}': 2.0,
        'model_time_per_output_token_seconds_bucket{model_id="m",le="0.01"}': 2.0,
    }
    assert {name: series.get(name) for name in expected} == expected
    assert 'model_time_to_first_token_seconds_bucket{model_id="m",le="0.02"}' not in series


async def test_a_counter_that_goes_down_or_away_is_found() -> None:
    """Through any restart a counter of the ledger is at least what it was; the process's own may begin anew."""
    sidecar = Sidecar("http://127.0.0.1:1")
    scraper = Scraper(sidecar)
    own = {"sidecar_commits_total": 5.0, "model_active_invocations": 4.0}
    scraper.take({"model_x_total": 2.0, "model_y_bucket": 0.0, **own})
    scraper.take({"model_x_total": 2.0, "sidecar_commits_total": 1.0})
    assert scraper.decreases == []
    scraper.take({"model_x_total": 1.0})
    scraper.take({})
    assert scraper.decreases == ["model_x_total went from 2.0 to 1.0", "model_x_total went from 1.0 to None"]
    await sidecar.aclose()
