"""Calls that wait for room: in which order, for how long, and what becomes of their places."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from invoker.call.priority import Priority
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.limits import Limit, Slots
from invoker.routing.models import Model, Models
from invoker.routing.places import WAITING, Places, Tallies
from shared.record import ErrorType
from tests.invoker.call.test_invocation import Domain, failed
from tests.invoker.conftest import until
from tests.invoker.fakes import GOOD, URL, Answer, models

Task = asyncio.Task[tuple[int, Any]]


class Upstream:
    """Answers when it is told to, in the order in which calls came."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[Answer]] = []
        self.most = 0

    async def __call__(self, _body: bytes) -> Answer:
        self.calls.append(asyncio.get_running_loop().create_future())
        self.most = max(self.most, sum(not call.done() for call in self.calls))
        return await self.calls[-1]

    async def answer(self, number: int) -> None:
        """The call that came as the n-th, once it is here."""
        await until(lambda: len(self.calls) > number)
        self.calls[number].set_result(GOOD)


def limited(
    most: int | None = 1, queue: int = 3, queue_timeout: float = 60.0, timeout: float = 60.0, group: Group | None = None
) -> Models:
    return models(m=Model(group or single(URL), timeout, limit=Limit(most, queue, queue_timeout)))


class Queue:
    """A worker of which a model has room for one call, and three may wait."""

    def __init__(self, known: Models | None = None, places: Places | None = None, max_in_flight: int = 100) -> None:
        self.upstream = Upstream()
        self.domain = Domain(self.upstream, known or limited(), max_in_flight, places)
        self.admission = self.domain.invoker.admission

    async def calls(self, count: int, priority: int = 0) -> list[Task]:
        """So many more, that have come as far as they come."""
        begun = self.domain.invoker.in_flight.total
        tasks = []
        for number in range(1, count + 1):
            tasks.append(self.domain.start("m", priority))
            await until(lambda number=number: self.domain.invoker.in_flight.total == begun + number)  # type: ignore[misc]
        return tasks

    @property
    def limit(self) -> Limit:
        ((_, limit),) = self.domain.invoker.models.limits()
        return limit


async def test_who_finds_no_room_waits_in_order() -> None:
    """Each is let in when one before it ends; how long it waited stands in its record, and is no overhead."""
    queue = Queue()
    tasks = await queue.calls(4)
    assert (queue.limit.in_flight, queue.limit.waiting, len(queue.upstream.calls)) == (1, 3, 1)
    for number, task in enumerate(tasks):
        queue.domain.clock.elapsed_us += 1000
        await queue.upstream.answer(number)
        assert (await task)[0] == 200
        assert [task.done() for task in tasks] == [True] * (number + 1) + [False] * (3 - number)
    assert queue.upstream.most == 1
    assert [record.latency_us for record in queue.domain.journal.records] == [1000, 2000, 3000, 4000]
    assert [record.queue_us for record in queue.domain.journal.records] == [0, 1000, 2000, 3000]
    assert queue.domain.invoker.overhead.report()["sum_us"] == 0
    assert queue.domain.at_rest()
    assert not queue.admission.limited


async def test_only_where_there_is_a_queue_is_told_how_long_a_call_waited() -> None:
    for known, told in ((limited(), 0), (limited(queue=0), None), (models(), None)):
        queue = Queue(known)
        (task,) = await queue.calls(1)
        await queue.upstream.answer(0)
        await task
        assert [record.queue_us for record in queue.domain.journal.records] == [told]


async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    queue = Queue()
    tasks = await queue.calls(4)
    message = "1 calls of this model are in flight, its limit, and its queue is full"
    assert await queue.domain.invoke("m") == (429, failed(message))
    record = queue.domain.journal.records[-1]
    assert (record.error_type, record.attempts, record.upstream) == (ErrorType.OVERLOADED, 0, None)
    assert queue.admission.limited == {("m", "queue_full"): 1}
    for number in range(4):
        await queue.upstream.answer(number)
    await asyncio.gather(*tasks)
    assert queue.domain.at_rest()


