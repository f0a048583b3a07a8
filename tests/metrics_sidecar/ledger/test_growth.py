"""Families with labels: what grew of a worker's numbers, under a bounded number of labels."""

import msgspec
import pytest

from metrics_sidecar.intake.families import MAX_VALUES, OTHER_VALUES, joined
from metrics_sidecar.intake.reported import MAX_REPORTED_VALUES, Counters
from metrics_sidecar.ledger import growth as growth_module
from metrics_sidecar.ledger.growth import Growth
from shared.record import MAX_COUNT

NAME = "invoker_upstream_attempts_total"


def upstreams(count: int, outcome: str = "success", value: int = 1) -> dict[str, int]:
    return {joined(f"u{number}", outcome): value for number in range(count)}


def test_what_grew_of_a_part_is_added_to_what_is_known_of_the_others() -> None:
    """A report says only what has changed; a lower number, or the same again, adds nothing."""
    growth, pending = Growth({}), Counters()
    account = growth.grown(b"", {NAME: {"a success": 3, "b success": 1}}, pending)
    assert pending == {NAME: {"a success": 3, "b success": 1}}
    growth.applied(pending)
    more = Counters()
    account = growth.grown(account, {NAME: {"a success": 5, "a connect": 2}}, more)
    assert more == {NAME: {"a success": 2, "a connect": 2}}
    assert msgspec.msgpack.decode(account) == {NAME: {"a success": 5, "b success": 1, "a connect": 2}}
    assert growth.grown(account, {NAME: {"a success": 4, "b success": 1}}, Counters()) is account


def test_upstreams_beyond_the_bound_share_one_label_and_each_still_counts_once() -> None:
    """Whether they are known from before, from the same transaction or from the same report; their workers' own numbers
    are known apart, so that what is told of one of them says nothing of the others."""
    known = upstreams(MAX_VALUES - 1)
    stored, pending = Growth({NAME: known}), Counters()
    account = stored.grown(b"", {NAME: {"new success": 2, "other success": 3, "u1 success": 1}}, pending)
    assert pending == {NAME: {"new success": 2, f"{OTHER_VALUES} success": 3, "u1 success": 1}}
    account = stored.grown(account, {NAME: {"third success": 4}}, pending)
    assert pending[NAME][f"{OTHER_VALUES} success"] == 7
    stored.applied(pending)
    later = Counters()
    stored.grown(account, {NAME: {"other success": 4, "third success": 4}}, later)
    assert later == {NAME: {f"{OTHER_VALUES} success": 1}}


def test_second_labels_are_bounded_too() -> None:
    """By few, as all other labels of reports are."""
    pending = Counters()
    values = {joined("u", f"o{number}"): 1 for number in range(MAX_REPORTED_VALUES + 2)}
    Growth({}).grown(b"", {NAME: values}, pending)
    assert len(pending[NAME]) == MAX_REPORTED_VALUES + 1
    assert pending[NAME][joined("u", OTHER_VALUES)] == 2


def test_what_is_remembered_of_a_worker_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reports beyond that is not counted: it can't be told from what it reported before."""
    monkeypatch.setattr(growth_module, "MAX_SERIES", 3)
    pending = Counters()
    account = Growth({}).grown(b"", {NAME: upstreams(5)}, pending)
    assert pending == {NAME: upstreams(3)}
    assert msgspec.msgpack.decode(account) == {NAME: upstreams(3)}


def test_a_sum_ends_at_the_largest_integer() -> None:
    """Forged numbers break nothing."""
    pending = Counters()
    growth = Growth({})
    for _ in range(2):
        growth.grown(b"", {NAME: {"u success": MAX_COUNT}}, pending)
    assert pending == {NAME: {"u success": MAX_COUNT}}


def test_what_the_ledger_counts_itself_has_the_same_bound() -> None:
    """And adds up."""
    pending = Counters()
    name = "model_fallbacks_total"
    growth = Growth({name: {joined(f"m{number}", ""): 1 for number in range(MAX_VALUES)}})
    growth.count(name, ["m1", "m1", "new", "newer"], pending)
    assert pending == {name: {"m1 ": 2, f"{OTHER_VALUES} ": 2}}
