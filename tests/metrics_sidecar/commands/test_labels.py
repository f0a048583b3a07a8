"""`metrics-sidecar labels`: whose label ends or begins, and that every view still agrees."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from metrics_sidecar.__main__ import cli
from metrics_sidecar.commands.verify import examine
from metrics_sidecar.history.aggregate import Ask, Table
from metrics_sidecar.history.audit import Auditor
from metrics_sidecar.ledger.totals import ModelTotals
from metrics_sidecar.metrics.live import Live
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.books import SqliteAudit
from shared.record import OVERFLOW_MODEL_ID, ErrorType, Record
from shared.settings import run_command
from tests.metrics_sidecar.ledgers import Books

CALLS = [
    *(Record("junk-1", second, 5_000, ErrorType.TIMEOUT, "late") for second in range(3)),
    *(Record("junk-2", second, 3_000_000) for second in range(2)),
    *(Record("good", second, 70_000) for second in range(7)),
    Record("good", 8, 70_000, ErrorType.CONNECT, "refused"),
]


class Labels:
    """A history whose two labels went to junk, and the command."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        self._printed = printed
        self._sequence = 1
        self.call(*CALLS, max_models=2)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        command = ["metrics-sidecar", "labels", *arguments, "--data-dir", str(self.path.parent)]
        self._monkeypatch.setattr(sys, "argv", command)
        self._printed.readouterr()  # what was logged before, if nothing has said where logs go
        with pytest.raises(SystemExit) as exited:
            run_command(cli)
        printed = self._printed.readouterr()
        assert isinstance(exited.value.code, int)
        return exited.value.code, printed.out, printed.err

    def call(self, *records: Record, max_models: int = 3) -> dict[str, ModelTotals]:
        """Commit calls; the counters by label then, which the books were compared with."""

        async def commit() -> dict[str, ModelTotals]:
            books = Books(self.path, max_models)
            live = Live(books.ledger.state, max_models)
            await books.commit(self._sequence, *records)
            self._sequence += len(records)
            await books.close()
            restarted = Books(self.path, max_models)
            found = restarted.totals
            await restarted.close()
            live.totals.update(books.totals)
            live._number = restarted.ledger.state.number
            checked = await Auditor(lambda: SqliteAudit(self.path), live).reconcile()
            assert (checked.consistent, checked.checked.counters) == (True, True), checked.differences
            return found

        return asyncio.run(commit())

    def own(self) -> dict[str, int]:
        """Models with a label of their own, and how many of their invocations are under the shared one."""
        _, printed, _ = self("list", "--json")
        return {label["model_id"]: label["overflowed"] for label in json.loads(printed) if label["labelled"]}


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Labels:
    return Labels(tmp_path / HISTORY_FILE, monkeypatch, capsys)


def told(totals: dict[str, ModelTotals]) -> dict[str, tuple[int, int]]:
    return {label: (one.success_count, one.failure_count) for label, one in totals.items()}


def test_junk_makes_room_for_what_is_called(labels: Labels) -> None:
    """No counter goes down: what was forgotten is in the shared one, and the promoted model begins at zero. All labels
    together are the ledger's sum, and stay so after a restart."""
    assert labels.own() == {"junk-1": 0, "junk-2": 0}
    code, printed, _ = labels("forget", "junk-*")
    assert code == 0
    assert f"the counters of {OVERFLOW_MODEL_ID} go up by 5 invocations at once" in printed
    assert told(labels.call(Record("junk-1", 9, 5), max_models=2)) == {OVERFLOW_MODEL_ID: (10, 4)}
    code, printed, _ = labels("promote", "good", "--max-models", "2")
    assert code == 0
    assert f"the 8 invocations that were counted under {OVERFLOW_MODEL_ID} stay there" in printed
    again = labels.call(Record("good", 10, 3_500_000), Record("good", 11, 5, ErrorType.TIMEOUT, "late"))
    assert told(again) == {OVERFLOW_MODEL_ID: (10, 4), "good": (1, 1)}
    assert (again["good"].latency_us, again["good"].errors) == (3_500_005, {ErrorType.TIMEOUT: 1})
    assert sum(again["good"].buckets) == 2
    assert labels.own() == {"good": 8}


def test_statistics_know_all_calls_of_a_promoted_model(labels: Labels) -> None:
    """Only its counter begins anew."""
    labels("forget", "junk-1")
    labels("promote", "good")

    async def ask() -> Table:
        books = Books(labels.path, 3)
        try:
            return await books.reader.aggregate(Ask())
        finally:
            await books.close()

    expected = {"good": (7, 1), "junk-2": (2, 0), OVERFLOW_MODEL_ID: (0, 3)}
    table = asyncio.run(ask())
    sums = zip(table.sums["success_count"], table.sums["failure_count"], strict=True)
    assert dict(zip(table.groups, sums, strict=True)) == expected
    findings = examine(labels.path)
    assert findings.books is not None
    assert findings.books.consistent


def test_a_promoted_model_that_is_forgotten_is_counted_once(labels: Labels) -> None:
    """Only what was counted under its own label moves."""
    labels("promote", "good", "--max-models", "3")
    labels.call(Record("good", 12, 1))
    _, printed, _ = labels("forget", "good")
    assert "go up by 1 invocations" in printed
    assert told(labels.call(Record("good", 13, 1)))[OVERFLOW_MODEL_ID] == (9, 1)


def test_nothing_is_changed_by_looking(labels: Labels) -> None:
    """`list`, `--dry-run`, more labels than there may be, and models that there are not."""
    before = labels.path.read_bytes()
    assert labels("list")[0] == 0
    assert "2 models would lose a label" in labels("forget", "*", "--dry-run")[1]
    assert "1 model would get a label" in labels("promote", "good", "--dry-run")[1]
    for arguments, words in (
        (
            ("promote", "good", "--max-models", "2"),
            "SIDECAR_MAX_MODELS: 2 labels are allowed, 2 are taken and 1 are wanted",
        ),
        (("forget", "good", "no-such"), "MODEL: no model is called 'no-such'"),
        (("forget", "x" * 300), "MODEL: model_id is"),
    ):
        code, _, told = labels(*arguments)
        assert (code, words in told) == (2, True), told
    assert labels.path.read_bytes() == before


def test_an_id_writes_nothing_to_the_terminal(labels: Labels) -> None:
    """It is what a caller sent: between quotes, so that none looks like another or like what is told of it."""
    labels.call(Record('good"  9 invocations', 9, 5))
    assert r'own     "good\"  9 invocations"  1 invocations, last' in labels("list")[1]
