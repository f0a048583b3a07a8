"""`GET /metrics/stats`."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics_sidecar.api.stats import to_stats
from metrics_sidecar.totals import ModelTotals
from shared.record import OVERFLOW_MODEL_ID
from tests.metrics_sidecar.api.conftest import Client, FakeQueries, totals_of

PATH = "/metrics/stats"


async def test_a_model_has_the_eleven_fields(client: Client, queries: FakeQueries) -> None:
    """The statistics of the specification, exact."""
    queries.by_label = {"gpt-3.5": totals_of(50_000, 300_000, 86_500, 145_500, failures=1)}
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
    assert queries.asked == ["gpt-3.5"]


async def test_without_a_model_all_labels_are_shown(client: Client, queries: FakeQueries) -> None:
    """The overflow label is one of them; a model without invocations is left out."""
    queries.by_label = {"a": totals_of(1), OVERFLOW_MODEL_ID: totals_of(2), "known": ModelTotals()}
    stats = (await (await client.get(PATH)).json())["stats"]
    assert stats.keys() == {"a", OVERFLOW_MODEL_ID}


@pytest.mark.parametrize(
    ("model_id", "expected"), [("unknown", []), ("known", []), (OVERFLOW_MODEL_ID, [OVERFLOW_MODEL_ID])]
)
async def test_a_model_is_shown_if_it_was_invoked(
    client: Client, queries: FakeQueries, model_id: str, expected: list[str]
) -> None:
    """An unknown model is an empty answer and no error; the overflow label can be asked for by name."""
    queries.by_label = {OVERFLOW_MODEL_ID: totals_of(2), "known": ModelTotals()}
    response = await client.get(PATH, params={"model_id": model_id})
    assert response.status == 200
    assert [*(await response.json())["stats"]] == expected


@pytest.mark.parametrize(("query", "parameter"), [("limit=1", "limit"), ("model_id=", "model_id")])
async def test_a_wrong_parameter_is_named(client: Client, query: str, parameter: str) -> None:
    """There is no parameter but `model_id`."""
    response = await client.get(f"{PATH}?{query}")
    assert (response.status, (await response.json())["parameter"]) == (400, parameter)


async def test_a_store_that_fails_is_a_503(client: Client, queries: FakeQueries) -> None:
    """It is a problem to be asked again, not a defect."""
    queries.break_down()
    assert (await client.get(PATH)).status == 503


@given(st.integers(0, 2**40), st.integers(1, 2**40), st.integers(0, 2**62))
def test_quotients_are_the_nearest_floats(failures: int, successes: int, latency_us: int) -> None:
    """Rates and averages are rounded once, by the conversion to a float, however large the sums are."""
    count = failures + successes
    stats = to_stats("m", ModelTotals(successes, failures, latency_us))
    assert stats.success_rate == float(Fraction(100 * successes, count))
    assert stats.failure_rate == float(Fraction(100 * failures, count))
    assert stats.average_latency_ms == float(Fraction(latency_us, count * 1000))
    assert float(stats.total_latency_ms) == float(Fraction(latency_us, 1000))