async def test_who_waits_too_long_is_refused() -> None:
    """With no attempt, and no upstream to blame; its place in the queue is another's."""
    queue = Queue(limited(queue=1, queue_timeout=0.01))
    (first,) = await queue.calls(1)
    for _ in range(2):
        message = "there was no room for one more call of this model within 0.01 s"
        assert await queue.domain.invoke("m") == (429, failed(message))
    record = queue.domain.journal.records[-1]
    assert (record.error_type, record.attempts, record.upstream) == (ErrorType.OVERLOADED, 0, None)
    assert queue.admission.limited == {("m", "queue_timeout"): 2}
    await queue.upstream.answer(0)
    await first
    assert queue.domain.at_rest()


async def test_the_time_of_a_call_covers_its_wait() -> None:
    """And it is no upstream that took too long."""
    queue = Queue(limited(timeout=0.02))
    assert queue.limit.take()
    message = "there was no room for one more call of this model within 0.02 s, all that it had"
    assert await queue.domain.invoke("m") == (429, failed(message))
    assert queue.domain.error_types == [ErrorType.OVERLOADED]
    assert queue.admission.limited == {("m", "queue_timeout"): 1}
    queue.limit.leave()
    assert queue.domain.at_rest()


async def test_who_leaves_frees_its_place_at_once() -> None:
    """It has one record, and whoever waited after it is let in before it would have been."""
    queue = Queue(limited(queue=2))
    first, second, third = await queue.calls(3)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (queue.limit.waiting, queue.domain.error_types) == (1, [ErrorType.CLIENT_DISCONNECTED])
    (fourth,) = await queue.calls(1)
    for number, task in enumerate((first, third, fourth)):
        await queue.upstream.answer(number)
        assert (await task)[0] == 200
    assert len(queue.domain.journal.records) == 4
    assert queue.domain.at_rest()


async def test_who_leaves_in_the_moment_it_is_let_in_gives_its_place_on() -> None:
    queue = Queue()
    first, second, third = await queue.calls(3)
    queue.upstream.calls[0].set_result(GOOD)
    while not first.done():
        await asyncio.sleep(0)
        if queue.limit.waiting == 1:
            second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    await queue.upstream.answer(1)
    assert (await third)[0] == 200
    assert len(queue.domain.journal.records) == 3
    assert queue.domain.at_rest()


async def test_a_shutdown_ends_those_that_still_wait() -> None:
    """After the time that those in flight have, which may let some in."""
    queue = Queue()
    tasks = await queue.calls(3)
    draining = asyncio.create_task(queue.domain.invoker.drain(60.0))
    await queue.upstream.answer(0)
    await until(lambda: len(queue.upstream.calls) == 2)
    assert not draining.done()
    queue.domain.invoker.flights.idle.set()
    draining.cancel()
    await queue.domain.invoker.drain(0.0)
    assert [(await task)[0] for task in tasks] == [200, 503, 503]
    assert queue.domain.at_rest()


async def test_a_changed_limit_holds_for_those_that_wait() -> None:
    """More are let in by a higher one; with a lower one, none until there is room by that."""
    tallies = Tallies(1)
    slots = Slots(tallies)
    known = [limited(most) for most in (1, 3, 2)]
    for one in known:
        slots.give(one.limits())
    queue = Queue(known[0], tallies.of(0))
    tasks = await queue.calls(4)
    queue.domain.invoker.swap(known[1])
    await until(lambda: len(queue.upstream.calls) == 3)
    queue.domain.invoker.swap(known[2])
    await queue.upstream.answer(0)
    await tasks[0]
    assert len(queue.upstream.calls) == 3
    for number in range(1, 4):
        await queue.upstream.answer(number)
    await asyncio.gather(*tasks)
    assert queue.domain.at_rest()


