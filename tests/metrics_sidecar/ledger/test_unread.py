"""Records that can't be read: set aside whole, counted, and read at last by a release that can."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metrics_sidecar.commands.upkeep_commands import info
from metrics_sidecar.history.aggregate import Ask
from metrics_sidecar.history.queries import HistoryQuery
from metrics_sidecar.history.reconcile import Checked
from metrics_sidecar.history.retention import Retention
from metrics_sidecar.history.windows import DAY, MINUTE_US
from metrics_sidecar.ledger import planner
from metrics_sidecar.ledger.labelled import Committed
from metrics_sidecar.ledger.planner import MAX_ERROR_TYPES, Planner
from metrics_sidecar.ledger.transaction import State, Work
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.books import SqliteAudit
from metrics_sidecar.sqlite.writer import SqliteWriter
from shared.record import ErrorType, Record
from shared.wire import Unread, encode_record
from tests.metrics_sidecar.ledgers import PRODUCER, Books, record
from tests.metrics_sidecar.tables import counts

STILL = Unread(b"\x93\xc1", "no record")
"""What no release can read."""


def later(number: int, model_id: str = "later") -> Unread:
    """A record that an older release couldn't read, and this one can."""
    return Unread(encode_record(Record(model_id, number, 1000)), "of a later release")


def checked(path: Path) -> Checked:
    snapshot = SqliteAudit(path)
    try:
        found = snapshot.reconcile(None)
    finally:
        snapshot.close()
    assert found.differences == []
    return found.checked


async def rows(books: Books) -> list[str]:
    page = await books.reader.page(HistoryQuery(order="asc"))
    return [row.model_id for row in page.rows]


async def read_again(books: Books, count: int) -> None:
    """Until so many rows are there."""
    async with asyncio.timeout(10):
        while len(await rows(books)) < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("retired", [False, True])
async def test_what_is_set_aside_is_read_by_a_later_release(tmp_path: Path, retired: bool) -> None:
    """Under its sequence, once, whether its producer is still there or not; at each moment the books agree."""
    path = tmp_path / HISTORY_FILE
    books = Books(path, 10)
    with capture_logs() as logs:
        done = await books.submit(Work(PRODUCER, 1, [record(), later(2), STILL, later(3), record()]))
        await books.submit(Work("1" * 32, 1, [later(4)], retire=retired))
    assert done == 5
    told = [(entry["producer"], entry["sequence"]) for entry in logs if entry["event"] == "ledger.record_unread"]
    assert told == [(PRODUCER, 2), ("1" * 32, 1)]
    assert await rows(books) == ["m", "m"]
    assert books.totals.keys() == {"m"}
    found = checked(path)
    assert (found.unread, found.sequences, found.rows) == (4, 2, 2)
    await books.close()
    for _ in range(2):  # the second time there is nothing more to read
        books = Books(path, 10)
        await read_again(books, 5)
        assert sorted(await rows(books)) == ["later"] * 3 + ["m"] * 2
        assert await books.submit(Work(PRODUCER, 1, [record(), later(2), STILL, later(3), record()])) == 5
        found = checked(path)
        assert (found.unread, found.sequences, found.rows) == (1, 5, 5)
        assert counts(await books.reader.aggregate(Ask(models=("later",)))) == {"later": 3}
        await books.close()


async def test_no_more_is_read_than_is_new(tmp_path: Path) -> None:
    """A batch that is sent again sets nothing aside a second time, and a hole before it is one."""
    path = tmp_path / HISTORY_FILE
    books = Books(path, 10)
    await books.submit(Work(PRODUCER, 3, [STILL, record()]))
    await books.submit(Work(PRODUCER, 3, [STILL, record(), STILL]))
    await books.close()
    snapshot = SqliteAudit(path)
    found = snapshot.reconcile(None)
    snapshot.close()
    assert (found.consistent, found.checked.unread, found.checked.rows, found.missing.count) == (True, 2, 1, 2)


