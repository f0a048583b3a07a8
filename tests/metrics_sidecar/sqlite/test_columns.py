"""Columns of a row, as they are written."""

import contextlib
import sqlite3
from collections.abc import Iterator

import msgspec
import pytest

from metrics_sidecar.history.queries import HistoryFilter, HistoryRow, Term
from metrics_sidecar.sqlite.columns import COLUMNS, Batch
from metrics_sidecar.sqlite.filters import select, where
from metrics_sidecar.sqlite.schema import migrate
from metrics_sidecar.sqlite.summaries import READ_ROLLED_UP, ROLLED_UP
from metrics_sidecar.sqlite.words import Words
from shared.record import METERED, Record

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_row_has_each_field_once() -> None:
    """The model by its number; and what rollups need is of them, or said of them."""
    assert {*COLUMNS.names} == {"id", "model", *Record.__struct_fields__} - {"model_id"}
    assert len({*COLUMNS.names}) == len(COLUMNS.names)
    assert {*ROLLED_UP} - {*COLUMNS.names} == {"usage_missing"}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, ":memory:")
        connection.execute("INSERT INTO models (model, model_id, labelled) VALUES (10, 'a', 1), (20, 'b', 1)")
        yield connection


def insert(connection: sqlite3.Connection, records: list[Record], first_id: int = 1) -> Batch:
    batch = COLUMNS.batch(records, {"a": 10, "b": 20}, Words(connection), first_id)
    connection.executemany(batch.insert, batch.rows)
    return batch


def test_what_is_not_there_takes_no_room(connection: sqlite3.Connection) -> None:
    """An empty text is NULL, and so is what a success can't have, whatever its producer has sent."""
    records = [
        Record("a", 1, 2, None, "a success with an error log", 3, 4, TRACE, "r-1"),
        Record("b", 5, 6, "timeout", "why", 7, 8),
        Record("b", 9, 10, "timeout"),
    ]
    insert(connection, records, 5)
    found = connection.execute(
        "SELECT id, model, timestamp_us, error_type, error_log, trace_id, request_id FROM invocations ORDER BY id"
    ).fetchall()
    assert found == [
        (5, 10, 1, None, None, bytes.fromhex(TRACE), "r-1"),
        (6, 20, 5, "timeout", "why", None, None),
        (7, 20, 9, "timeout", None, None, None),
    ]


def test_a_statement_has_only_what_one_of_its_records_has(connection: sqlite3.Connection) -> None:
    """Beside what each has; and rollups are told of all the same."""
    plain = insert(connection, [Record("a", 1, 2), Record("b", 3, 4)])
    assert plain.insert.partition("(")[2].partition(")")[0].split(", ") == [
        *("id", "model", "timestamp_us", "latency_us", "input_size", "output_size"),
    ]
    told = insert(connection, [Record("a", 5, 6, streamed=False, attempts=0), Record("b", 7, 8, "timeout")], 3)
    assert told.insert.partition("(")[2].partition(")")[0].split(", ") == [
        *("id", "model", "timestamp_us", "latency_us", "error_type", "error_log", "input_size", "output_size"),
        *("streamed", "attempts"),
    ]
    assert connection.execute("SELECT error_type, streamed, attempts FROM invocations WHERE id >= 3").fetchall() == [
        (None, 0, 0),
        ("timeout", None, None),
    ]
    width = len(ROLLED_UP)
    assert [len(row) for row in plain.rolled_up + told.rolled_up] == [width] * 4


def test_few_texts_are_stored_once(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row has their number, while there is room; beyond that, the text, also one that looks like a number. What is
    read is what was written."""
    monkeypatch.setattr("metrics_sidecar.sqlite.words.MAX_WORDS", 2)
    records = [
        Record("a", 1, 2, protocol="openai", operation="chat", upstream="u:1"),
        Record("a", 1, 2, protocol="openai", operation="chat", upstream="1"),
        Record("a", 1, 2, fallback_from="2"),
    ]
    insert(connection, records)
    stored = connection.execute("SELECT protocol, operation, upstream, fallback_from FROM invocations").fetchall()
    assert stored[0] == (1, 2, "u:1", None)
    assert stored[1] == (1, 2, "1", None)
    assert stored[2] == (None, None, None, "2")
    (shown,) = connection.execute(f"SELECT json_group_array(json_array({COLUMNS.shown})) FROM invocations").fetchone()
    rows = msgspec.json.decode(shown, type=list[HistoryRow])
    names = ("protocol", "operation", "upstream", "fallback_from")
    assert [[getattr(row, name) for name in names] for row in rows] == [
        [getattr(record, name) for name in names] for record in records
    ]


@pytest.mark.parametrize(
    ("text", "stored"),
    [("00ff", b"\0\xff"), ("00FF", "00FF"), ("0ff", "0ff"), ("r-1", "r-1"), ("12", b"\x12"), ("ab" * 64, b"\xab" * 64)],
)
def test_hex_digits_take_half_the_room(connection: sqlite3.Connection, text: str, stored: str | bytes) -> None:
    """What is read is what was written, whatever it is; and it is found, as are those that older releases wrote."""
    insert(connection, [Record("a", 1, 2, request_id=text), Record("a", 1, 2, request_id="other")])
    insert(connection, [Record("b", 1, 2)], 3)
    connection.execute("UPDATE invocations SET request_id = ? WHERE id = 3", (text,))
    assert connection.execute("SELECT request_id FROM invocations").fetchall() == [(stored,), ("other",), (text,)]
    wanted = HistoryFilter(terms=(Term("request_id", "equal", text),))
    clause, arguments = where(select(connection, wanted).rest)
    sql = f"SELECT json_group_array(json_array({COLUMNS.shown})) FROM invocations {clause}"
    rows = msgspec.json.decode(connection.execute(sql, arguments).fetchone()[0], type=list[HistoryRow])
    assert [(row.id, row.request_id) for row in rows] == [("1", text), ("3", text)]


def test_words_of_a_transaction_that_is_undone_are_known_no_more(connection: sqlite3.Connection) -> None:
    """Their numbers may become others'."""
    words = Words(connection)
    connection.execute("BEGIN")
    assert dict(words.number(["one"])) == {"one": 1}
    connection.execute("ROLLBACK")
    words.forget()
    assert dict(words.number(["two"])) == {"two": 1}


@pytest.mark.parametrize("room", [0, 10])
def test_what_rollups_are_told_of_a_batch_is_what_its_rows_say(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Also whether usage is missing, with and without room for words."""
    monkeypatch.setattr("metrics_sidecar.sqlite.words.MAX_WORDS", room)
    records = [
        *(Record("a", 1, 2, operation=operation) for operation in (None, "invoke", "models", *METERED)),
        Record("a", 1, 2, "timeout", operation="chat"),
        Record("a", 1, 2, operation="chat", input_tokens=0),
        Record("a", 1, 2, operation="chat", output_tokens=7, time_to_first_token_us=3, cost_nano_usd=1),
    ]
    told = insert(connection, records).rolled_up
    assert connection.execute(f"SELECT {READ_ROLLED_UP} FROM invocations ORDER BY id").fetchall() == told
    missing = [row[ROLLED_UP.index("usage_missing")] for row in told]
    assert missing == [0, 0, 0, *[1] * len(METERED), 0, 0, 0] == [record.usage_missing for record in records]
