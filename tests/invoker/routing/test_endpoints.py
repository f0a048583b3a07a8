"""What workers know of endpoints: each its own."""

import pickle
import subprocess
import sys
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from invoker.routing.ejection import FAILURES_IN_A_ROW, unwell, well
from invoker.routing.endpoints import DIE, Endpoint, Group, Member
from tests.processes import ROOT

DRAWN_BY_WORKERS = """
import os
from invoker.routing.endpoints import DIE
for _ in range(3):
    if os.fork() == 0:
        os.write(1, f"{DIE.random()}\\n".encode())
        os._exit(0)
    os.wait()
"""


def test_no_two_workers_draw_alike() -> None:
    """They would all choose the same endpoint at the same time, and try one that was out together."""
    done = subprocess.run([sys.executable, "-c", DRAWN_BY_WORKERS], cwd=ROOT, capture_output=True, check=True)
    assert len({*done.stdout.splitlines()}) == 3


def test_a_group_goes_to_another_process_without_what_is_known_of_it() -> None:
    group = Group([Endpoint("http://a/", "a"), Endpoint("http://b/", "b", 3, 1)])
    group.take("m", 0)
    copy = pickle.loads(pickle.dumps(group))
    assert copy == group
    assert [member.outstanding for member in copy.members] == [0, 0]
    assert copy.die is DIE


def out(group: Group, name: str, now_us: int = 1) -> None:
    """It fails until it is."""
    (member,) = (each for each in group.members if each.endpoint.name == name)
    for _ in range(FAILURES_IN_A_ROW):
        member.outstanding += 1
        group.give_back(member, "connect", "refused", now_us, now_us)
    assert not member.health.is_in


def test_one_without_room_comes_before_one_that_is_out() -> None:
    """It answers at least; who was tried by the same call comes last all the same."""
    group = Group([Endpoint("http://a/", "a"), Endpoint("http://b/", "b")])
    out(group, "a")
    (b,) = (each for each in group.members if each.endpoint.name == "b")
    group.cool(b, "m", 30, 1)
    assert {group.take("m", 2).endpoint.name for _ in range(20)} == {"b"}
    assert group.take("m", 2, [b]).endpoint.name == "a"


def test_a_change_gives_no_new_budget() -> None:
    """Neither more attempts in an outage, however often the file changes, nor fewer than the calls before it allow."""
    before, after = (Group([Endpoint("http://a/", "a"), Endpoint("http://b/", "b")]) for _ in range(2))
    for _ in range(100):
        before.budget.note_call(1)
    taken = sum(before.budget.take(1) for _ in range(10))
    after.carry_over(before)
    assert taken + sum(after.budget.take(1) for _ in range(100)) == 20


def test_one_that_comes_again_has_its_calls_still() -> None:
    """Left out by a change and named by the next one: it isn't given more than another because it was away."""
    first, second, third = (Group([Endpoint(f"http://{name}/", name) for name in names]) for names in ("ab", "a", "ab"))
    held = [first.take("m", 1) for _ in range(4)]
    second.carry_over(first)
    third.carry_over(second)
    assert all(one is other for one, other in zip(third.members, first.members, strict=True))
    for member in held:
        first.give_back(member, "success", "", 1, 2)
    assert [each.outstanding for each in third.members] == [0, 0]


def test_an_endpoint_that_is_alone_by_now_is_not_out() -> None:
    """It was, beside another one."""
    two = Group([Endpoint("http://a/", "a"), Endpoint("http://b/", "b")])
    for _ in range(FAILURES_IN_A_ROW):
        two.members[0].outstanding += 1
        two.give_back(two.members[0], "connect", "refused", 0, 1)
    assert not two.members[0].health.is_in
    one = Group([Endpoint("http://a/", "a")])
    one.carry_over(two)
    assert one.only is two.members[0]
    assert one.only.health.is_in


def test_no_more_are_out_than_may_be_of_those_that_are_left() -> None:
    """By a change, or as addresses vanish: those that are out for longest stay out."""
    before = Group([Endpoint(f"http://{name}/", name) for name in "abcdef"])
    for now_us, member in enumerate(before.members[:3]):
        for _ in range(FAILURES_IN_A_ROW):
            member.outstanding += 1
            before.give_back(member, "connect", "refused", 0, 10_000_000 * (now_us + 1))
    assert [member.health.is_in for member in before.members] == [False] * 3 + [True] * 3
    after = Group([Endpoint(f"http://{name}/", name) for name in "abc"])
    after.carry_over(before)
    assert [member.health.is_in for member in after.members] == [True, True, False]


def test_ties_are_broken_at_random() -> None:
    """Nothing is known of any: each is the first one as often."""
    firsts = Counter(
        Group([Endpoint(f"http://{name}/", name) for name in "abcd"], Random(seed)).take("m", 0).endpoint.name
        for seed in range(4000)
    )
    assert min(firsts.values()) > 850


Step = tuple[str, int]
STEPS = ("take", "take", "end", "fail", "fail", "spread", "change", "probe")


@given(
    st.lists(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 7)),
        max_size=200,
    )
)
def test_what_is_outstanding_is_what_was_taken_and_not_given_back(steps: list[Step]) -> None:
    """Whatever comes and goes meanwhile; never below zero. And calls put out no more than half, never all."""
    groups = [Group([Endpoint(f"http://{name}.test/", name) for name in "abc"])]
    held: list[tuple[Group, Member, int]] = []
    for now_us, (step, number) in enumerate(steps, 1):
        group = groups[-1]
        if step == "take":
            held.append((group, group.take("m", now_us * 1_000_000), now_us * 1_000_000))
        elif step in ("end", "fail") and held:
            of, member, began_us = held.pop(number % len(held))
            of.give_back(member, step, "refused" if step == "fail" else "", began_us, now_us * 1_000_000)
        elif step == "spread":
            group.spread(lambda _endpoint: tuple("1234"[: number % 5]))  # noqa: B023  # called at once
        elif step == "change":
            groups.append(Group([Endpoint(f"http://{name}.test/", name) for name in "abcd"[: 1 + number % 4]]))
            groups[-1].carry_over(group)
        elif step == "probe" and len(group.members) > 1:
            member = group.members[number % len(group.members)]
            member.health = (unwell if number % 2 else well)(member.health, "500", now_us * 1_000_000)
        taken = Counter(id(member) for _, member, _ in held)
        members = [*groups[-1].members, *(member for _, member, _ in held)]
        assert all(member.outstanding == taken[id(member)] for member in members)
        of_calls = sum(each.health.is_out_by_calls for each in groups[-1].members)
        assert of_calls <= len(groups[-1].members) // 2
