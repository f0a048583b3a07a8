"""Models that are asked for by the beginning of their ids."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics_sidecar.history.aggregate import ALL
from metrics_sidecar.history.queries import TooManyModelsError
from metrics_sidecar.sqlite.filters import find_ids
from metrics_sidecar.sqlite.schema import migrate
from shared.record import OVERFLOW_MODEL_ID

MODELS = ("a", "a/1", "a/2", "a0", "b", "b\U0010ffff", "b\U0010ffff1", "\ud7ffx", "\ue000")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    migrate(connection, "history.db")
    connection.executemany("INSERT INTO models (model_id, labelled) VALUES (?, 0)", ((model,) for model in MODELS))
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("models", "prefixes", "expected"),
    [
        ((), (), set()),
        (("b", "c"), (), {"b", "c"}),
        ((), ("a",), {"a", "a/1", "a/2", "a0"}),
        ((), ("a/",), {"a/1", "a/2"}),
        (("b", "a/1", OVERFLOW_MODEL_ID), ("a/", "c"), {"a/1", "a/2", "b", OVERFLOW_MODEL_ID}),
        ((), ("b\U0010ffff",), {"b\U0010ffff", "b\U0010ffff1"}),
        ((), ("\ud7ff",), {"\ud7ffx"}),
        ((), (OVERFLOW_MODEL_ID, "%", "_"), {ALL}),
    ],
)
def test_which_models_are_meant(
    connection: sqlite3.Connection, models: tuple[str, ...], prefixes: tuple[str, ...], expected: set[str]
) -> None:
    """None at all only where all are meant: there is no model whose id is empty."""
    found = find_ids(connection, models, prefixes)
    assert {*found} == expected
    assert len(found) == len(expected)


def test_more_models_than_an_answer_holds(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which prefix is too short; ids that are named are bounded by who asks."""
    monkeypatch.setattr("metrics_sidecar.sqlite.filters.MAX_MATCHED_MODELS", 3)
    with pytest.raises(TooManyModelsError, match=r"^a$"):
        find_ids(connection, (), ("b", "a"))
    assert len(find_ids(connection, MODELS, ())) == len(MODELS)
