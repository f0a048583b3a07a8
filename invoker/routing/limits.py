"""How many calls may be on their way at once: to the models of one table, or to one endpoint of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from invoker.routing.adapting import START, in_force
from invoker.routing.places import ADAPTED, SLOTS, WAITING, Places, Tallies
from shared.record import MAX_COUNT
from shared.settings import StartupError

Key = tuple[str, ...]
"""Table; and of an endpoint's limit, its name and URL."""
NOWHERE = -1
QUEUE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Limit:
    """Holds for the gateway as a whole. `max_in_flight`: None where only endpoints have such. `queue`: so many calls
    beyond it may wait, for so long at most. `slot`: where it is counted; the parent says so, see `Slots`. `places`:
    what this worker counts with. `adaptive`: it is found, between these two, see `adapting`."""

    max_in_flight: int | None
    queue: int = 0
    queue_timeout_s: float = QUEUE_TIMEOUT_S
    adaptive: bool = False
    min_in_flight: int = 1
    key: Key = field(default=(), compare=False)
    slot: int = field(default=NOWHERE, compare=False)
    places: Places = field(init=False, compare=False, repr=False)

    def __reduce__(self) -> tuple[type["Limit"], tuple[object, ...]]:
        """For another process, which has places of its own."""
        said = (self.max_in_flight, self.queue, self.queue_timeout_s, self.adaptive, self.min_in_flight)
        return Limit, (*said, self.key, self.slot)

    @property
    def name(self) -> str:
        """As it is shown."""
        return " ".join(self.key[:2])

    @property
    def in_flight(self) -> int:
        """Of all workers together."""
        return self.places.total(self.slot)

    @property
    def waiting(self) -> int:
        """Likewise."""
        return self.places.total(WAITING + self.slot)

    @property
    def has_room(self) -> bool:
        return self.in_flight < self.most

    @property
    def most(self) -> int:
        """As it is now."""
        if self.max_in_flight is None:
            return MAX_COUNT
        if not self.adaptive:
            return self.max_in_flight
        found = self.places.numbers(ADAPTED + self.slot)
        most = in_force(found) if found else START
        return min(max(most, self.min_in_flight), self.max_in_flight)

    def take(self, most: int | None = None) -> bool:
        """Whether there was room for one more call, which has it now; of so many, or of all. `leave` must follow."""
        return self.places.take(self.slot, self.most if most is None else most)

    def leave(self) -> None:
        self.places.give_back(self.slot)


class Slots:
    """The parent's: which limit is counted where. One that stays, or comes back, stays where it was, with the calls
    that count there; and none gets the place of another as long as any does."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies
        self._slots: dict[Key, int] = {}
        self._left: dict[Key, int] = {}  # limits that are gone, the first to go first

    def give(self, limits: Iterable[tuple[Key, Limit]]) -> None:
        """To all limits that there are from now on. `StartupError` if they are too many; nothing is changed then."""
        wanted = dict(limits)
        known = {**self._left, **self._slots}
        fresh = [key for key in wanted if key not in known]
        taken = {*known.values()}
        free = [slot for slot in range(SLOTS) if slot not in taken][: len(fresh)]
        idle = [key for key, slot in self._left.items() if key not in wanted and not self._counted(slot)]
        free += [known.pop(key) for key in idle[: len(fresh) - len(free)]]
        if len(free) < len(fresh):
            raise StartupError(
                f"INVOKER_MODELS_FILE: limits: {len(wanted)} of models and upstreams are too many: at most {SLOTS} are "
                "counted, those included that are gone since a moment ago, or whose calls have yet to end"
            )
        known.update(zip(fresh, free, strict=True))
        self._slots = {key: known[key] for key in wanted}
        self._left = {key: slot for key, slot in known.items() if key not in wanted}
        for key, limit in wanted.items():
            limit.key, limit.slot = key, known[key]

    def _counted(self, slot: int) -> int:
        return self._tallies.total(slot) + self._tallies.total(WAITING + slot)
