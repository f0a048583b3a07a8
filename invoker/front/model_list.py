"""`GET /v1/models` and `/v1/models/{id}`: the models that the models file names for a dialect, and those that the
upstreams of its patterns, and of the settings, list. No invocation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from urllib.parse import quote

import msgspec
from aiohttp import web

from invoker.front.answering import Reply
from invoker.front.asking import ask
from invoker.front.responses import given_request_id, response_of
from invoker.front.unserved import dialect_path, is_anthropics
from invoker.front.upstream_lists import Listed, Source, UpstreamLists, renamed
from invoker.front.worker import WORKER
from invoker.http.passing import fields_of, request_lines
from invoker.http.request_id import make_request_id, request_id_line
from invoker.protocols.base import JSON, BadRequestError
from invoker.protocols.passing import refuse_dots
from invoker.routing.endpoints import Endpoint
from invoker.routing.models import Model, Models
from shared.record import check_model_id

LISTS = web.AppKey("upstream_lists", UpstreamLists)

NOT_FOUND = (404, 405)
"""Of a single model: some servers only list them."""
_OF_THIS_REQUEST = (b"if-", b"range", b"accept", b"content-", b"user-agent")
"""What would make a list another one that is kept for others."""

Described = Mapping[str, object] | msgspec.Raw


async def upstream_lists(app: web.Application) -> AsyncIterator[None]:
    """Those of this worker."""
    app[LISTS] = UpstreamLists(app[WORKER].upstream)
    yield


async def list_models(request: web.Request) -> web.Response:
    """Callers of Anthropic's protocol are known by the header that all of them send."""
    worker = request.app[WORKER]
    request_id = given_request_id(request) or make_request_id()
    asked = _Asked(request, worker.invoker.models, request_id_line(request_id))
    try:
        reply, media_type = await asked.answer(request.match_info.get("id"))
        return response_of(reply, media_type)
    except BadRequestError as error:
        return response_of(worker.answering.refusal(error, dialect_path(request), request_id))


def _openais(name: str) -> Described:
    return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}


def _anthropics(name: str) -> Described:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def _openais_list(models: Mapping[str, Described]) -> Mapping[str, object]:
    return {"object": "list", "data": [*models.values()]}


def _anthropics_list(models: Mapping[str, Described]) -> Mapping[str, object]:
    ids: Sequence[str | None] = [*models] or [None]
    return {"data": [*models.values()], "has_more": False, "first_id": ids[0], "last_id": ids[-1]}


class _Shape(msgspec.Struct, frozen=True):
    """Of a dialect: `base` is the beginning of its paths that its upstreams' URLs have already; `target`: what they
    are asked for."""

    base: str
    target: str
    one: Callable[[str], Described]
    several: Callable[[Mapping[str, Described]], Mapping[str, object]]


_SHAPES = {
    "openai": _Shape("/v1", "/models", _openais, _openais_list),
    "anthropic": _Shape("", "/v1/models?limit=1000", _anthropics, _anthropics_list),
}


class _Asked:
    """One request. `models`: as they are now."""

    def __init__(self, request: web.Request, models: Models, id_line: bytes) -> None:
        self._upstream, self._lists = request.app[WORKER].upstream, request.app[LISTS]
        self._protocol = "anthropic" if is_anthropics(request) else "openai"
        self._shape = _SHAPES[self._protocol]
        self._models, self._id_line = models, id_line
        self._names = models.names_of(self._protocol)
        self._target = request.rel_url.raw_path_qs
        self._fields = fields_of(request.headers.items())

    async def answer(self, model_id: str | None) -> tuple[Reply, bytes]:
        """Of one model, or all; with its Content-Type."""
        sources = [Source(*each) for each in self._models.sources(self._protocol)]
        if model_id is None:
            if self._names or any(source.prefix or source.alias for source in sources):
                return self._own(self._shape.several(await self._merged(sources)))
            only = sources[0].model if sources else None
            return await self._pass(only, "No upstream is known here that could list its models")
        if problem := check_model_id(model_id):
            raise BadRequestError(404, "unknown_model", problem)
        if model_id in self._names:
            return self._own(self._shape.one(model_id))
        return await self._one(model_id, sources)

    async def _one(self, model_id: str, sources: Sequence[Source]) -> tuple[Reply, bytes]:
        """As its upstream describes it, by itself or in its list."""
        model = self._models.find(model_id, self._protocol)
        reason = f"Model {model_id[:128]!r} is not in the models file, and there is no default upstream"
        (status, body, lines), media_type = await self._pass(model, reason, model_id)
        if status in NOT_FOUND:
            of_it = [source for source in sources if source.model is model]
            listed = (await self._merged(of_it)).get(model_id)
            return ((status, body, lines), media_type) if listed is None else self._own(listed)
        source = next((source for source in sources if source.model is model), None)
        if status == 200 and source is not None and source.alias is not None:
            assert isinstance(body, bytes)
            body = bytes(renamed(body, model_id))
        return (status, body, lines), media_type

    async def _merged(self, sources: Sequence[Source]) -> dict[str, Described]:
        """By their ids, those of the file first. One upstream that gives no list doesn't take it from the others."""
        lines = request_lines(
            {name: value for name, value in self._fields.items() if not name.startswith(_OF_THIS_REQUEST)}
        )
        asking = (self._lists.find(source, self._shape.target, lines) for source in sources)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        found: dict[str, Described] = {name: self._shape.one(name) for name in self._names}
        failures: list[BaseException] = []
        for source, answer in zip(sources, answers, strict=True):
            if isinstance(answer, BaseException):
                failures.append(answer)
            else:
                self._add(found, source, answer)
        if failures and (not found or not all(isinstance(each, BadRequestError) for each in failures)):
            raise failures[0]
        return found

    def _add(self, found: dict[str, Described], source: Source, listed: Sequence[Listed]) -> None:
        """Those of which a call goes there."""
        for model_id, described in listed:
            if model_id not in found and self._models.find(model_id, self._protocol) is source.model:
                found[model_id] = described

    async def _pass(self, model: Model | None, reason: str, model_id: str = "") -> tuple[Reply, bytes]:
        """The upstream's own answer, as it is."""
        if model is None:
            raise BadRequestError(404, "unknown_model" if model_id else "not_found", reason)
        refuse_dots(self._target)

        def target_at(endpoint: Endpoint) -> str:
            if model_id and endpoint.alias is not None:
                return f"{self._shape.target.partition('?')[0]}/{quote(endpoint.alias.of(model_id), safe='')}"
            return self._target.removeprefix(self._shape.base)

        lines = request_lines(self._fields) + self._id_line
        status, body, answered, media_type = await ask(self._upstream, model, target_at, lines)
        return (status, body, answered + self._id_line), media_type

    def _own(self, answer: object) -> tuple[Reply, bytes]:
        return (200, msgspec.json.encode(answer), self._id_line), JSON.encode()
