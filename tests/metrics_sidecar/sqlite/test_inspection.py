"""A file that can't be used as history: one clear line, and nothing about it or beside it is changed."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from metrics_sidecar.ledger.planner import Planner
from metrics_sidecar.ledger.transaction import Work
from metrics_sidecar.sqlite.inspection import inspect
from metrics_sidecar.sqlite.migrations import MIGRATIONS
from metrics_sidecar.sqlite.schema import APPLICATION_ID
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import Record
from shared.settings import StartupError


def write_history(path: Path, *, log: bool = False) -> None:
    """A whole history; with a `log`, as a killed sidecar leaves it."""
    store = SqliteWriter(path)
    records = [Record(f"m{number}", number, 1) for number in range(1000)]
    store.commit(Planner(store.load()).plan([Work("0" * 32, 1, records)], 1))
    copies = {name: path.with_name(name).read_bytes() for name in ("history.db", "history.db-wal") if log}
    store.close()
    for name, content in copies.items():
        path.with_name(name).write_bytes(content)


def files(directory: Path) -> dict[str, bytes | None]:
    return {path.name: path.read_bytes() if path.is_file() else None for path in directory.iterdir()}


def sql(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def make_text(path: Path) -> None:
    path.write_text("timestamp,model\n" * 1000)


def make_truncated(path: Path) -> None:
    write_history(path)
    os.truncate(path, path.stat().st_size // 2)


def make_truncated_within_a_page(path: Path) -> None:
    write_history(path)
    os.truncate(path, path.stat().st_size - 1)


def make_header_only(path: Path) -> None:
    write_history(path)
    os.truncate(path, 60)


def make_zeroed_schema(path: Path) -> None:
    write_history(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(bytes(3996))


def make_foreign(path: Path) -> None:
    sql(path, "CREATE TABLE precious (thing TEXT)", "INSERT INTO precious VALUES ('x')")


def make_foreign_with_log(path: Path) -> None:
    write_history(path, log=True)
    sql(path, "PRAGMA application_id = 7")
    write_history_log(path)


def write_history_log(path: Path) -> None:
    """A log with something in it, beside a file that isn't ours."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (thing TEXT)")
    connection.commit()
    content = {name: path.with_name(name).read_bytes() for name in ("history.db", "history.db-wal")}
    connection.close()
    for name, bytes_ in content.items():
        path.with_name(name).write_bytes(bytes_)


def make_newer(path: Path) -> None:
    write_history(path)
    sql(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def make_other_bounds(path: Path) -> None:
    write_history(path)
    sql(path, "UPDATE meta SET value = CAST('[1,2]' AS BLOB)")


def make_without_a_table(path: Path) -> None:
    write_history(path)
    sql(path, "DROP TABLE producers")


def make_directory(path: Path) -> None:
    path.mkdir()


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_log_alone(path: Path) -> None:
    write_history(path, log=True)
    path.unlink()


def make_damaged_with_log(path: Path) -> None:
    write_history(path, log=True)
    path.write_bytes(b"no database at all" * 1000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_text, "is no SQLite database"),
        (make_truncated, "is cut off"),
        (make_truncated_within_a_page, "is cut off"),
        (make_header_only, "is cut off"),
        (make_zeroed_schema, "malformed"),
        (make_foreign, "another program"),
        (make_foreign_with_log, "another program"),
        (make_newer, "newer release"),
        (make_other_bounds, "other histogram bounds"),
        (make_without_a_table, "no such table: producers"),
        (make_directory, "it is no file"),
        (make_dangling_link, "it is no file"),
        (make_pipe, "it is no file"),
        (make_log_alone, "history.db-wal is there"),
        (make_damaged_with_log, "is no SQLite database"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_used_is_refused_and_left_as_it_is(tmp_path: Path, make: object, words: str) -> None:
    """The reason in one line that names the file; byte for byte what it was, and no file more beside it."""
    path = tmp_path / "history.db"
    assert callable(make)
    make(path)
    before = files(tmp_path)
    with pytest.raises(StartupError) as refused:
        SqliteWriter(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    after = files(tmp_path)
    after.pop("history.db-shm", None)  # an index of the log, which SQLite makes to read it
    assert after == before


@pytest.mark.parametrize("log", [False, True])
def test_a_whole_history_is_not_touched_by_the_look_at_it(tmp_path: Path, log: bool) -> None:
    """With and without a log beside it."""
    path = tmp_path / "history.db"
    write_history(path, log=log)
    before = files(tmp_path)
    inspect(path)
    after = files(tmp_path)
    after.pop("history.db-shm", None)
    assert after == before
    store = SqliteWriter(path)
    assert store.load().producers["0" * 32].committed == 1000
    store.close()


def test_a_first_start_that_was_cut_off_can_be_repeated(tmp_path: Path) -> None:
    """Nothing there, an empty file, and a file with a header and nothing in it become a new history."""
    for number, statements in enumerate(([], ["PRAGMA journal_mode = WAL"])):
        path = tmp_path / f"{number}.db"
        sql(path, *statements)
        SqliteWriter(path).close()
        with contextlib.closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