async def test_a_limit_that_goes_lets_those_that_wait_go_on_by_it() -> None:
    queue = Queue()
    tasks = await queue.calls(2)
    queue.domain.invoker.swap(models())
    free = queue.domain.start("m")
    await until(lambda: len(queue.upstream.calls) == 2)
    for number in range(3):
        await queue.upstream.answer(number)
    assert [status for status, _ in await asyncio.gather(*tasks, free)] == [200] * 3
    assert queue.domain.at_rest()


async def test_all_queues_of_a_worker_leave_room_for_others() -> None:
    """Not all the calls that it may have can be such that wait."""
    queue = Queue(limited(queue=100), max_in_flight=8)
    tasks = await queue.calls(5)
    assert (await queue.domain.invoke("m"))[0] == 429
    other = queue.domain.start("other")
    await until(lambda: len(queue.upstream.calls) == 2)
    await queue.upstream.answer(0)
    await queue.upstream.answer(1)
    assert (await other)[0] == 200
    for number in range(2, 6):
        await queue.upstream.answer(number)
    assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 5
    assert queue.domain.at_rest()


async def test_calls_wait_for_upstreams_that_have_room() -> None:
    """Where each has a limit, and their model none; one that is let in goes where the room is."""
    group = Group([Endpoint(f"http://{name}/", name, limit=Limit(1)) for name in "ab"])
    queue = Queue(limited(None, queue=2, group=group))
    tasks = await queue.calls(4)
    assert [member.outstanding for member in group.members] == [1, 1]
    assert len(queue.upstream.calls) == 2
    message = "each upstream of this model has as many calls as it may, and its queue is full"
    assert await queue.domain.invoke("m") == (429, failed(message))
    freed, _ = queue.domain.upstream.posts[1]
    await queue.upstream.answer(1)
    await until(lambda: len(queue.upstream.calls) == 3)
    assert queue.domain.upstream.posts[2][0] == freed
    for number in (0, 2, 3):
        await queue.upstream.answer(number)
    assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 4
    assert [dict(member.tally.attempts) for member in group.members] == [{"success": 2}] * 2
    assert queue.domain.at_rest()


async def test_low_priority_is_refused_first() -> None:
    """It leaves the last places of a limit to others, which may take them all."""
    queue = Queue(limited(5, queue=0))
    tasks = await queue.calls(4, Priority.LOW)
    message = "what room there is for calls of this model is not for low priority"
    assert await queue.domain.invoke("m", Priority.LOW) == (429, failed(message))
    tasks += await queue.calls(1)
    for priority in Priority:
        message = "5 calls of this model are in flight, its limit"
        assert await queue.domain.invoke("m", priority) == (429, failed(message))
    assert queue.admission.limited == {("m", "shed"): 1, ("m", "limit"): 3}
    for number in range(5):
        await queue.upstream.answer(number)
    assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 5
    assert queue.domain.at_rest()


async def test_higher_priority_waits_less() -> None:
    """Whoever came first; and low priority may wait in a part of the queue only."""
    queue = Queue(limited(1, queue=4))
    tasks = {"first": await queue.calls(1)}
    tasks["low"] = await queue.calls(2, Priority.LOW)
    assert (await queue.domain.invoke("m", Priority.LOW))[0] == 429
    assert queue.admission.limited == {("m", "shed"): 1}
    tasks["normal"] = await queue.calls(1)
    tasks["high"] = await queue.calls(1, Priority.HIGH)
    order = []
    for number, name in enumerate(("first", "high", "normal", "low", "low")):
        await queue.upstream.answer(number)
        assert (await tasks[name].pop(0))[0] == 200
        order.append([*map(len, tasks.values())])
    assert order[-1] == [0, 0, 0, 0]
    assert queue.domain.at_rest()


