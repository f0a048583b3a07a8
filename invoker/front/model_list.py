"""`GET /v1/models` and `/v1/models/{id}`: the models that the models file names for OpenAI's protocol, or else the
upstream's answer. No invocation."""

from collections.abc import Sequence

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from invoker.front.responses import response_of
from invoker.front.sidecar_proxy import SIDECAR_SESSION
from invoker.front.worker import WORKER
from invoker.http.passing import answer_lines, fields_of, joined_url, request_lines
from invoker.http.request_id import make_request_id, parse_request_id, request_id_line
from invoker.protocols.base import BadRequestError
from shared.settings import UNIX_SCHEME

MAX_BYTES = 16 * 1024 * 1024


async def list_models(request: web.Request) -> web.Response:
    """Callers of Anthropic's protocol are known by the header that all of them send."""
    worker = request.app[WORKER]
    is_anthropic = "anthropic-version" in request.headers
    try:
        if is_anthropic:
            return await _ask(request, worker.anthropic_url, request.rel_url.raw_path_qs)
        if worker.openai_models:
            listed = msgspec.json.encode(_listed(worker.openai_models, request.match_info.get("id")))
            return response_of((200, listed, _id_line(request)))
        return await _ask(request, worker.openai_url, request.rel_url.raw_path_qs.removeprefix("/v1"))
    except BadRequestError as error:
        path = "/v1/messages" if is_anthropic else request.path
        return response_of(worker.answering.refusal(error, path))


def _listed(names: Sequence[str], model_id: str | None) -> dict[str, object]:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "gateway"} for name in names]
    if model_id is None:
        return {"object": "list", "data": models}
    for model in models:
        if model["id"] == model_id:
            return dict(model)
    raise BadRequestError(404, "unknown_model", f"Model {model_id[:128]!r} is not in the models file")


async def _ask(request: web.Request, base: str, target: str) -> web.Response:
    if not base or base.startswith(UNIX_SCHEME):
        raise BadRequestError(404, "not_found", "No upstream is known here that could list its models")
    if any(segment in (".", "..") for segment in request.path.split("/")):
        raise BadRequestError(404, "not_found", "Paths with dot segments are not served")
    id_line = _id_line(request)
    lines = (request_lines(fields_of(request.headers.items())) + id_line).decode("utf-8", "surrogateescape")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines.split("\r\n")) if name]
    url = URL(joined_url(base, target), encoded=True)
    try:
        async with request.app[SIDECAR_SESSION].get(url, headers=headers, allow_redirects=False) as answer:
            fields = fields_of(answer.headers.items())
            body = await _read(answer)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise BadRequestError(502, "upstream_failed", f"The upstream gave no answer: {error}") from None
    media_type = fields.get(b"content-type", b"application/octet-stream")
    return response_of((answer.status, body, answer_lines(fields) + id_line), media_type)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BadRequestError(502, "upstream_failed", "The upstream's answer is in a coding that wasn't asked for")
    body = b""
    async for part in answer.content.iter_any():
        body += part
        if len(body) > MAX_BYTES:
            raise BadRequestError(502, "upstream_failed", f"The upstream's answer is larger than {MAX_BYTES} bytes")
    return body


def _id_line(request: web.Request) -> bytes:
    given = request.headers.get("x-request-id", "").encode("utf-8", "surrogateescape")
    return request_id_line(parse_request_id(given) or make_request_id())
