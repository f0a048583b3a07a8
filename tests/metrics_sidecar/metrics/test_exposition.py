"""The text that Prometheus scrapes says exactly what was counted."""

import asyncio
from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from metrics_sidecar.intake.reported import REPORTED_COUNTERS
from metrics_sidecar.ledger.totals import BUCKET_BOUNDS_S, NO_TOTALS, ModelTotals, aggregate
from metrics_sidecar.ledger.usage import FIRST_TOKENS, PER_TOKENS, QUEUES
from metrics_sidecar.metrics.exemplars import Buckets
from metrics_sidecar.metrics.exposition import MODELS_PER_SLICE, Exposition
from metrics_sidecar.metrics.live import Snapshot
from metrics_sidecar.metrics.process_metrics import SidecarMetrics
from shared.record import COUNTED, ErrorType, Record

Totals = dict[str, ModelTotals]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

model_ids = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
tricky_model_ids = st.sampled_from(['"', "\\", "\\n", 'a"b\\', "😀", "a:b", "{}", "%d %%", " ", "\u2028", "a,b=c"])
records = st.builds(
    Record,
    model_id=model_ids | tricky_model_ids,
    timestamp_us=st.integers(0, 2**50),
    latency_us=st.integers(0, 2**53),
    error_type=st.none() | st.sampled_from([*ErrorType, "of_a_later_release"]),
    operation=st.sampled_from([None, "invoke", "chat"]),
    **dict.fromkeys(
        (*COUNTED, "time_to_first_token_us", "time_per_output_token_us", "queue_us"),
        st.none() | st.integers(0, 20_000_000) | st.integers(0, 2**50),
    ),
)
counts = st.integers(0, 2**53)


def render(
    totals: Totals,
    active: dict[str, int],
    openmetrics: bool,
    exemplars: dict[str, Buckets] | None = None,
    created_us: dict[str, int] | None = None,
) -> str:
    parts = asyncio.run(Exposition().render(Snapshot(totals, active, exemplars or {}, created_us or {}), openmetrics))
    return b"".join(parts).decode()


def parse(text: str, openmetrics: bool) -> dict[str, Metric]:
    families = parse_openmetrics(f"{text}# EOF\n") if openmetrics else parse_text(text)  # type: ignore[no-untyped-call]
    return {family.name: family for family in families}


def samples_of(families: dict[str, Metric]) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families.values()
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def expected_samples(totals: Totals, active: dict[str, int], created_us: dict[str, int]) -> Samples:
    """The samples by the plainest reading of the specification."""
    samples: Samples = {}
    for label in totals.keys() | active.keys():
        sums = totals.get(label, ModelTotals())
        latency = "model_invocation_latency_seconds"
        samples[key("model_invocations_total", model_id=label, status="success")] = sums.success_count
        samples[key("model_invocations_total", model_id=label, status="failure")] = sums.failure_count
        for error_type, count in sums.errors.items():
            samples[key("model_invocation_errors_total", model_id=label, error_type=str(error_type))] = count
        bounds = [*map(str, BUCKET_BOUNDS_S), "+Inf"]
        for bound, count in zip(bounds, accumulate(sums.buckets), strict=True):
            samples[key(f"{latency}_bucket", model_id=label, le=bound)] = count
        samples[key(f"{latency}_sum", model_id=label)] = sums.latency_us / 1_000_000
        samples[key(f"{latency}_count", model_id=label)] = sums.count
        samples[key("model_active_invocations", model_id=label)] = active.get(label, 0)
        samples[key("model_total_invocations", model_id=label)] = sums.count
        if sums.count:
            samples[key("model_success_rate", model_id=label)] = 100 * sums.success_count / sums.count
        samples |= expected_usage(label, sums)
        if label in created_us:
            created = created_us[label] / 1_000_000
            for name, labels in expected_usage(label, sums):
                for end in ("_total", "_count"):
                    if name.endswith(end):
                        samples[name.removesuffix(end) + "_created", labels] = created
            for status in ("success", "failure"):
                samples[key("model_invocations_created", model_id=label, status=status)] = created
            for error_type in sums.errors:
                samples[key("model_invocation_errors_created", model_id=label, error_type=str(error_type))] = created
            samples[key(f"{latency}_created", model_id=label)] = created
    return samples


