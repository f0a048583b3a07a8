"""Traced invocations beside the buckets that they are in."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_S, BUCKET_BOUNDS_US, aggregate
from metrics_sidecar.ledger.usage import FIRST_TOKENS, PER_TOKENS, QUEUES
from metrics_sidecar.metrics.exemplars import Buckets, Exemplar, find_exemplars, latest
from metrics_sidecar.metrics.exposition import Exposition
from metrics_sidecar.metrics.live import Snapshot
from shared.record import OVERFLOW_MODEL_ID, Record
from tests.metrics_sidecar.ledgers import Open, record

TRACES = [f"{number:032x}" for number in range(5)]

traced = st.builds(
    Record,
    model_id=st.sampled_from(["m", 'a"b\\', "😀", "a:b", "%d"]),
    timestamp_us=st.integers(0, 2**50),
    latency_us=st.integers(0, 400_000_000) | st.sampled_from(BUCKET_BOUNDS_US),
    trace_id=st.none() | st.sampled_from(TRACES),
    time_to_first_token_us=st.none() | st.integers(0, 20_000_000) | st.sampled_from(FIRST_TOKENS.bounds_us),
    time_per_output_token_us=st.none() | st.integers(0, 5_000_000) | st.sampled_from(PER_TOKENS.bounds_us),
    queue_us=st.none() | st.integers(0, 90_000_000) | st.sampled_from(QUEUES.bounds_us),
)
HISTOGRAMS = (
    ("model_invocation_latency_seconds", BUCKET_BOUNDS_S, "latency_us"),
    ("model_time_to_first_token_seconds", FIRST_TOKENS.bounds_s, "time_to_first_token_us"),
    ("model_time_per_output_token_seconds", PER_TOKENS.bounds_s, "time_per_output_token_us"),
    ("model_queue_seconds", QUEUES.bounds_s, "queue_us"),
)


async def scraped(records: list[Record], exemplars: dict[str, Buckets], openmetrics: bool = True) -> str:
    parts = await Exposition().render(Snapshot(aggregate(records), {}, exemplars, {}), openmetrics)
    return b"".join(parts).decode()


@given(invocations=st.lists(traced, max_size=30))
async def test_each_bucket_shows_its_latest_traced_invocation(invocations: list[Record]) -> None:
    """The official parser reads back trace, latency and time of the one that ended last, and no other. So it is with
    the times of streams."""
    expected: dict[tuple[str, str, str], tuple[int, int, str]] = {}
    for one, (family, bounds_s, field) in product(invocations, HISTOGRAMS):
        time_us = getattr(one, field)
        if one.trace_id is not None and time_us is not None:
            place = family, one.model_id, next((str(b) for b in bounds_s if time_us <= b * 1_000_000), "+Inf")
            facts = (one.timestamp_us + one.latency_us, time_us, one.trace_id)
            expected[place] = max(facts, expected.get(place, facts))
    text = await scraped(invocations, find_exemplars(invocations))
    found = {
        (family.name, sample.labels["model_id"], sample.labels["le"]): (
            round(float(sample.exemplar.timestamp) * 1_000_000),
            round(sample.exemplar.value * 1_000_000),
            sample.exemplar.labels["trace_id"],
        )
        for family in parse_openmetrics(f"{text}# EOF\n")  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }
    assert found == expected


async def test_the_text_format_has_none() -> None:
    """It knows no exemplars: a parser of it would refuse the line."""
    records = [Record("m", 1, 1, trace_id=TRACES[1])]
    assert TRACES[1] not in await scraped(records, find_exemplars(records), openmetrics=False)


async def test_a_line_is_as_the_specification_has_it() -> None:
    """After a number sign: labels, seconds of latency, seconds since 1970."""
    records = [Record("m", 1_700_000_000_000_000, 1_500_000, trace_id=TRACES[1])]
    line = f'model_invocation_latency_seconds_bucket{{model_id="m",le="2.0"}} 1 # {{trace_id="{TRACES[1]}"}}'
    assert f"{line} 1.500000 1700000001.500000\n" in await scraped(records, find_exemplars(records))


async def test_a_new_exemplar_shows_at_the_next_scrape() -> None:
    """Also where nothing else of the model has changed."""
    exposition, totals = Exposition(), aggregate([record("m", 5)])
    first, second = (find_exemplars([Record("m", at, 5, trace_id=TRACES[at])]) for at in (1, 2))
    await exposition.render(Snapshot(totals, {}, first, {}), True)
    assert TRACES[2] in b"".join(await exposition.render(Snapshot(totals, {}, second, {}), True)).decode()


def test_the_later_one_stays() -> None:
    """Whichever came first; other buckets are kept, and neither argument is changed."""
    older, newer = Exemplar(1, 5, TRACES[1]), Exemplar(2, 5, TRACES[2])
    assert latest({0: older, 3: older}, {0: newer}) == {0: newer, 3: older}
    assert latest({0: newer}, {0: older}) == {0: newer}
    assert latest(None, {0: older}) == {0: older}


@pytest.mark.parametrize(("max_models", "label"), [(5, "m"), (0, OVERFLOW_MODEL_ID)])
async def test_a_commit_publishes_them_by_label(open_books: Open, max_models: int, label: str) -> None:
    """Under the label that the model is counted under."""
    books = open_books(max_models=max_models)
    await books.commit(1, record("m"), Record("m", 7, 5, trace_id=TRACES[1]))
    assert books.exemplars == {label: {0: Exemplar(12, 5, TRACES[1])}}


def test_an_exemplar_of_the_future_is_of_now() -> None:
    """Whether a clock is ahead or a latency is forged: the next one takes its place."""
    for one in (Record("m", 500, 5, trace_id=TRACES[1]), Record("m", 1, 2**62, trace_id=TRACES[1])):
        before = find_exemplars([one], 100)["m"]
        assert [exemplar.ended_us for exemplar in before.values()] == [100]
        after = find_exemplars([Record("m", 101, one.latency_us, trace_id=TRACES[2])], 110)["m"]
        assert [exemplar.trace_id for exemplar in latest(before, after).values()] == [TRACES[2]]
