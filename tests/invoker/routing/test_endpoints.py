"""What workers know of endpoints: each its own."""

import pickle
import subprocess
import sys

from invoker.routing.ejection import FAILURES_IN_A_ROW
from invoker.routing.endpoints import DIE, Endpoint, Group
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