def expected_usage(label: str, sums: ModelTotals) -> Samples:
    """Of a model that anything is known of."""
    if not sums.usage:
        return {}
    samples: Samples = {}
    for type_ in ("input", "cached_input", "output", "reasoning"):
        samples[key("model_tokens_total", model_id=label, type=type_)] = sums.number(f"{type_}_tokens")
    samples[key("model_cost_usd_total", model_id=label)] = float(Decimal(sums.number("cost_nano_usd")) / 10**9)
    samples[key("model_usage_missing_total", model_id=label)] = sums.number("usage_missing")
    for spread, name in (
        (FIRST_TOKENS, "model_time_to_first_token_seconds"),
        (PER_TOKENS, "model_time_per_output_token_seconds"),
        (QUEUES, "model_queue_seconds"),
    ):
        buckets = spread.buckets(sums.usage)
        if any(buckets):
            for bound, count in zip([*map(str, spread.bounds_s), "+Inf"], accumulate(buckets), strict=True):
                samples[key(f"{name}_bucket", model_id=label, le=bound)] = count
            samples[key(f"{name}_sum", model_id=label)] = sums.number(spread.field) / 1_000_000
            samples[key(f"{name}_count", model_id=label)] = sum(buckets)
    return samples


@pytest.mark.parametrize("openmetrics", [False, True])
@given(
    invocations=st.lists(records, max_size=30),
    active=st.dictionaries(model_ids | tricky_model_ids, counts),
    created_us=st.integers(0, 2**52),
)
def test_what_is_parsed_is_what_was_counted(
    openmetrics: bool, invocations: list[Record], active: dict[str, int], created_us: int
) -> None:
    """The official parsers read back the same labels and values, whatever a model is called; and, of those of which it
    is known and in OpenMetrics alone, when they were zero."""
    totals = aggregate(invocations)
    known = dict.fromkeys([*totals][::2], created_us)
    families = parse(render(totals, active, openmetrics, created_us=known), openmetrics)
    assert samples_of(families) == expected_samples(totals, active, known if openmetrics else {})


def test_a_label_that_begins_anew_tells_so() -> None:
    """What was rendered for the last scrape is not shown again where only the time of its beginning is another."""
    exposition = Exposition()

    def scrape(created_us: int) -> str:
        snapshot = Snapshot(one_model(), {}, {}, {"gpt-3.5": created_us})
        return b"".join(asyncio.run(exposition.render(snapshot, True))).decode()

    assert 'model_invocations_created{model_id="gpt-3.5",status="success"} 1.000002\n' in scrape(1_000_002)
    assert 'model_invocations_created{model_id="gpt-3.5",status="success"} 3.000000\n' in scrape(3_000_000)


def one_model() -> Totals:
    return aggregate([Record("gpt-3.5", 0, 100_000), Record("gpt-3.5", 0, 100_001, ErrorType.TIMEOUT)])


def test_text_has_the_names_and_labels_of_the_specification() -> None:
    """Names, help, the order of labels and the form of bounds are as dashboards and people expect."""
    text = render(one_model(), {}, openmetrics=False)
    assert text.startswith(
        "# HELP model_invocations_total Total number of model invocations\n"
        "# TYPE model_invocations_total counter\n"
        'model_invocations_total{model_id="gpt-3.5",status="success"} 1\n'
        'model_invocations_total{model_id="gpt-3.5",status="failure"} 1\n'
    )
    assert "# HELP model_invocation_latency_seconds Latency of model invocations in seconds\n" in text
    for bound, count in [("0.05", 0), ("0.1", 1), ("0.25", 2), ("1.0", 2), ("300.0", 2), ("+Inf", 2)]:
        line = f'model_invocation_latency_seconds_bucket{{model_id="gpt-3.5",le="{bound}"}} {count}\n'
        assert line in text


