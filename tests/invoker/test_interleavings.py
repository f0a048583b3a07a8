"""However calls, departures and a shutdown interleave, the records add up."""

import asyncio
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from invoker.models import Model
from invoker.upstream import Answer, ConnectError, UpstreamError
from shared.record import ErrorType
from tests.invoker.fakes import GOOD, URL, models
from tests.invoker.test_invocation import Domain

Outcome = Answer | Exception
outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        GOOD,
        (500, b"boom"),
        (200, b"no JSON"),
        ConnectError("refused"),
        UpstreamError(ErrorType.INVALID_RESPONSE, "broke off"),
        TimeoutError(),
    ]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from(["a", "limited", "retried"])),
        st.tuples(st.just("answer"), st.integers(0, 20), outcomes),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.just("answer and leave"), st.integers(0, 20), outcomes),
        st.tuples(st.just("turn")),
        st.tuples(st.just("drain")),
    ),
    max_size=30,
)


class Play:
    """Calls whose upstream answers when a step says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.waiting: list[asyncio.Future[Answer]] = []
        self.tasks: list[asyncio.Task[tuple[int, Any]]] = []
        known = models(limited=Model(URL, 60.0, max_in_flight=1), retried=Model(URL, 60.0, retries=1))
        self.domain = Domain(self._wait, known, max_in_flight=4)

    @classmethod
    async def run(cls, played: list[tuple[Any, ...]]) -> "Play":
        """What a play came to."""
        play = cls()
        await play._run(played)
        return play

    async def _run(self, played: list[tuple[Any, ...]]) -> None:
        for name, *arguments in played:
            await getattr(self, name.replace(" ", "_"))(*arguments)
        await self.drain()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def call(self, model_id: str) -> None:
        self.tasks.append(asyncio.create_task(self._invoke(model_id)))

    async def answer(self, index: int, outcome: Outcome) -> None:
        pending = [future for future in self.waiting if not future.done()]
        if pending and isinstance(outcome, Exception):
            pending[index % len(pending)].set_exception(outcome)
        elif pending:
            pending[index % len(pending)].set_result(outcome)  # type: ignore[arg-type]

    async def leave(self, index: int) -> None:
        if self.tasks:
            self.tasks[index % len(self.tasks)].cancel()

    async def answer_and_leave(self, index: int, outcome: Outcome) -> None:
        await self.answer(index, outcome)
        await self.leave(index)

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def drain(self) -> None:
        await self.domain.invoker.drain(0.0)

    async def _invoke(self, model_id: str) -> tuple[int, Any]:
        self.begun += 1
        return await self.domain.invoke(model_id)

    async def _wait(self, _body: bytes) -> Answer:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]


@given(steps)
def test_as_many_records_as_calls(played: list[tuple[Any, ...]]) -> None:
    """Each call that began has one record, whose success is what its caller was told; none is left open."""
    play = asyncio.run(Play.run(played))
    # A task that is cancelled before its first step has never begun to invoke.
    told = Counter(None if task.cancelled() else task.result()[1]["success"] for task in play.tasks)
    records = play.domain.journal.records
    recorded = Counter(
        None if record.error_type is ErrorType.CLIENT_DISCONNECTED else record.success for record in records
    )
    assert (recorded[True], recorded[False]) == (told[True], told[False])
    assert recorded[None] <= told[None]
    assert len(records) == play.begun
    assert play.domain.at_rest()
