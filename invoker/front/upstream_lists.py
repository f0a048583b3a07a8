"""What upstreams list of their models: asked by whoever wants to know, and kept for a few seconds."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from invoker.front.asking import ask
from invoker.protocols.base import BadRequestError
from invoker.routing.alias import Alias
from invoker.routing.models import Model
from invoker.upstream.port import Upstream
from shared.record import check_model_id

ASKED_S = 2.0
"""So long is an upstream waited for: the others' models are listed without its own."""
KEPT_S = 5.0
MAX_KEPT = 1000
MAX_LIST_BYTES = 1024 * 1024
"""A larger list is none: it would be read while others wait."""


class Listed(NamedTuple):
    """A model as its upstream describes it."""

    model_id: str
    described: msgspec.Raw


class Source(NamedTuple):
    """Whose models go to an upstream: those whose ids begin so and that no other table is for."""

    prefix: str
    model: Model

    @property
    def alias(self) -> Alias | None:
        return self.model.group.members[0].endpoint.alias


class _List(msgspec.Struct):
    data: list[msgspec.Raw]


class _Entry(msgspec.Struct):
    id: str


_lists = msgspec.json.Decoder(_List)
_entries = msgspec.json.Decoder(_Entry)
_Key = tuple[tuple[object, ...], str, bytes]


class UpstreamLists:
    """Of one worker. Whoever asks while another does waits for the same answer."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._kept: dict[_Key, asyncio.Task[list[Listed] | BadRequestError]] = {}

    async def find(self, source: Source, target: str, lines: bytes) -> list[Listed]:
        """Those that it has of a source's models, by the ids that they are called by here. `BadRequestError` if it
        gives no list."""
        if source.alias is not None and source.alias.kept_from is None:
            return []  # whatever its callers say is one model there
        found = await asyncio.shield(self._asking(source.model, target, lines))
        if isinstance(found, BadRequestError):
            raise found
        return [one for listed in found if (one := _called_here(source, listed)) is not None]

    def _asking(self, model: Model, target: str, lines: bytes) -> "asyncio.Task[list[Listed] | BadRequestError]":
        endpoints = tuple(member.endpoint for member in model.group.members)
        key = (tuple((each.url, each.credentials) for each in endpoints), target, lines)
        if (kept := self._kept.get(key)) is not None:
            return kept
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        loop = asyncio.get_running_loop()
        asking = self._kept[key] = loop.create_task(self._ask(model, target, lines))
        loop.call_later(KEPT_S, self._forget, key, asking)
        return asking

    def _forget(self, key: _Key, asking: object) -> None:
        if self._kept.get(key) is asking:
            del self._kept[key]

    async def _ask(self, model: Model, target: str, lines: bytes) -> list[Listed] | BadRequestError:
        try:
            status, body, _, _ = await ask(self._upstream, model, lambda _endpoint: target, lines, ASKED_S)
            if status != 200:
                return BadRequestError(502, "upstream_failed", f"The upstream lists no models: it answered {status}")
            return _read(body)
        except BadRequestError as error:
            return error


def _read(body: bytes) -> list[Listed]:
    if len(body) > MAX_LIST_BYTES:
        message = f"The upstream's list of models is larger than {MAX_LIST_BYTES} bytes, the limit"
        raise BadRequestError(502, "upstream_failed", message)
    found: list[Listed] = []
    try:
        described: Sequence[msgspec.Raw] = _lists.decode(body).data
        for one in described:
            model_id = _entries.decode(one).id
            if check_model_id(model_id) is None:
                found.append(Listed(model_id, one))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(502, "upstream_failed", f"The upstream's list of models is none: {error}") from None
    return found


def _called_here(source: Source, listed: Listed) -> Listed | None:
    """By the name that callers say; None if none of these goes there."""
    alias = source.alias
    if alias is None:
        return listed if listed.model_id.startswith(source.prefix) else None
    if not listed.model_id.startswith(alias.name):
        return None
    model_id = source.prefix + listed.model_id[len(alias.name) :]
    return Listed(model_id, renamed(listed.described, model_id)) if check_model_id(model_id) is None else None


def renamed(described: bytes | msgspec.Raw, model_id: str) -> msgspec.Raw:
    """A description of a model under the name that it is called by here, or the same if it is none."""
    try:
        fields = msgspec.json.decode(described, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(bytes(described))
    return msgspec.Raw(msgspec.json.encode({**fields, "id": model_id}))
