"""Calls in flight, per model: for the limits, and for what the worker reports."""

from shared.wire import MAX_MODELS


class InFlight:
    """Counts of this worker. Nothing gathers while nobody asks: what changed is told from what was handed out."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: dict[str, int] = {}
        self._handed_out: dict[str, int] = {}

    def count(self, model_id: str) -> int:
        return self._counts.get(model_id, 0)

    def enter(self, model_id: str) -> None:
        self.total += 1
        self._counts[model_id] = self._counts.get(model_id, 0) + 1

    def leave(self, model_id: str) -> None:
        self.total -= 1
        count = self._counts[model_id] - 1
        if count:
            self._counts[model_id] = count
        else:
            del self._counts[model_id]

    def changes(self) -> dict[str, int]:
        """Models whose count is not what was handed out last, with their counts. Of more than `MAX_MODELS` in
        flight at once, some are left out until others have ended."""
        counts, known = self._counts, self._handed_out
        changed = {model_id: counts.get(model_id, 0) for model_id, n in known.items() if counts.get(model_id) != n}
        for model_id, count in changed.items():
            if count:
                known[model_id] = count
            else:
                del known[model_id]
        for model_id, count in counts.items():
            if len(known) >= MAX_MODELS:
                break
            if model_id not in known:
                changed[model_id] = known[model_id] = count
        return changed

    def all(self) -> dict[str, int]:
        """Every count that is not 0, for a receiver that knows none."""
        self._handed_out.clear()
        return self.changes()
