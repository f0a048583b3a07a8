"""What KServe's clients ask beside inferences: of the server, the gateway's own answers; of a model, its upstream's."""

from importlib.metadata import version

import msgspec
from aiohttp import web

from invoker.front.answering import unknown_model
from invoker.front.asking import ask
from invoker.front.responses import given_request_id, response_of
from invoker.front.unserved import unserved
from invoker.front.worker import WORKER
from invoker.http.passing import fields_of, request_lines
from invoker.http.request_id import make_request_id, request_id_line
from invoker.protocols.base import BadRequestError
from invoker.protocols.kserve import ASKED, BEGIN, asked_model, is_infer, renamed_target
from invoker.protocols.passing import refuse_dots
from invoker.routing.endpoints import Endpoint


class ServerMetadata(msgspec.Struct, frozen=True):
    """Who answers, and what of the protocol's extensions is known here."""

    name: str
    version: str
    extensions: list[str]


class ServerLive(msgspec.Struct, frozen=True):
    """The process answers."""

    live: bool = True


class ServerReady(msgspec.Struct, frozen=True):
    """Whether calls are served, as `/readyz` says; false with status 503."""

    ready: bool


METADATA = ServerMetadata("invocation-gateway", version("invocation-gateway"), ["binary_tensor_data"])


async def server_metadata(_request: web.Request) -> web.Response:
    return _json(METADATA)


async def server_live(_request: web.Request) -> web.Response:
    return _json(ServerLive())


async def server_ready(request: web.Request) -> web.Response:
    ready = not request.app[WORKER].answering.closing
    return _json(ServerReady(ready), 200 if ready else 503)


async def ask_of_model(request: web.Request) -> web.Response:
    """Its metadata, or whether it is ready."""
    if is_infer(request.rel_url.raw_path):
        return await unserved(request)
    worker = request.app[WORKER]
    request_id = given_request_id(request) or make_request_id()
    id_line = request_id_line(request_id)
    target = request.rel_url.raw_path_qs
    try:
        refuse_dots(target)
        model_id = asked_model(request.rel_url.raw_path)
        model = worker.invoker.models.find(model_id, "kserve")
        if model is None:
            raise unknown_model(model_id)
        lines = request_lines(fields_of(request.headers.items())) + id_line

        def target_at(endpoint: Endpoint) -> str:
            alias = endpoint.alias
            return target if alias is None else renamed_target(target, ASKED, alias.of(model_id))

        status, body, answered, media_type = await ask(worker.upstream, model, target_at, lines)
        return response_of((status, body, answered + id_line), media_type)
    except BadRequestError as error:
        return response_of(worker.answering.refusal(error, BEGIN, request_id))


def _json(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
