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