@pytest.mark.parametrize("openmetrics", [False, True])
def test_families_have_their_types(openmetrics: bool) -> None:
    """Both formats name the same families with the same types (the parsers cut `_total` off both)."""
    families = parse(render(one_model(), {}, openmetrics), openmetrics)
    assert {name: family.type for name, family in families.items()} == {
        "model_invocations": "counter",
        "model_invocation_errors": "counter",
        "model_invocation_latency_seconds": "histogram",
        "model_active_invocations": "gauge",
        "model_total_invocations": "gauge",
        "model_success_rate": "gauge",
        "model_time_to_first_token_seconds": "histogram",
        "model_time_per_output_token_seconds": "histogram",
        "model_queue_seconds": "histogram",
        "model_tokens": "counter",
        "model_cost_usd": "counter",
        "model_usage_missing": "counter",
    }


def test_a_sum_of_latencies_is_exact() -> None:
    """No microsecond is rounded away, also where a float has no room for it."""
    totals = ModelTotals(success_count=1, latency_us=2**60 + 1, buckets=[0] * 22 + [1])
    (line,) = (line for line in render({"m": totals}, {}, False).splitlines() if "_sum" in line)
    assert Decimal(line.split()[1]) == Decimal(2**60 + 1) / 1_000_000


def test_a_cost_is_exact() -> None:
    """To the nano-dollar, also where a float has no room for it."""
    records = [Record("m", 0, 1, cost_nano_usd=2**60 + 1)]
    (line,) = lines_of(aggregate(records), "model_cost_usd_total{")
    assert Decimal(line.split()[1]) == Decimal(2**60 + 1) / 10**9


def test_a_model_without_tokens_has_no_series_of_them() -> None:
    """Nor has one without streams any of their times."""
    used = ("model_tokens_total{", "model_cost_usd_total{", "model_usage_missing_total{")
    times = ("model_time_to_first_token_seconds_", "model_time_per_output_token_seconds_", "model_queue_seconds_")
    assert lines_of(one_model(), *used, *times) == []
    chat = aggregate([Record("gpt-3.5", 0, 1, operation="chat", input_tokens=3)])
    assert len(lines_of(chat, *used)) == 6
    assert lines_of(chat, *times) == []
    stream = aggregate([Record("gpt-3.5", 0, 1, time_to_first_token_us=3)])
    assert (len(lines_of(stream, *times[:1])), lines_of(stream, *times[1:])) == (19, [])
    queued = aggregate([Record("gpt-3.5", 0, 1, queue_us=0)])
    assert (len(lines_of(queued, *times[2:])), lines_of(queued, *times[:2])) == (17, [])


def lines_of(totals: Totals, *begins: str) -> list[str]:
    """Those that begin with one of these."""
    return [line for line in render(totals, {}, False).splitlines() if line.startswith(begins)]


@pytest.mark.parametrize("openmetrics", [False, True])
def test_nothing_counted_is_valid_too(openmetrics: bool) -> None:
    """A sidecar that has seen no model exposes families without samples."""
    assert samples_of(parse(render({}, {}, openmetrics), openmetrics)) == {}


async def test_labels_that_are_gone_are_forgotten() -> None:
    """A second scrape shows and keeps only what the second call was given, with its new values."""
    exposition = Exposition()
    await exposition.render(
        Snapshot(dict.fromkeys(map(str, range(MODELS_PER_SLICE + 1)), NO_TOTALS), {}, {}, {}), False
    )
    await exposition.render(Snapshot(one_model(), {}, {}, {}), False)
    totals = aggregate([Record("gpt-3.5", 0, 1)])
    text = b"".join(await exposition.render(Snapshot(totals, {}, {}, {}), False)).decode()
    assert samples_of(parse(text, False)) == expected_samples(totals, {}, {})
    assert [*exposition._models[False]] == ["gpt-3.5"]


