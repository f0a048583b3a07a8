"""`metrics-sidecar labels`: which models have a label of their own; to take one away, or to give one."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from metrics_sidecar.commands.upkeep_commands import check_current
from metrics_sidecar.data_dir import locked
from metrics_sidecar.parameters.filters import split_models
from metrics_sidecar.settings import HISTORY_FILE
from metrics_sidecar.sqlite.inspection import check_file, inspect, opened_to_read
from metrics_sidecar.sqlite.labels import Label, forget, promote, read_labels
from metrics_sidecar.sqlite.state import DAMAGE
from shared.clock import Clock, format_timestamp
from shared.problems import InvalidParameterError
from shared.record import OVERFLOW_MODEL_ID
from shared.settings import StartupError


def list_labels(data_dir: Path, *, as_json: bool) -> int:
    """Print them, whether a sidecar runs on the directory or not. Writes nothing."""
    path = data_dir / HISTORY_FILE
    check_file(path, writable=False)
    with opened_to_read(path) as connection:
        check_current(connection, path)
        labels = read_labels(connection)
    if as_json:
        print(msgspec.json.encode(labels).decode())
        return 0
    own = sum(label.labelled for label in labels)
    print(f"{path}: {own:,} models with a label of their own, {len(labels) - own:,} under {OVERFLOW_MODEL_ID}")
    for label in labels:
        print(f"  {'own' if label.labelled else 'shared':<7} {_describe(label)}")
    return 0


def forget_labels(data_dir: Path, patterns: Sequence[str], *, dry_run: bool) -> int:
    """Take these models' labels away; print what becomes of their counters."""
    with _changing(data_dir) as connection:
        labels = [label for label in _choose(connection, patterns) if label.labelled]
        if not dry_run:
            forget(connection, [label.model_id for label in labels])
    for label in labels:
        print(f"{_describe(label)}: its series end")
    moved = sum(label.invocations - label.overflowed for label in labels)
    print(
        f"{_how_many(labels, 'lose', dry_run)}: the counters of {OVERFLOW_MODEL_ID} go up by {moved:,} invocations at "
        "once, which rate() and increase() show as if they were made now. History and statistics by model stay as they "
        "are; calls to come are counted there as well, until the model is promoted."
    )
    return 0


def promote_labels(data_dir: Path, patterns: Sequence[str], max_models: int, clock: Clock, *, dry_run: bool) -> int:
    """Give these models labels; print what becomes of their counters. `StartupError` beyond so many labels."""
    with _changing(data_dir) as connection:
        labels = [label for label in _choose(connection, patterns) if not label.labelled]
        taken = sum(label.labelled for label in read_labels(connection))
        if taken + len(labels) > max_models:
            raise StartupError(
                f"SIDECAR_MAX_MODELS: {max_models} labels are allowed, {taken} are taken and {len(labels)} are wanted; "
                "raise it, or forget some"
            )
        if not dry_run:
            promote(connection, [label.model_id for label in labels], clock.now_us())
    for label in labels:
        print(f"{_describe(label)}: its series begin at 0")
    stay = sum(label.overflowed for label in labels)
    print(
        f"{_how_many(labels, 'get', dry_run)}: the {stay:,} invocations that were counted under {OVERFLOW_MODEL_ID} "
        "stay there, as a counter must not go down. History and statistics by model know all of them."
    )
    return 0


@contextlib.contextmanager
def _changing(data_dir: Path) -> Iterator[sqlite3.Connection]:
    path = data_dir / HISTORY_FILE
    check_file(path, writable=True)
    with locked(data_dir):
        inspect(path)
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                check_current(connection, path)
                yield connection
        except DAMAGE as error:
            raise StartupError(f"{path} can't be changed, and is as it was: {error}") from None


def _choose(connection: sqlite3.Connection, patterns: Sequence[str]) -> list[Label]:
    """The models of these ids and patterns; `StartupError` for one that no model has."""
    labels = read_labels(connection)
    found: dict[str, Label] = {}
    for pattern in patterns:
        models, prefixes = _split(pattern)
        everything = not (models or prefixes)
        matched = [one for one in labels if everything or one.model_id in models or one.model_id.startswith(prefixes)]
        if not matched:
            raise StartupError(f"MODEL: no model is called {pattern[:256]!r}; `labels list` shows all")
        found.update((label.model_id, label) for label in matched)
    return [*found.values()]


def _split(pattern: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        return split_models([pattern])
    except InvalidParameterError as error:
        raise StartupError(f"MODEL: {error}") from None


def _describe(label: Label) -> str:
    shared = f", {label.overflowed:,} of them under {OVERFLOW_MODEL_ID}" if label.labelled and label.overflowed else ""
    # Ids are whatever callers sent: quoted, so that none writes to the terminal what it likes.
    name = msgspec.json.encode(label.model_id).decode()
    return f"{name}  {label.invocations:,} invocations{shared}, last {format_timestamp(label.last_timestamp_us)}"


def _how_many(labels: Sequence[Label], verb: str, dry_run: bool) -> str:
    models = f"{len(labels):,} model{'' if len(labels) == 1 else 's'}"
    return f"{models} would {verb} a label" if dry_run else f"{models} {verb}{'s' if len(labels) == 1 else ''} a label"
