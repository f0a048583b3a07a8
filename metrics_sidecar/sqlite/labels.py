"""Which models have a label of their own in the metrics: shown, taken away, and given.

Whatever is done, the counters of all labels together stay what the ledger has, and none goes down: a model that loses
its label is counted under the shared one, all of it; one that gets a label begins at zero under it, and what was
counted under the shared one stays there.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from metrics_sidecar.sqlite.state import decode_overflowed, encode_overflowed, read_totals
from metrics_sidecar.sqlite.transactions import transaction


class Label(msgspec.Struct, frozen=True):
    """A model: whether its label is its own, all its invocations, how many of them are counted under the shared label,
    and its last one (µs since 1970)."""

    model_id: str
    labelled: bool
    invocations: int
    overflowed: int
    last_timestamp_us: int


def read_labels(connection: sqlite3.Connection) -> list[Label]:
    """Of all models, those with a label first, each by when they were last called, latest first."""
    rows = connection.execute(
        """SELECT model_id, labelled, success_count + failure_count, overflowed, last_timestamp_us
        FROM models JOIN totals USING (model) ORDER BY labelled DESC, last_timestamp_us DESC, model_id"""
    )
    labels = []
    for model_id, labelled, count, overflowed, last_us in rows:
        stays = decode_overflowed(overflowed).count if overflowed is not None else 0
        labels.append(Label(model_id, bool(labelled), count, stays if labelled else count, last_us))
    return labels


def forget(connection: sqlite3.Connection, models: Sequence[str]) -> None:
    """Their labels end: what was counted under them is counted under the shared one, now and from now on."""
    with transaction(connection):
        connection.executemany(
            "UPDATE models SET labelled = 0, overflowed = NULL WHERE model_id = ?", ((model_id,) for model_id in models)
        )


def promote(connection: sqlite3.Connection, models: Sequence[str], now_us: int) -> None:
    """They get labels that begin at zero now."""
    with transaction(connection):
        for model_id in models:
            totals = read_totals(connection, model_id)
            overflowed = None if totals is None else encode_overflowed(totals)
            connection.execute(
                "UPDATE models SET labelled = 1, overflowed = ?, created_us = ? WHERE model_id = ?",
                (overflowed, now_us, model_id),
            )
