"""Whether the models that tables name in place of their own are there, and are called by the same protocol."""

from collections import defaultdict
from collections.abc import Sequence

from invoker.models_file.findings import Place
from shared.record import check_model_id


class OtherModels:
    """Of one file: told of all tables first, right or wrong, and then asked of each."""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = defaultdict(set)
        self._prefixes: dict[str, set[str]] = defaultdict(set)

    def add(self, protocol: str, *, is_pattern: bool, text: str) -> None:
        """A table for all ids that begin so, or for this one."""
        (self._prefixes if is_pattern else self._ids)[protocol].add(text)

    def check(self, others: Sequence[str], protocol: str, own: str | None, place: Place) -> None:
        """The `fallback` of a table, for one id of its `own` or for several, that is at this place."""
        for number, model_id in enumerate(others):
            if problem := self._problem(model_id, protocol, own, others[:number]):
                place.at(number).error(problem)

    def _problem(self, model_id: str, protocol: str, own: str | None, before: Sequence[str]) -> str | None:
        if problem := check_model_id(model_id):
            return problem
        if model_id == own:
            return f"{model_id!r:.80} is this model itself; others may take its place"
        if model_id in before:
            return f"{model_id!r:.80} stands there twice"
        if self._has(protocol, model_id):
            return None
        if found := [other for other in sorted({*self._ids, *self._prefixes}) if self._has(other, model_id)]:
            return f"{model_id!r:.80} is called by the protocol {found[0]}, and this table's by {protocol}"
        return f"{model_id!r:.80} is not in this file, as a table's id or by a pattern"

    def _has(self, protocol: str, model_id: str) -> bool:
        ids, prefixes = self._ids.get(protocol, set()), self._prefixes.get(protocol, set())
        return model_id in ids or any(model_id.startswith(prefix) for prefix in prefixes)
