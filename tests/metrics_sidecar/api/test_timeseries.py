"""`GET /metrics/timeseries`."""

from typing import Any

import pytest

from metrics_sidecar.api.timeseries import MEASURES
from metrics_sidecar.history.aggregate import ALL, Ask
from metrics_sidecar.history.windows import MINUTE_US, Window
from tests.metrics_sidecar.api.conftest import TIMESTAMP_US, Client, FakeReader, Group, group_of

PATH = "/metrics/timeseries"
BEGIN = TIMESTAMP_US // MINUTE_US
STEPS = "a number and s, m, h, d or w, whole minutes and at most ten years"
MANY = "".join(f"&model_id={number}" for number in range(100))


def step(minute: int, *latencies_ms: int, failures: int = 0, name: str = ALL) -> Group:
    return group_of(name, *(1000 * latency_ms for latency_ms in latencies_ms), failures=failures, minute=minute)


async def series_of(client: Client, query: str) -> list[dict[str, Any]]:
    response = await client.get(f"{PATH}?{query}")
    assert response.status == 200, await response.text()
    found: list[dict[str, Any]] = (await response.json())["series"]
    return found


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("invocations", [4, 0, 1]),
        ("errors", [1, 0, 0]),
        ("error_rate", [25, None, 0]),
        ("requests_per_second", [4 / 60, 0, 1 / 30]),
        ("latency_avg", [25, None, 7]),
        ("active", [0.1 / 60, 0, 0.007 / 30]),
        ("latency_p99", [40, None, 7]),
    ],
)
async def test_a_metric_with_its_gaps(
    client: Client, reader: FakeReader, metric: str, expected: list[float | None]
) -> None:
    """Counts are 0 where nothing was called, and what is undefined is null; the last step is half over."""
    reader.groups = [step(BEGIN - 1, 10, 20, 30, 40, failures=1), step(BEGIN + 1, 7)]
    (found,) = await series_of(client, f"metric={metric}&since=1705314540&until=1705314700")
    assert found["model_id"] is None
    assert [begin for begin, _ in found["points"]] == [(BEGIN + n) * 60 for n in (-1, 0, 1)]
    assert [value if value is None else pytest.approx(value, rel=0.01) for value in expected] == [
        value for _, value in found["points"]
    ]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("tokens_per_second", [5, 0, 0.1]),
        ("input_tokens_per_second", [2, 0, 0]),
        ("cost_usd", [1.5, 0, 0]),
        ("usage_missing", [0, 0, 4]),
        ("ttft_p95", [20.5, None, None]),
        ("time_per_output_token_p50", [None, None, 3]),
        ("queue_p99", [None, None, 0]),
    ],
)
async def test_what_was_used_with_its_gaps(
    client: Client, reader: FakeReader, metric: str, expected: list[float | None]
) -> None:
    """Nothing is 0; times are null where no stream had an output. The last step is half over."""
    spreads = dict.fromkeys((50, 90, 95, 99), 20_500.0), dict.fromkeys((50, 90, 95, 99), 3000.0)
    first, last = step(BEGIN - 1, 10), step(BEGIN + 1, 7)
    reader.groups = [
        first._replace(
            sums=first.sums | {"output_tokens": 300, "input_tokens": 120, "cost_nano_usd": 1_500_000_000},
            of_streams_us={"time_to_first_token_us": spreads[0]},
        ),
        last._replace(
            sums=last.sums | {"output_tokens": 3, "usage_missing": 4},
            of_streams_us={"time_per_output_token_us": spreads[1], "queue_us": dict.fromkeys((50, 90, 95, 99), 0.0)},
        ),
    ]
    (found,) = await series_of(client, f"metric={metric}&since=1705314540&until=1705314700")
    assert [value for _, value in found["points"]] == expected


async def test_steps_are_whole(client: Client, reader: FakeReader) -> None:
    """`since` is rounded down and `until` up, to multiples of the step since 1970; the answer says to which."""
    response = await client.get(PATH, params={"metric": "errors", "step": "1h", "since": "2024-01-15T08:59:59Z"})
    body = await response.json()
    assert (body["since"], body["until"], body["step_seconds"]) == (
        "2024-01-15T08:00:00Z",
        "2024-01-15T11:00:00Z",
        3600,
    )
    hour_us = 60 * MINUTE_US
    begin_us = 1_705_305_600_000_000
    window = Window(begin_us, begin_us + 3 * hour_us)
    assert reader.asked == [Ask(window=window, step_minutes=60, by=None, measures=MEASURES)]


async def test_a_step_may_be_given_in_seconds(client: Client, reader: FakeReader) -> None:
    """As Prometheus' are; they come to whole minutes."""
    await series_of(client, "step=300s")
    assert [asked.step_minutes for asked in reader.asked if isinstance(asked, Ask)] == [5]


