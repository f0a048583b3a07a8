"""Who is next: an order of those that wait, and no more than that; it knows neither time nor what they wait for.

Each waits in a flow, such as a tenant's, and with a priority. Of those with the highest priority that waits, the flows
take turns, and within a flow it is who came first. A flow that comes anew has its turn after those that are there.
"""

from typing import Generic, TypeVar

T = TypeVar("T")
Place = tuple[int, str]
"""Priority, of which a higher number goes first, and flow."""


class Line(Generic[T]):
    """Its members are told apart by their identity, or however they are hashed."""

    def __init__(self) -> None:
        self._flows: dict[int, dict[str, dict[T, None]]] = {}
        self._places: dict[T, Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, one: T) -> bool:
        return one in self._places

    def add(self, one: T, priority: int = 0, flow: str = "") -> None:
        self._places[one] = priority, flow
        self._flows.setdefault(priority, {}).setdefault(flow, {})[one] = None

    def remove(self, one: T) -> None:
        """Whoever has left, wherever that one stood."""
        priority, flow = self._places.pop(one)
        flows = self._flows[priority]
        del flows[flow][one]
        if not flows[flow]:
            del flows[flow]
        if not flows:
            del self._flows[priority]

    def first(self) -> T:
        """Of at least one."""
        flows = self._flows[max(self._flows)]
        return next(iter(next(iter(flows.values()))))

    def take(self) -> T:
        """The first, which waits no more; its flow's turn is over."""
        one = self.first()
        priority, flow = self._places[one]
        self.remove(one)
        flows = self._flows.get(priority, {})
        if flow in flows:
            flows[flow] = flows.pop(flow)
        return one

    def last_below(self, priority: int) -> T | None:
        """Who came last of those with the lowest priority, if that is a lower one."""
        lowest = min(self._flows, default=priority)
        if lowest >= priority:
            return None
        return next(one for one, (of, _) in reversed(self._places.items()) if of == lowest)
