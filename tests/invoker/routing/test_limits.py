"""Which limit is counted where, and endpoints that have no room."""

import pickle
from random import Random

import pytest

from invoker.routing.ejection import FAILURES_IN_A_ROW
from invoker.routing.endpoints import Endpoint, Group, NoRoomError
from invoker.routing.limits import Key, Limit, Slots
from invoker.routing.places import SLOTS, Tallies
from shared.settings import StartupError


def named(*names: str) -> list[tuple[Key, Limit]]:
    return [((name,), Limit(8)) for name in names]


def slots_of(limits: list[tuple[Key, Limit]]) -> list[int]:
    return [limit.slot for _, limit in limits]


def test_a_limit_is_counted_where_it_was() -> None:
    """However the file changes: also one that was gone for a while, and whose calls may still be there."""
    slots = Slots(Tallies(1))
    first, second, third = named("a", "b"), named("c", "b"), named("a", "c", "d")
    slots.give(first)
    slots.give(second)
    slots.give(third)
    a, b = slots_of(first)
    assert len({a, b, *slots_of(third)}) == 4
    assert slots_of(second)[1] == b
    assert slots_of(third)[:2] == [a, slots_of(second)[0]]
    assert third[0][1].name == "a"


def test_no_limit_gets_a_place_where_calls_of_another_count() -> None:
    """Of those that are gone, the first to go give theirs up, once their calls have ended."""
    tallies = Tallies(1)
    slots, places = Slots(tallies), tallies.of(0)
    full = named(*map(str, range(SLOTS - 1)))
    slots.give(full)
    busy, idle = slots_of(full)[:2]
    assert places.take(busy, 1)
    slots.give(full[2:])
    more = named("x", "y")
    slots.give([*full[2:], *more])
    assert set(slots_of(more)) == {SLOTS - 1, idle}
    with pytest.raises(StartupError, match=f"limits: {SLOTS} of .* at most {SLOTS} are"):
        slots.give([*full[2:], *more, *named("z")])
    places.give_back(busy)
    slots.give([*full[2:], *more, *(last := named("z"))])
    assert slots_of(last) == [busy]


def test_too_many_limits_change_nothing() -> None:
    slots = Slots(Tallies(1))
    kept = named("a", "b")
    slots.give(kept)
    with pytest.raises(StartupError, match="too many"):
        slots.give(named(*map(str, range(SLOTS + 1))))
    again = named("b", "a")
    slots.give(again)
    assert slots_of(again) == slots_of(kept)[::-1]


def test_a_limit_goes_to_another_process_without_who_counts() -> None:
    limit = Limit(8, 2, 1.5, adaptive=True, min_in_flight=2, key=("m", "a"), slot=3)
    limit.places = Tallies(1).of(0)
    assert limit.take()
    copy: Limit = pickle.loads(pickle.dumps(limit))
    assert (copy, copy.key, copy.name, copy.slot, hasattr(copy, "places")) == (limit, ("m", "a"), "m a", 3, False)


def group(*limits: int | None) -> Group:
    """Endpoints a, b, … with these limits, in one tier each: the first comes first, whatever is drawn."""
    made = [
        Endpoint(f"http://{name}/", name, priority=at, limit=None if most is None else Limit(most))
        for at, (name, most) in enumerate(zip("abc", limits, strict=False))
    ]
    Slots(tallies := Tallies(1)).give(((each.name,), each.limit) for each in made if each.limit is not None)
    for each in made:
        if each.limit is not None:
            each.limit.places = tallies.of(0)
    return Group(made, Random(1))


def taken(group: Group, times: int, now_us: int = 0) -> list[str]:
    """Where so many calls go; a dash for one that has no room."""
    names = []
    for _ in range(times):
        try:
            names.append(group.take("m", now_us).endpoint.name)
        except NoRoomError:
            names.append("-")
    return names


def test_an_endpoint_at_its_limit_is_left_out() -> None:
    """For one that has room, even of a later tier; if none has, there is none."""
    two = group(2, 1)
    assert two.only is None
    assert taken(two, 4) == ["a", "a", "b", "-"]
    assert not two.has_room(two.members[1])
    first = two.members[0]
    assert first.endpoint.limit is not None
    first.endpoint.limit.leave()
    assert (two.has_room(two.members[1]), two.has_room(two.members[0])) == (True, False)
    assert taken(two, 2) == ["a", "-"]


def test_an_only_endpoint_has_a_limit_too() -> None:
    alone = group(1)
    assert taken(alone, 2) == ["a", "-"]


def test_one_without_a_limit_always_has_room() -> None:
    assert taken(group(1, None), 4) == ["a", "b", "b", "b"]


def test_one_that_is_out_does_not_take_the_place_of_one_without_room() -> None:
    """It is out for its failures: that others have no room makes it no better."""
    two = group(1, 1)
    for _ in range(FAILURES_IN_A_ROW):
        two.members[1].outstanding += 1
        two.give_back(two.members[1], "connect", "refused", 0, 1)
    assert not two.members[1].health.is_in
    assert taken(two, 2, 2) == ["a", "-"]