async def test_other_tasks_run_while_many_models_are_rendered() -> None:
    """The event loop has its turn after each slice."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    many = dict.fromkeys(map(str, range(3 * MODELS_PER_SLICE)), NO_TOTALS)
    await Exposition().render(Snapshot(many, {}, {}, {}), True)
    task.cancel()
    assert turns >= 3


@pytest.mark.parametrize("openmetrics", [False, True])
def test_model_families_and_the_sidecars_own_are_one_exposition(openmetrics: bool) -> None:
    """Put together they parse, with one end and no `_created` series."""
    text = render(one_model(), {}, openmetrics) + SidecarMetrics().render(openmetrics).decode()
    names = {name for name, _ in samples_of(parse(text.removesuffix("# EOF\n"), openmetrics))}
    assert text.count("# EOF") == openmetrics
    assert {"model_success_rate", "sidecar_commits_total", "process_cpu_seconds_total", "python_info"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_reports_of_gateway_workers_are_shown_by_known_names_only() -> None:
    """The socket is not trusted: what no one knows is left out."""
    metrics = SidecarMetrics()
    metrics.gateway_counters = {
        "invoker_records_dropped_total": {'journal"full\n': 2},
        "invoker_requests_rejected_total": {str(number): 1 for number in range(5)},
        "made_up_total": {"x": 1},
    }
    metrics.gateway_gauges = {"invoker_journal_bytes": 12.0, "made_up": 1.0}
    reported = {
        name_and_labels: value
        for name_and_labels, value in samples_of(parse(metrics.render(False).decode(), False)).items()
        if name_and_labels[0].startswith(("invoker_re", "invoker_jo", "made_up"))
    }
    assert reported.pop(key("invoker_records_dropped_total", reason='journal"full\n')) == 2
    assert reported.pop(key("invoker_journal_bytes")) == 12
    assert {key("invoker_requests_rejected_total", reason=str(number)) for number in range(5)} == {
        sample for sample, value in reported.items() if value
    }


def test_what_workers_may_report_is_there_at_0() -> None:
    """A series that first shows at 1 would look to Prometheus like no increase."""
    samples = samples_of(parse(SidecarMetrics().render(False).decode(), False))
    for name, (label, _, values) in REPORTED_COUNTERS.items():
        assert [samples[key(f"{name}_total", **{label: value})] for value in values] == [0] * len(values)


def test_the_gateways_overhead_is_shown_as_a_histogram() -> None:
    """Workers report counts per bucket and a sum in µs; a scrape cumulates them, and is all 0 before."""
    metrics = SidecarMetrics()
    samples = samples_of(parse(metrics.render(False).decode(), False))
    assert samples[key("invoker_overhead_seconds_count")] == 0
    metrics.gateway_counters = {"invoker_overhead_seconds": {"0.0001": 3, "0.001": 2, "+Inf": 1, "sum_us": 2_500_000}}
    samples = samples_of(parse(metrics.render(False).decode(), False))
    found = [
        samples[key("invoker_overhead_seconds_bucket", le=le)] for le in ("0.0001", "0.0005", "0.001", "1.0", "+Inf")
    ]
    assert found == [3, 3, 5, 5, 6]
    assert samples[key("invoker_overhead_seconds_sum")] == 2.5


def test_instruments_are_refreshed_before_each_scrape() -> None:
    """`before_collect` may set gauges; a refused connection is told apart from a wrong frame."""
    metrics = SidecarMetrics()
    metrics.before_collect = lambda: metrics.queue_records.set(7)
    metrics.count_rejected("connections")
    metrics.count_rejected("bad_frame")
    samples = samples_of(parse(metrics.render(False).decode(), False))
    assert samples[key("sidecar_queue_records")] == 7
    assert samples[key("sidecar_connections_refused_total")] == 1
    assert samples[key("sidecar_frames_rejected_total", reason="bad_frame")] == 1
    assert samples[key("sidecar_frames_rejected_total", reason="version")] == 0