async def test_there_are_so_many_error_types_and_no_more(tmp_path: Path) -> None:
    """Each is a label of every model; a record of one more is set aside, and stays there."""
    path = tmp_path / HISTORY_FILE
    room = MAX_ERROR_TYPES - len(ErrorType)
    kinds = [f"kind_{number}" for number in range(room + 2)]
    books = Books(path, 10)
    await books.submit(Work(PRODUCER, 1, [Record("m", 1, 1, kind) for kind in [*kinds[:-1], *kinds[:3]]]))
    assert books.totals["m"].errors == dict.fromkeys(kinds[:room], 1) | dict.fromkeys(kinds[:3], 2)
    await books.close()
    books = Books(path, 10)
    await books.submit(Work(PRODUCER, room + 5, [Record("m", 1, 1, kind) for kind in (kinds[-1], kinds[0])]))
    await asyncio.sleep(0.1)
    assert books.totals["m"].errors == dict.fromkeys(kinds[:room], 1) | dict.fromkeys(kinds[:3], 2) | {kinds[0]: 3}
    assert checked(path).unread == 2
    await books.close()


async def test_beyond_their_bound_they_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told once; the books agree, and what is read at last makes room again."""
    path = tmp_path / HISTORY_FILE
    monkeypatch.setattr(planner, "MAX_UNREAD_BYTES", 2 * len(later(2).encoded) + 1)
    books = Books(path, 10)
    published: list[Committed] = []
    monkeypatch.setattr(books.ledger, "_on_committed", published.append)
    with capture_logs() as logs:
        await books.submit(Work(PRODUCER, 1, [later(2), later(3), later(4)]))
        await books.submit(Work(PRODUCER, 4, [later(5)]))
    assert [entry["count"] for entry in logs if entry["event"] == "ledger.unread_records_dropped"] == [1]
    assert [committed.unread for committed in published] == [{"kept": 2, "dropped": 1}, {"kept": 0, "dropped": 1}]
    assert books.ledger.is_full_of_unread
    assert checked(path).unread == 4
    info(tmp_path, as_json=False)
    size = 2 * len(later(2).encoded)
    assert f"unread     2 records of {size} bytes, kept for a release that can read them; 2 dropped" in (
        capsys.readouterr().out
    )
    await books.close()
    books = Books(path, 10)
    await read_again(books, 2)
    await books.submit(Work(PRODUCER, 5, [later(6)]))
    assert not books.ledger.is_full_of_unread
    assert checked(path).unread == 3
    await books.close()


async def test_more_than_one_slice_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of it can't be read."""
    monkeypatch.setattr("metrics_sidecar.ledger.rereading.READ_AT_ONCE", 2)
    books = Books(tmp_path / HISTORY_FILE, 10)
    await books.submit(Work(PRODUCER, 1, [STILL, STILL, STILL, later(1), STILL, later(2), later(3), later(4)]))
    await books.close()
    books = Books(tmp_path / HISTORY_FILE, 10)
    await read_again(books, 4)
    assert await rows(books) == ["later"] * 4
    await books.close()


def test_a_plan_changes_nothing_until_it_is_applied() -> None:
    """It is made again after a failure."""
    planner = Planner(State())
    work = Work(PRODUCER, 1, [Record("m", 1, 1, "new_kind"), STILL])
    first, again = planner.plan([work], 1), planner.plan([work], 1)
    assert first == again
    assert (first.error_types, len(first.unread), first.unread_bytes) == ({"new_kind"}, 1, len(STILL.encoded))


def test_they_are_kept_no_longer_than_rows(tmp_path: Path) -> None:
    """By when they came; the books agree, and there is room again for others."""
    path = tmp_path / HISTORY_FILE
    store = SqliteWriter(path, retention=Retention(rows_us=DAY * MINUTE_US))
    plan = Planner(store.load())
    for day, count in ((10, 250), (11, 1)):
        first = {10: 1, 11: 251}[day]
        commit = plan.plan([Work(PRODUCER, first, [STILL] * count)], day * DAY * MINUTE_US)
        store.commit(commit)
        plan.applied(commit)
    plan.unread_removed(store.upkeep.removed_unread_bytes)
    while store.tend(int(11.5 * DAY * MINUTE_US)):
        pass
    assert len(store.read_unread(0, 1000)) == 1
    assert store.upkeep.removed_unread_bytes == 250 * len(STILL.encoded)
    plan.unread_removed(store.upkeep.removed_unread_bytes)
    assert plan.unread_bytes == store.load().unread_bytes == len(STILL.encoded)
    store.close()
    assert checked(path).unread == 251
