"""`GET /v1/models` and `/v1/models/{id}`: the models that the models file names for a dialect, or else the upstream's
answer. No invocation."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from aiohttp import web

from invoker.front.asking import Answer, ask
from invoker.front.responses import given_request_id, response_of
from invoker.front.unserved import dialect_path, is_anthropics
from invoker.front.worker import WORKER, Worker
from invoker.http.passing import fields_of, request_lines
from invoker.http.request_id import make_request_id, request_id_line
from invoker.protocols.base import BadRequestError
from invoker.protocols.passing import refuse_dots
from invoker.routing.models import Model
from shared.record import check_model_id

Json = Mapping[str, object]


async def list_models(request: web.Request) -> web.Response:
    """Callers of Anthropic's protocol are known by the header that all of them send."""
    worker = request.app[WORKER]
    request_id = given_request_id(request) or make_request_id()
    id_line = request_id_line(request_id)
    protocol = "anthropic" if is_anthropics(request) else "openai"
    try:
        names, model_id = worker.invoker.models.names_of(protocol), request.match_info.get("id")
        if model_id is not None and (problem := check_model_id(model_id)):
            raise BadRequestError(404, "unknown_model", problem)
        if names:
            listed = msgspec.json.encode(_listed(names, model_id, _SHAPES[protocol]))
            return response_of((200, listed, id_line))
        model = worker.invoker.models.find(model_id or "", protocol)
        status, body, lines, media_type = await _ask(request, worker, model, protocol, id_line)
        return response_of((status, body, lines + id_line), media_type)
    except BadRequestError as error:
        return response_of(worker.answering.refusal(error, dialect_path(request), request_id))


def _openais(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "gateway"}


def _anthropics(name: str) -> Json:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def _openais_list(models: Sequence[Json]) -> Json:
    return {"object": "list", "data": models}


def _anthropics_list(models: Sequence[Json]) -> Json:
    return {"data": models, "has_more": False, "first_id": models[0]["id"], "last_id": models[-1]["id"]}


Shape = tuple[Callable[[str], Json], Callable[[Sequence[Json]], Json]]
_SHAPES: Mapping[str, Shape] = {
    "openai": (_openais, _openais_list),
    "anthropic": (_anthropics, _anthropics_list),
}


def _listed(names: Sequence[str], model_id: str | None, shape: Shape) -> Json:
    one, several = shape
    if model_id is None:
        return several([one(name) for name in names])
    if model_id not in names:
        raise BadRequestError(404, "unknown_model", f"Model {model_id[:128]!r} is not in the models file")
    return one(model_id)


async def _ask(request: web.Request, worker: Worker, model: Model | None, protocol: str, id_line: bytes) -> Answer:
    if model is None:
        raise BadRequestError(404, "not_found", "No upstream is known here that could list its models")
    target = request.rel_url.raw_path_qs
    refuse_dots(target)
    lines = request_lines(fields_of(request.headers.items())) + id_line
    target = target.removeprefix("/v1") if protocol == "openai" else target
    return await ask(worker.upstream, model, lambda _endpoint: target, lines)
