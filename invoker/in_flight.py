"""Calls in flight, per model: for the limits, and for what the worker reports."""


class InFlight:
    """Counts of this worker. `changes` hands out each change once."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[str, int] = {}
        self._changed: set[str] = set()

    def count(self, model_id: str) -> int:
        return self._counts.get(model_id, 0)

    def enter(self, model_id: str) -> None:
        self.total += 1
        self._counts[model_id] = self._counts.get(model_id, 0) + 1
        self._changed.add(model_id)

    def leave(self, model_id: str) -> None:
        self.total -= 1
        count = self._counts[model_id] - 1
        if count:
            self._counts[model_id] = count
        else:
            del self._counts[model_id]
        self._changed.add(model_id)

    def changes(self, limit: int) -> dict[str, int]:
        """At most `limit` models whose count changed since they were last handed out, with their counts."""
        changed = [self._changed.pop() for _ in range(min(limit, len(self._changed)))]
        return {model_id: self._counts.get(model_id, 0) for model_id in changed}

    def all(self) -> dict[str, int]:
        """Every count that is not 0, for a receiver that knows none; older changes are done with."""
        self._changed.clear()
        return dict(self._counts)