async def test_a_range_that_is_named_is_given_whole(client: Client, reader: FakeReader) -> None:
    """Also what is not past: a gateway's clock may be ahead. Rates of such steps are over their whole length."""
    reader.groups = [step(BEGIN + 3, 7, 8)]
    (found,) = await series_of(client, "metric=requests_per_second&since=1705314660&until=1705314800")
    assert found["points"] == [[(BEGIN + 1) * 60, 0], [(BEGIN + 2) * 60, 0], [(BEGIN + 3) * 60, 2 / 60]]


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ("since=9999-12-31T23:59:59Z", "9999-12-31T23:59:00Z", "9999-12-31T23:59:59.999999Z"),
        ("until=9999-12-31T23:59:59Z", "9999-12-31T22:59:00Z", "9999-12-31T23:59:59.999999Z"),
        ("step=1w&until=9999-12-31T23:59:59Z", "9999-12-30T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ("step=521w&since=0&until=9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ("since=0001-01-01T00:00:00Z&until=0001-01-02T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("until=0", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ],
)
async def test_the_first_and_the_last_year(client: Client, query: str, since: str, until: str) -> None:
    """Steps begin in 1970, and the last may go beyond what can be shown."""
    response = await client.get(f"{PATH}?{query}")
    body = await response.json()
    assert (response.status, body["since"], body["until"]) == (200, since, until)


async def test_without_a_time_it_is_the_last_hour(client: Client) -> None:
    """In steps of a minute."""
    (found,) = await series_of(client, "metric=invocations")
    assert [found["points"][0][0], found["points"][-1][0]] == [(BEGIN - 59) * 60, (BEGIN + 1) * 60]
    assert len(found["points"]) == 61


async def test_models_one_by_one(client: Client, reader: FakeReader) -> None:
    """Those that were asked for, with or without invocations; or all that have any."""
    reader.groups = [step(BEGIN, 1, name="b"), step(BEGIN, 1, 2, name="a")]
    query = "metric=invocations&window=1m&group_by=model_id"
    assert [(one["model_id"], one["points"][0][1]) for one in await series_of(client, query)] == [("a", 2), ("b", 1)]
    named = await series_of(client, f"{query}&model_id=c&model_id=a")
    assert [(one["model_id"], one["points"][0][1]) for one in named] == [("c", 0), ("a", 2)]
    mixed = await series_of(client, f"{query}&model_id=c*&model_id=b&model_id=a*")
    assert [(one["model_id"], one["points"][0][1]) for one in mixed] == [("b", 1), ("a", 2)]
    assert await series_of(client, f"{query}&model_id=c*") == []


@pytest.mark.parametrize(
    ("query", "parameter", "allowed"),
    [
        ("metric=latency", "metric", "active or cost_usd or error_rate or errors or"),
        ("metric=errors&step=90s", "step", STEPS),
        ("metric=errors&step=0m", "step", STEPS),
        ("metric=errors&step=999999999w", "step", STEPS),
        ("metric=errors&since=0&until=9999-12-31T23:59:59Z", "step", "at least 383943m for this time and 1 series"),
        ("until=9999-12-31T23:59:59Z&since=0&group_by=model_id" + MANY, "step", "none for this time and 100 series"),
        ("metric=errors&group_by=status", "group_by", "model_id"),
        ("metric=errors&window=8d", "step", "at least 2m for this time and 1 series"),
        (
            "metric=errors&window=1d&group_by=model_id" + "".join(f"&model_id=m{n}" for n in range(9)),
            "step",
            "at least 2m",
        ),
        ("metric=errors&since=0&until=1705314600", "step", "at least 2584m"),
        ("metric=errors&limit=1", "limit", "metric, step"),
    ],
)
async def test_what_is_not_allowed_is_named(client: Client, query: str, parameter: str, allowed: str) -> None:
    """With what would be; too many points with the smallest step that gives few enough."""
    response = await client.get(f"{PATH}?{query}")
    problem = await response.json()
    assert (response.status, problem["parameter"]) == (400, parameter)
    assert allowed in problem["allowed"]


async def test_the_step_that_is_named_is_allowed(client: Client) -> None:
    """It, and none below it."""
    since = "metric=errors&since=2001-02-03T04:05:06Z"
    problem = await (await client.get(f"{PATH}?{since}")).json()
    smallest = int(problem["allowed"].split()[2].rstrip("m"))
    assert (await client.get(f"{PATH}?{since}&step={smallest}m")).status == 200
    assert (await client.get(f"{PATH}?{since}&step={smallest - 1}m")).status == 400


async def test_too_many_models_for_the_step(client: Client, reader: FakeReader) -> None:
    """Where their number is known only afterwards."""
    reader.groups = [step(BEGIN, 1, name=f"m{number}") for number in range(200)]
    query = "metric=errors&window=59m&group_by=model_id"
    problem = await (await client.get(f"{PATH}?{query}")).json()
    assert problem["allowed"] == "at least 2m for this time and 200 series: an answer has at most 11,000 points"
    assert (await client.get(f"{PATH}?{query}&step=2m")).status == 200


async def test_a_store_that_fails_is_a_503(client: Client, reader: FakeReader) -> None:
    """It is a problem to be asked again, not a defect."""
    reader.break_down()
    assert (await client.get(PATH, params={"metric": "errors"})).status == 503
