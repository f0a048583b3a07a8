"""Which model goes where, as a worker looks it up: those of the models file, and the default for others."""

from collections.abc import Iterator, Mapping

import msgspec

from invoker.routing.endpoints import Group
from invoker.routing.limits import Key, Limit
from invoker.routing.places import Places
from invoker.routing.prices import Prices

MAX_MATCHED = 10_000
"""Ids whose pattern is known."""


class Model(msgspec.Struct, frozen=True):
    """How to call one model. `fallback`: ids of others that may take its place, see `call.fallback`."""

    group: Group
    timeout_s: float
    retries: int = 0
    limit: Limit | None = None
    idle_s: float | None = None
    retry_busy: bool = False
    first_token_s: float | None = None
    asks_usage: bool = True
    prices: Prices | None = None
    fallback: tuple[str, ...] = ()


class Models:
    """All models: those of the file, by id or by how their ids begin, and one default for the others, if there is an
    upstream for them. `dialects`: those that are called by another protocol than worklet."""

    def __init__(
        self,
        named: dict[str, Model],
        default: Model | None,
        by_prefix: Mapping[str, Model] | None = None,
        dialects: "Mapping[str, Models] | None" = None,
    ) -> None:
        self._dialects = dialects or {}
        self._named = named
        self._default = default
        self._of_prefix = dict(sorted((by_prefix or {}).items(), key=lambda item: -len(item[0])))
        self._matched: dict[str, Model | None] = {}

    @property
    def names(self) -> list[str]:
        return [*self._named, *(name for models in self._dialects.values() for name in models.names)]

    def names_of(self, protocol: str) -> list[str]:
        """Of one of the dialects."""
        return self._dialects[protocol].names if protocol in self._dialects else []

    def tables(self, protocol: str = "worklet") -> "Iterator[tuple[str, str | None, Model]]":
        """All of them: protocol, id or pattern (None: where a setting says where to), and the model."""
        for name, model in self._named.items():
            yield protocol, f"{name[:-1]}\\*" if name.endswith("*") else name, model
        for prefix, model in self._of_prefix.items():
            yield protocol, f"{prefix}*", model
        if self._default is not None:
            yield protocol, None, self._default
        for dialect, models in self._dialects.items():
            yield from models.tables(dialect)

    def sources(self, protocol: str) -> "list[tuple[str, Model]]":
        """Of one of the dialects: where models go that are not named, by how their ids begin; the longest first."""
        dialect = self._dialects.get(protocol)
        if dialect is None:
            return []
        rest = [("", dialect._default)] if dialect._default is not None and "" not in dialect._of_prefix else []
        return [*dialect._of_prefix.items(), *rest]

    def find(self, model_id: str, protocol: str = "worklet") -> Model | None:
        if protocol != "worklet":
            dialect = self._dialects.get(protocol)
            return None if dialect is None else dialect.find(model_id)
        model = self._named.get(model_id)
        if model is not None:
            return model
        return self._match(model_id) if self._of_prefix else self._default

    def limits(self) -> Iterator[tuple[Key, Limit]]:
        """All that there are, and whose each is."""
        for protocol, name, model in self.tables():
            if model.limit is not None:
                yield (name,) if name else ("*", protocol), model.limit
            for endpoint in (member.endpoint for member in model.group.members):
                if endpoint.limit is not None:
                    yield (name or "", endpoint.name, endpoint.url), endpoint.limit

    def count_with(self, places: Places) -> None:
        """So a worker counts its calls; before any begins."""
        for _, limit in self.limits():
            limit.places = places

    def carry_over(self, before: "Models") -> None:
        """What is known of the endpoints of the same tables."""
        for mine, known in ((self._named, before._named), (self._of_prefix, before._of_prefix)):
            for name in mine.keys() & known.keys():
                mine[name].group.carry_over(known[name].group)
        if self._default is not None and before._default is not None:
            self._default.group.carry_over(before._default.group)
        for protocol, models in self._dialects.items():
            if protocol in before._dialects:
                models.carry_over(before._dialects[protocol])

    def _match(self, model_id: str) -> Model | None:
        """The one of the longest pattern. It is kept, as callers name the same few models again and again."""
        if model_id not in self._matched:
            if len(self._matched) >= MAX_MATCHED:
                self._matched.clear()
            matches = (model for prefix, model in self._of_prefix.items() if model_id.startswith(prefix))
            self._matched[model_id] = next(matches, self._default)
        return self._matched[model_id]
