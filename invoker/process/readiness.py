"""Why a worker may need a look although it serves, part by part."""

from collections.abc import Iterator

from invoker.delivery.outbox import Outbox
from invoker.front.listener import Connections
from invoker.journal.durability import GroupSync
from invoker.journal.journal import Journal
from invoker.protocols.large_bodies import LargeBodies
from shared import logs
from shared.tasks import Background


def of_the_process(background: Background, files: str | None) -> Iterator[str]:
    """`files`: why there are too few of them."""
    yield from background.reasons.values()
    if files:
        yield files
    yield from logs.reasons()


def of_models(refused: str) -> Iterator[str]:
    """`refused`: why the models file, as it is now, can't be used."""
    if refused:
        yield f"the models are those of an earlier models file: {refused}"


def of_large_bodies(large_bodies: LargeBodies) -> Iterator[str]:
    if large_bodies.failure:
        yield f"large bodies can't be read, or the last could not: {large_bodies.failure}"


def of_recording(outbox: Outbox, journal: Journal, sync: GroupSync | None) -> Iterator[str]:
    if not outbox.connected:
        yield f"the sidecar is not connected; {journal.records_waiting} records wait for it"
    if journal.full is not None:
        yield f"{journal.full}: the journal has no space for more; {sum(journal.dropped.values())} records were dropped"
    if sync is not None and sync.failure is not None:
        yield f"replies are sent although the journal can't be synced: {sync.failure}"


def of_callers(connections: Connections) -> Iterator[str]:
    bodies = connections.answering.bodies
    if connections.accepting.reason:
        yield connections.accepting.reason
    if bodies.full:
        yield f"large bodies are refused: {bodies.limit} bytes are held for callers, the limit"
    if connections.full:
        yield f"callers are refused: {connections.limit} connections are open, the limit"
