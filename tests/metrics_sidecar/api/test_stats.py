"""`GET /metrics/stats`."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.api.stats import to_stats
from metrics_sidecar.history.aggregate import SINCE_THE_BEGINNING, Ask, Measure, Table
from metrics_sidecar.history.queries import QueryTooLongError
from metrics_sidecar.history.windows import Window
from shared.clock import TIMESTAMPS
from shared.record import MAX_TIMESTAMP_US, OVERFLOW_MODEL_ID
from tests.metrics_sidecar.api.conftest import NOW_US, TIMESTAMP_US, Client, FakeReader, Group, group_of

PATH = "/metrics/stats"


async def test_a_model_has_the_eleven_fields(client: Client, reader: FakeReader) -> None:
    """The statistics of the specification, exact."""
    reader.groups = [group_of("gpt-3.5", 50_000, 300_000, 86_500, 145_500, failures=1)]
    response = await client.get(PATH, params={"model_id": "gpt-3.5"})
    assert (response.status, response.content_type) == (200, "application/json")
    assert await response.json() == {
        "stats": {
            "gpt-3.5": {
                "model_id": "gpt-3.5",
                "total_invocations": 4,
                "successful_invocations": 3,
                "failed_invocations": 1,
                "success_rate": 75.0,
                "failure_rate": 25.0,
                "average_latency_ms": 145.5,
                "total_latency_ms": 582,
                "min_latency_ms": 50,
                "max_latency_ms": 300,
                "last_invocation": "2024-01-15T10:30:00.000003Z",
            }
        }
    }
    assert reader.asked == [Ask(models=("gpt-3.5",))]


async def test_without_a_model_all_labels_are_shown(client: Client, reader: FakeReader) -> None:
    """The overflow label is one of them."""
    reader.groups = [group_of("a", 1), group_of(OVERFLOW_MODEL_ID, 2)]
    stats = (await (await client.get(PATH)).json())["stats"]
    assert stats.keys() == {"a", OVERFLOW_MODEL_ID}


@pytest.mark.parametrize(("model_id", "expected"), [("unknown", []), (OVERFLOW_MODEL_ID, [OVERFLOW_MODEL_ID])])
async def test_a_model_is_shown_if_it_was_invoked(
    client: Client, reader: FakeReader, model_id: str, expected: list[str]
) -> None:
    """An unknown model is an empty answer and no error; the overflow label can be asked for by name."""
    reader.groups = [group_of(OVERFLOW_MODEL_ID, 2)]
    response = await client.get(PATH, params={"model_id": model_id})
    assert response.status == 200
    assert [*(await response.json())["stats"]] == expected


@pytest.mark.parametrize(("query", "parameter"), [("limit=1", "limit"), ("model_id=", "model_id")])
async def test_a_wrong_parameter_is_named(client: Client, query: str, parameter: str) -> None:
    """With what there is instead."""
    response = await client.get(f"{PATH}?{query}")
    assert (response.status, (await response.json())["parameter"]) == (400, parameter)


async def test_a_store_that_fails_is_a_503(client: Client, reader: FakeReader) -> None:
    """It is a problem to be asked again, not a defect."""
    reader.break_down()
    assert (await client.get(PATH)).status == 503


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("stats", "Add a model_id."),
        ("stats?window=1h", "Add a model_id or choose a shorter time range."),
        ("stats?since=1&model_id=a&model_id=b", "Ask for fewer models or choose a shorter time range."),
        ("stats?until=1&model_id=a", "Choose a shorter time range."),
        ("stats?model_id=a*", "Ask for fewer models."),
        ("stats?model_id=a", "Ask again later."),
        ("timeseries", "Choose a longer step or add a model_id."),
        ("timeseries?since=1705314600&model_id=a", "Choose a longer step or choose a shorter time range."),
    ],
)
async def test_a_query_that_took_too_long_is_a_503(client: Client, reader: FakeReader, query: str, remedy: str) -> None:
    """And what would make it shorter is something that is not done yet."""
    reader.failure = QueryTooLongError("it took longer than 5 s")
    response = await client.get(f"/metrics/{query}")
    assert response.status == 503
    assert (await response.json())["detail"] == f"The query was ended: it took longer than 5 s. {remedy}"


@given(st.integers(0, 2**40), st.integers(1, 2**40), st.integers(0, 2**62))
def test_quotients_are_the_nearest_floats(failures: int, successes: int, latency_us: int) -> None:
    """Rates and averages are rounded once, by the conversion to a float, however large the sums are."""
    count = failures + successes
    sums: dict[Measure, list[int]] = {measure: [0] for measure in SINCE_THE_BEGINNING}
    sums |= {"success_count": [successes], "failure_count": [failures], "latency_us": [latency_us]}
    table = Table(window=None, groups=["m"], minutes=[0], sums=sums, percentiles_us={}, errors=[])
    stats = to_stats(table, NOW_US).stats["m"]
    assert stats.success_rate == float(Fraction(100 * successes, count))
    assert stats.failure_rate == float(Fraction(100 * failures, count))
    assert stats.average_latency_ms == float(Fraction(latency_us, count * 1000))
    assert float(stats.total_latency_ms) == float(Fraction(latency_us, 1000))


STATS = Group(
    "gpt-3.5",
    0,
    {
        "success_count": 99,
        "failure_count": 1,
        "latency_us": 5_050_000,
        "min_latency_us": 1000,
        "max_latency_us": 100_000,
        "last_timestamp_us": TIMESTAMP_US + 100,
        "input_size": 500,
        "output_size": 200,
    },
    {50: 50_000.0, 90: 90_000.0, 95: 95_000.0, 99: 99_000.0},
    {"timeout": 1},
)


def windows_of(reader: FakeReader) -> list[Window | None]:
    return [asked.window for asked in reader.asked if isinstance(asked, Ask)]


async def test_a_window_has_percentiles_rate_errors_and_sizes(client: Client, reader: FakeReader) -> None:
    """Beside the eleven fields, and says which time was counted."""
    reader.groups = [STATS]
    body = await (await client.get(PATH, params={"window": "1m", "model_id": "gpt-3.5"})).json()
    found = body["stats"]["gpt-3.5"]
    assert windows_of(reader) == [Window(TIMESTAMP_US, NOW_US)]
    assert (body["since"], body["until"]) == ("2024-01-15T10:30:00Z", "2024-01-15T10:31:30Z")
    assert [found[name] for name in ("p50", "p90", "p95", "p99")] == [50, 90, 95, 99]
    assert (found["total_invocations"], found["total_latency_ms"], found["max_latency_ms"]) == (100, 5050, 100)
    assert found["requests_per_second"] == 100 / 90
    assert found["errors"] == {"timeout": 1}
    assert (found["total_input_size"], found["total_output_size"]) == (500, 200)


USED: dict[Measure, int] = {
    "input_tokens": 1000,
    "cached_input_tokens": 100,
    "output_tokens": 2**60 + 1,
    "reasoning_tokens": 0,
    "cost_nano_usd": 9_007_199_254_740_993,
    "usage_missing": 2,
}
SHOWN = {
    "total_input_tokens": 1000,
    "total_cached_input_tokens": 100,
    "total_output_tokens": 2**60 + 1,
    "total_reasoning_tokens": 0,
    "cost_usd": "9007199.254740993",
    "usage_missing": 2,
}
OF_STREAMS = [f"{prefix}p{percent}" for prefix in ("ttft_", "time_per_output_token_") for percent in (50, 90, 95, 99)]


async def test_what_was_used_is_told_of_models_that_used_any(client: Client, reader: FakeReader) -> None:
    """Exactly; since the beginning without percentiles, which are null where there were no streams. Others answer as
    if there were no tokens."""
    streams = {"time_to_first_token_us": dict.fromkeys((50, 90, 95, 99), 20_500.0)}
    reader.groups = [STATS, STATS._replace(name="chat", sums=STATS.sums | USED, of_streams_us=streams)]
    for query, more in (("", {}), ("?window=1m", dict.fromkeys(OF_STREAMS[:4], 20.5) | dict.fromkeys(OF_STREAMS[4:]))):
        found = (await (await client.get(f"{PATH}{query}")).json())["stats"]
        plain, chat = found["gpt-3.5"], found["chat"]
        assert chat == {**plain, "model_id": "chat", **SHOWN, **more}
        assert {*plain}.isdisjoint([*SHOWN, *OF_STREAMS])


async def test_a_stream_alone_is_use_enough(client: Client, reader: FakeReader) -> None:
    """Of which nothing was reported."""
    streams = {"time_per_output_token_us": dict.fromkeys((50, 90, 95, 99), 1.0)}
    reader.groups = [STATS._replace(of_streams_us=streams)]
    found = (await (await client.get(f"{PATH}?window=1m")).json())["stats"]["gpt-3.5"]
    assert (found["time_per_output_token_p99"], found["ttft_p50"]) == (0.001, None)
    assert (found["total_output_tokens"], found["cost_usd"], found["usage_missing"]) == (0, "0", 0)


async def test_how_long_calls_waited_is_told_of_models_with_a_queue(client: Client, reader: FakeReader) -> None:
    """Which need not have used any tokens, and are not said to."""
    waited = {"queue_us": dict(zip((50, 90, 95, 99), (0.0, 1500.0, 2000.0, 9000.0), strict=True))}
    reader.groups = [STATS, STATS._replace(name="queued", of_streams_us=waited)]
    found = (await (await client.get(f"{PATH}?window=1m")).json())["stats"]
    plain, queued = found["gpt-3.5"], found["queued"]
    told = {name: queued[name] for name in queued.keys() - plain.keys()}
    assert told == {"queue_p50": 0, "queue_p90": 1.5, "queue_p95": 2, "queue_p99": 9}


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("since=1705314600", Window(TIMESTAMP_US, NOW_US)),
        ("since=2024-01-15T10:30:00Z&until=1705314601.5", Window(TIMESTAMP_US, TIMESTAMP_US + 1_500_000)),
        ("until=1705314600", Window(0, TIMESTAMP_US)),
        ("until=1066-10-14T09:00:00Z", Window(0, 0)),
        ("until=9999-12-31T23:59:59.999999Z", Window(0, MAX_TIMESTAMP_US)),
        ("since=253402300799.999999", Window(MAX_TIMESTAMP_US, MAX_TIMESTAMP_US)),
        ("since=9999999999", Window(9_999_999_999_000_000, 9_999_999_999_000_000)),
        ("since=1705314600&until=1805314600", Window(TIMESTAMP_US, 1_805_314_600_000_000)),
    ],
)
async def test_a_time_range_is_taken_as_it_is(client: Client, reader: FakeReader, query: str, asked: Window) -> None:
    """To the microsecond; without an end it is now."""
    assert (await client.get(f"{PATH}?{query}")).status == 200
    assert windows_of(reader) == [asked]


async def test_several_models_can_be_asked_for(client: Client, reader: FakeReader) -> None:
    """Each once, with a window and without."""
    reader.groups = [group_of(name, 1) for name in "abc"]
    query = "model_id=a&model_id=b&model_id=a"
    assert [*(await (await client.get(f"{PATH}?{query}")).json())["stats"]] == ["a", "b"]
    assert [*(await (await client.get(f"{PATH}?{query}&window=1h")).json())["stats"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "parameter", "allowed"),
    [
        ("window=5", "window", "a number and s, m, h, d or w, at most ten years"),
        ("window=99999d", "window", "a number and s, m, h, d or w, at most ten years"),
        ("window=5m&since=1", "since", "nothing beside a window"),
        ("window=5m&until=1", "until", "nothing beside a window"),
        ("since=yesterday", "since", TIMESTAMPS),
        ("since=2&until=1", "since", "a moment not after until, 1"),
    ],
)
async def test_a_wrong_time_is_named(client: Client, query: str, parameter: str, allowed: str) -> None:
    """With its value and what is allowed."""
    response = await client.get(f"{PATH}?{query}")
    problem = await response.json()
    assert (response.status, problem["parameter"], problem["allowed"]) == (400, parameter, allowed)


@pytest.mark.parametrize("query", ["", "window=1h"])
@pytest.mark.parametrize(
    ("models", "accepted", "coding"),
    [(1000, "gzip", "gzip"), (1000, "br, *", "gzip"), (1000, "gzip;q=0", None), (1000, "", None), (1, "gzip", None)],
)
async def test_a_large_answer_is_compressed(
    client: Client, reader: FakeReader, query: str, models: int, accepted: str, coding: str | None
) -> None:
    """Where its caller takes that; a small one isn't, and all say that they depend on it."""
    reader.groups = [group_of(f"model-{number}", 1000 * number + 1) for number in range(models)]
    response = await client.get(f"{PATH}?{query}", headers={"Accept-Encoding": accepted})
    assert response.headers.get("Content-Encoding") == coding
    assert response.headers["Vary"] == "Accept-Encoding"
    assert len((await response.json())["stats"]) == models
    head = await client.head(f"{PATH}?{query}", headers={"Accept-Encoding": accepted})
    assert head.headers["Content-Length"] == response.headers["Content-Length"]
    assert (int(head.headers["Content-Length"]) < 100_000) == (coding is not None or models == 1)
