"""What is told of endpoints."""

from invoker.routing.ejection import FAILURES_IN_A_ROW, FIRST_US
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.models import Model, Models
from invoker.routing.states import merged, states_of
from tests.invoker.fakes import FakeClock


def worker() -> tuple[Models, Group]:
    """What one worker has, and the group of two."""
    two = Group([Endpoint("http://user:s3cret@b/x?key=s3cret", "b", 3, 1), Endpoint("http://a/", "a")])
    named = {"two": Model(two, 1.0), "x*": Model(single("http://c/"), 1.0)}
    openai = Models({}, None, {"y/": Model(single("http://d/"), 1.0)})
    return Models(named, Model(single("http+unix://%2Frun%2Fm.sock/x"), 1.0), dialects={"openai": openai}), two


def test_all_endpoints_of_all_workers_are_told() -> None:
    """By table and priority, without what may be secret; numbers are sums, and the worst is told of states."""
    clock = FakeClock()
    (one, of_one), (other, of_other) = worker(), worker()
    for _ in range(FAILURES_IN_A_ROW):
        member = of_one.members[0]
        member.outstanding += 1
        of_one.give_back(member, "connect", "refused", 0, 0)
    of_other.give_back(of_other.take("two", 0), "success", "", 0, 1)
    of_other.take("two", 0)
    answer = merged([states_of(one, clock), states_of(other, clock)])
    assert answer.workers == 2
    told = [(each.protocol, each.model, each.name, each.url, each.state) for each in answer.upstreams]
    assert told == [
        ("worklet", "two", "a", "http://a/", "partly_out"),
        ("worklet", "two", "b", "http://b/x", "in"),
        ("worklet", "x\\*", "c", "http://c/", "in"),
        ("worklet", None, "/run/m.sock", "http+unix://%2Frun%2Fm.sock/x", "in"),
        ("openai", "y/*", "d", "http://d/", "in"),
    ]
    first, second, *_ = answer.upstreams
    assert first.reason == "5 failures in a row, the last: refused"
    assert (first.attempts, first.outstanding) == ({"connect": 5, "success": 1}, 1)
    assert first.until is not None
    assert (second.until, second.weight, second.priority, second.attempts) == (None, 3, 1, {})
    assert states_of(one, clock)[0].state == "out"
    assert of_one.members[0].health.ejected_until_us >= FIRST_US
