"""Tokens, cost and times of streams: whoever is asked, and whatever was killed in between, says the same."""

import json
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.record import ErrorType, Record
from shared.wire import PROTOCOL_VERSION
from tests.processes import System, get, get_text, system
from tests.system.test_later_release import NOW_US, send
from tests.system.test_transfer import fetch

MODEL = "gpt-4o"
WINDOW = "since=2023-11-14T00:00:00Z&until=2023-11-16T00:00:00Z"
TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens")
CHAT: dict[str, Any] = {"protocol": "openai", "operation": "chat", "upstream": "127.0.0.1:8001"}
RECORDS = [
    *(
        Record(
            MODEL,
            NOW_US + n,
            1000,
            streamed=True,
            time_to_first_token_us=20_000 * n,
            time_per_output_token_us=30_000,
            input_tokens=100 + n,
            cached_input_tokens=n,
            output_tokens=2**40 + n,
            reasoning_tokens=7,
            cost_nano_usd=1_000_000_001,
            tags={"team": "search" if n % 2 else "ads"},
            **CHAT,
        )
        for n in range(1, 8)
    ),
    Record(MODEL, NOW_US, 1000, **CHAT),  # a success that doesn't tell its tokens
    Record(MODEL, NOW_US, 1000, ErrorType.TIMEOUT, "why", **CHAT),
    Record("plain", NOW_US, 1000, protocol="worklet", operation="invoke"),
]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[System]:
    with system(tmp_path) as started:
        yield started


def shown(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the rows of a model add up to, as statistics show it."""
    sums: dict[str, Any] = {f"total_{name}": sum(row[name] or 0 for row in rows) for name in TOKENS}
    return sums | {"cost_usd": str(sum(Decimal(row["cost_usd"] or 0) for row in rows)), "usage_missing": 1}


def counted(started: System) -> dict[str, Any]:
    """The same as the counters have it, and how many streams they know the times of."""
    families = text_string_to_metric_families(get_text(f"{started.sidecar_url}/metrics"))
    samples = [sample for family in families for sample in family.samples if sample.labels.get("model_id") == MODEL]
    tokens = {f"total_{one.labels['type']}_tokens": one.value for one in samples if one.name == "model_tokens_total"}
    (cost,) = (one.value for one in samples if one.name == "model_cost_usd_total")
    (missing,) = (one.value for one in samples if one.name == "model_usage_missing_total")
    counts = [
        one.value for one in samples if one.name.endswith(("first_token_seconds_count", "output_token_seconds_count"))
    ]
    assert counts == [7, 7]
    return tokens | {"cost_usd": str(Decimal(str(cost))), "usage_missing": missing}


def check(started: System) -> None:
    """All that tells it."""
    url = started.sidecar_url
    rows = started.history(f"model_id={MODEL}")["history"]
    expected = shown(rows)
    assert expected["cost_usd"] == "7.000000007"
    exported = [json.loads(line) for line in fetch(f"{url}/metrics/export?model_id={MODEL}").splitlines()]
    assert shown(exported) == expected
    for query in ("", f"?{WINDOW}"):
        stats = get(f"{url}/metrics/stats{query}")["stats"]
        assert {name: stats[MODEL][name] for name in expected} == expected
        assert {*stats["plain"]}.isdisjoint({*expected, "ttft_p50"})
    assert stats[MODEL]["ttft_p50"] == pytest.approx(80, rel=0.01)
    assert stats[MODEL]["time_per_output_token_p99"] == pytest.approx(30, rel=0.01)
    for metric, total in (("cost_usd", 7.000000007), ("usage_missing", 1), ("ttft_p99", stats[MODEL]["ttft_p99"])):
        (series,) = get(f"{url}/metrics/timeseries?{WINDOW}&step=1d&metric={metric}&model_id={MODEL}")["series"]
        assert sum(value or 0 for _, value in series["points"]) == total
    assert counted(started) == expected
    books = get(f"{url}/metrics/reconcile")
    assert (books["consistent"], books["checked"]["counters"]) == (True, True)


def test_all_views_agree_after_a_kill_too(started: System) -> None:
    """Rows, export, statistics of all time and of a window, series, counters, and the books."""
    sidecar = started.start_sidecar()
    send(started.socket, [msgspec.msgpack.encode(record) for record in RECORDS], PROTOCOL_VERSION)
    check(started)
    sidecar.signal(signal.SIGKILL)
    sidecar.wait()
    started.start_sidecar()
    check(started)


def test_rows_are_found_by_their_tags(started: System) -> None:
    """In history and export; what is no tag's name is refused by it."""
    started.start_sidecar()
    send(started.socket, [msgspec.msgpack.encode(record) for record in RECORDS], PROTOCOL_VERSION)
    rows = started.history("tag.team=search")["history"]
    assert [row["tags"] for row in rows] == [{"team": "search"}] * 4
    assert started.history("tag.team=search&tag.other=x")["history"] == []
    exported = fetch(f"{started.sidecar_url}/metrics/export?tag.team=ads").splitlines()
    assert [json.loads(line)["tags"] for line in exported] == [{"team": "ads"}] * 3