async def test_a_full_queue_gives_the_place_of_the_last_of_lower_priority_to_a_higher_one() -> None:
    queue = Queue(limited(1, queue=2))
    (first,) = await queue.calls(1)
    second, third = await queue.calls(2)
    assert (await queue.domain.invoke("m"))[0] == 429
    high = queue.domain.start("m", Priority.HIGH)
    message = "1 calls of this model are in flight, its limit, and one of higher priority waits in its place"
    assert await third == (429, failed(message))
    assert queue.admission.limited == {("m", "queue_full"): 1, ("m", "shed"): 1}
    for number, task in enumerate((first, high, second)):
        await queue.upstream.answer(number)
        assert (await task)[0] == 200
    assert queue.domain.at_rest()


async def test_an_upstream_is_not_said_to_have_taken_the_time_that_a_call_waited() -> None:
    queue = Queue()
    tasks = await queue.calls(2)
    queue.domain.clock.elapsed_us += 5_000_000
    for number, task in enumerate(tasks):
        await queue.upstream.answer(number)
        await task
    ((_, _, model), *_) = queue.domain.invoker.models.tables()
    assert model.group.members[0].tally.heads.report()["sum_us"] == 5_000_000


@contextlib.contextmanager
def workers(most: int = 1, queue: int = 10) -> Iterator[tuple[Tallies, list[Queue]]]:
    """Three that share a limit."""
    tallies = Tallies(3)
    slots = Slots(tallies)
    made = []
    for number in range(3):
        known = limited(most, queue)
        slots.give(known.limits())
        made.append(Queue(known, tallies.of(number)))
    try:
        yield tallies, made
    finally:
        for each in made:
            each.admission.waiting.close()
        tallies.close()


async def test_workers_let_in_by_turns() -> None:
    """Whoever frees a place, the next one is another worker's that has calls waiting; each in its own order."""
    with workers() as (tallies, queues):
        slot = queues[0].limit.slot
        tasks = [await queue.calls(count) for queue, count in zip(queues, (3, 1, 2), strict=True)]
        assert (tallies.total(slot), tallies.total(WAITING + slot)) == (1, 5)
        order: list[int] = []

        def running() -> list[int]:
            return [at for at, queue in enumerate(queues) if any(not call.done() for call in queue.upstream.calls)]

        for _ in range(6):
            await until(running)
            (at,) = running()
            number = order.count(at)
            await queues[at].upstream.answer(number)
            assert (await tasks[at][number])[0] == 200
            order.append(at)
        assert order == [0, 1, 2, 0, 2, 0]
        assert all(queue.domain.at_rest() for queue in queues)


async def test_the_queue_is_one_for_all_workers() -> None:
    with workers(queue=2) as (_, (one, two, three)):
        tasks = [*await one.calls(2), *await two.calls(1)]
        assert (await three.domain.invoke("m"))[0] == 429
        await one.upstream.answer(0)
        await two.upstream.answer(0)
        await one.upstream.answer(1)
        assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 3


async def test_no_queue_is_full_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker has just left it, and who waits has yet to hear of it."""
    monkeypatch.setattr("invoker.call.waiting.LOOK_S", 60.0)
    with workers(queue=1) as (_, (one, two, three)):
        two.admission.waiting.close()
        (first,) = await one.calls(1)
        (second,) = await two.calls(1)
        await one.upstream.answer(0)
        await first
        third = three.domain.start("m")
        await three.upstream.answer(0)
        await third
        two.admission.waiting._heard()
        await two.upstream.answer(0)
        assert [(await task)[0] for task in (first, second, third)] == [200] * 3


async def test_what_a_dead_worker_had_is_found() -> None:
    """Nobody rings for it."""
    with workers() as (tallies, (one, two, _)):
        (lost,) = await one.calls(1)
        (waiting,) = await two.calls(1)
        tallies.clear(0)
        await two.upstream.answer(0)
        assert (await waiting)[0] == 200
        lost.cancel()
        await asyncio.wait([lost])
