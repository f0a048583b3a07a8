"""Producers' accounts and what they report: bounded, whatever is sent."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.intake.families import OTHER_VALUES
from metrics_sidecar.intake.reported import MAX_REPORTED_VALUES
from metrics_sidecar.ledger import ledger as ledger_module
from metrics_sidecar.ledger.ledger import FORGET_PRODUCERS_AFTER_US
from metrics_sidecar.ledger.transaction import Work
from tests.metrics_sidecar.ledgers import Open, record


async def test_only_known_counters_are_kept_and_each_with_few_labels(open_books: Open) -> None:
    """Made-up names leave no trace; after 32 label values, all further ones of a counter share one, for good."""
    books = open_books()
    name = "invoker_requests_rejected_total"
    for producer in range(3):
        values = {f"{producer}-{number}": 1 for number in range(60)}
        await books.submit(Work(f"{producer:032x}", reported={name: values, "made_up_total": {"x": 1}}))
    await books.close()
    again = open_books()
    counters = again.ledger.state.counters
    assert counters.keys() == {name}
    assert len(counters[name]) == MAX_REPORTED_VALUES + 1
    assert counters[name][OTHER_VALUES] == 3 * 60 - MAX_REPORTED_VALUES
    assert max(len(producer.reported) for producer in again.ledger.state.producers.values()) < 1000
    await again.submit(Work("0" * 32, reported={name: {f"0-{number}": 1 for number in range(60)}}))
    await again.close()
    assert open_books().ledger.state.counters == counters


async def test_forged_records_do_not_break_the_sums(open_books: Open) -> None:
    """A sum past the largest integer stays there, the same in every view; the honest go on."""
    books = open_books()
    await books.commit(1, *[record(latency_us=2**63 - 1)] * 3)
    await books.commit(4, *[record(latency_us=2**63 - 1)] * 3)
    name = "invoker_requests_rejected_total"
    for producer in range(3):
        await books.submit(Work(f"{producer:032x}", reported={name: {"x": 2**63 - 1, "y": 2**63 - 1}}))
        await books.submit(Work(f"{producer + 8:032x}", 2**62, [record()]))
    assert books.totals["m"].latency_us == 2**63 - 1
    table = await books.reader.aggregate(Ask(models=("m",)))
    assert table.sums["latency_us"] == [2**63 - 1]
    await books.close()
    state = open_books().ledger.state
    assert state.totals == books.totals
    assert state.counters == {name: {"x": 2**63 - 1, "y": 2**63 - 1}}
    assert state.missing_count == 3 * (2**62 - 1)


async def test_producers_not_seen_for_90_days_are_forgotten_at_start(open_books: Open, tmp_path: Path) -> None:
    """Their accounts go, what they sent stays counted; one seen later keeps its account."""
    books = open_books()
    await books.commit(1, record(), producer="1" * 32)
    await books.commit(1, record(), producer="2" * 32)
    await books.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "history.db")) as connection, connection:
        connection.execute(
            "UPDATE producers SET last_seen_us = last_seen_us - ? WHERE producer_id = ?",
            (FORGET_PRODUCERS_AFTER_US + 1, "1" * 32),
        )
    again = open_books()
    assert again.ledger.committed("1" * 32) == 0
    assert again.ledger.committed("2" * 32) == 1
    await again.close()
    state = open_books().ledger.state
    assert state.producers.keys() == {"2" * 32}
    assert (state.number, state.totals["m"].count) == (3, 2)


async def test_accounts_of_producers_are_bounded(open_books: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many, those who have one are still welcome, and no others."""
    monkeypatch.setattr(ledger_module, "MAX_PRODUCERS_KNOWN", 2)
    books = open_books()
    await books.commit(1, record(), producer="1" * 32)
    assert books.ledger.has_room_for("2" * 32)
    await books.commit(1, record(), producer="2" * 32)
    assert books.ledger.has_room_for("1" * 32)
    assert not books.ledger.has_room_for("3" * 32)
    await books.submit(Work("1" * 32, retire=True))
    assert books.ledger.has_room_for("3" * 32)
