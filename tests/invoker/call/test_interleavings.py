"""However calls, departures and a shutdown interleave, the records add up."""

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from invoker.delivery.recovery import recover_one
from invoker.journal.begun import Begun
from invoker.journal.directory import Bound
from invoker.journal.journal import Journal
from invoker.journal.segment import ENTRY_BYTES, MIN_SEGMENT_BYTES
from invoker.routing.endpoints import Endpoint, Group, single
from invoker.routing.limits import Limit
from invoker.routing.models import Model
from invoker.upstream.port import ConnectError, UpstreamError
from shared.clock import SystemClock
from shared.record import ErrorType, Record
from tests.invoker.call.test_invocation import Domain
from tests.invoker.fakes import GOOD, URL, Answer, FakeJournal, models

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
        st.tuples(st.just("call"), st.sampled_from(["a", "limited", "queued", "retried", "replaced"])),
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

    def __init__(self, journal: FakeJournal | None = None) -> None:
        self.begun = 0
        self.waiting: list[asyncio.Future[Answer]] = []
        self.tasks: list[asyncio.Task[tuple[int, Any]]] = []
        both = Group([Endpoint(URL, name, limit=Limit(1)) for name in "ab"])
        known = models(
            limited=Model(single(URL), 60.0, limit=Limit(1)),
            queued=Model(Group([Endpoint(URL, "a", limit=Limit(2))]), 60.0, limit=Limit(1, 2)),
            retried=Model(both, 60.0, retries=1),
            replaced=Model(single(URL), 60.0, fallback=("limited", "queued", "a")),
        )
        self.domain = Domain(self._wait, known, max_in_flight=4)
        if journal is not None:
            self.domain.journal = self.domain.invoker._journal = journal

    @classmethod
    async def run(cls, played: list[tuple[Any, ...]]) -> "Play":
        """What a play came to."""
        play = cls()
        await play.play(played)
        await play.end()
        return play

    async def play(self, played: list[tuple[Any, ...]]) -> None:
        for name, *arguments in played:
            await getattr(self, name.replace(" ", "_"))(*arguments)

    async def end(self) -> None:
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


class SmallJournal(FakeJournal):
    """Keeps all in a real journal, too, whose segments are small, and whose first one has so many bytes left."""

    def __init__(self, bound: Bound, left_bytes: int) -> None:
        super().__init__()
        self.journal = Journal.create(bound, SystemClock())
        filler = Record("filler", 1, 1, None, "x" * 1500)
        while (room := self.journal._segments[-1].size - self.journal._segments[-1].position) > 3500 + left_bytes:
            self.journal.append(filler)
        empty = len(msgspec.msgpack.encode(filler)) - 1500 + ENTRY_BYTES
        self.journal.append(msgspec.structs.replace(filler, error_log="x" * (room - left_bytes - empty)))
        self.fillers = self.journal.next_sequence - 1

    def begin(self, begun: object) -> int:
        assert isinstance(begun, Begun)
        super().begin(begun)
        call = self.journal.begin(begun)
        assert call == self._calls
        return call

    def append(self, record: Record, call: int = 0) -> None:
        super().append(record, call)
        self.journal.append(record, call)


@given(steps, st.integers(0, 400))
def test_a_worker_that_dies_in_mid_play_leaves_a_record_of_each_call(
    played: list[tuple[Any, ...]], left_bytes: int
) -> None:
    """Wherever in its play the first segment ends: those that had ended as they did, the others as died."""
    directory = Path(tempfile.mkdtemp(prefix="interleavings"))
    try:
        asyncio.run(_dies(played, left_bytes, directory))
    finally:
        shutil.rmtree(directory)


async def _dies(played: list[tuple[Any, ...]], left_bytes: int, directory: Path) -> None:
    bound = Bound(directory / "journal", 1024 * 1024, 1)
    bound.segment_bytes = MIN_SEGMENT_BYTES
    journal = SmallJournal(bound, left_bytes)
    play = Play(journal)
    await play.play(played)
    ended, died = [*journal.records], len(journal.open)
    shutil.copytree(bound.root, directory / "left")
    await play.end()
    journal.journal.close()
    recovered = await recover_one(Bound(directory / "left", 1024 * 1024, 1), SystemClock(), set())
    assert recovered is not None
    recovered.note_synced(2**62)
    await recovered.settle(journal.fillers)
    found: list[Record] = []
    while records := recovered.read(journal.fillers + 1 + len(found), 100, 100_000)[1]:
        found += [msgspec.msgpack.decode(each, type=Record) for each in records]
    recovered.close()
    assert found[: len(ended)] == ended
    assert [each.error_type for each in found[len(ended) :]] == [ErrorType.GATEWAY_DIED] * died
