"""The gateway's HTTP routes, served by aiohttp: all but plain invocations, which `connection` answers."""

import asyncio
from collections.abc import Iterable

from aiohttp import hdrs, web

from invoker.front.health import healthz, readyz
from invoker.front.held_bodies import SMALL_BYTES, Held
from invoker.front.kserve import ask_of_model, server_live, server_metadata, server_ready
from invoker.front.model_list import list_models
from invoker.front.openapi import DOCUMENT
from invoker.front.request_body import check_origin, expect_nothing, read_body
from invoker.front.responses import ResponseSink, given_request_id, response_of
from invoker.front.sidecar_proxy import forward_to_sidecar
from invoker.front.unserved import unserved
from invoker.front.upstreams import upstreams
from invoker.front.worker import WORKER
from invoker.http.heads import RequestHead, tags_of
from invoker.http.passing import FALLBACK, PRIORITY, fields_of
from invoker.http.trace import parse_trace
from invoker.protocols.base import BadRequestError
from shared.docs import docs_routes
from shared.errors import has_left
from shared.head_rules import ENDED


def setup_routes(app: web.Application, invocations: Iterable[str]) -> None:
    """`invocations`: the paths of all protocols."""
    app.add_routes(
        [
            *(web.post(path, invoke, expect_handler=expect_nothing) for path in invocations),
            web.get("/v1/models", list_models),
            web.get("/v1/models/{id:.+}", list_models),
            web.route("*", "/v1/{path:.*}", unserved),
            web.get("/v2", server_metadata),
            web.get("/v2/health/live", server_live),
            web.get("/v2/health/ready", server_ready),
            web.get("/v2/models/{path:.+}", ask_of_model),
            web.route("*", "/v2", unserved),
            web.route("*", "/v2/{path:.*}", unserved),
            web.get("/metrics", forward_to_sidecar),
            web.get("/metrics/{path:.*}", forward_to_sidecar),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/upstreams", upstreams),
            *docs_routes(DOCUMENT),
        ]
    )


async def invoke(request: web.Request) -> web.StreamResponse:
    """An invocation by a request that `connection` handed over, because it is not plain."""
    held = Held(request.app[WORKER].answering.bodies)
    try:
        return await _invoke(request, held)
    finally:
        held.release()


async def _invoke(request: web.Request, held: Held) -> web.StreamResponse:
    answering = request.app[WORKER].answering
    head, sink = _head(request), ResponseSink(request)
    try:
        if (protocol := answering.find(head.path)) is not None:
            protocol.check(head)
            check_origin(request, request.app[WORKER].cors_origins)
        body = await read_body(request, answering.max_body_bytes, held)
    except BadRequestError as error:
        response: web.StreamResponse = response_of(answering.refusal(error, head.path, head.request_id))
    except (ConnectionError, asyncio.CancelledError):
        if has_left(request):
            answering.rejected[ENDED.reason] += 1
        raise
    else:
        await answering.answer(head, body, sink)
        response = await sink.response()
    if not request.content.is_eof():
        response.force_close()
    size_bytes = response.content_length or 0
    if size_bytes > SMALL_BYTES:  # it may wait for its caller
        held.release()
        held.add(size_bytes)
        await response.prepare(request)
        await response.write_eof()
    return response


def _head(request: web.Request) -> RequestHead:
    traceparent, tracestate = (
        ",".join(request.headers.getall(name, ())).encode("utf-8", "surrogateescape")
        for name in ("traceparent", "tracestate")
    )
    fields = fields_of(request.headers.items())
    return RequestHead(
        request.path,
        request.content_length or 0,
        ", ".join(request.headers.getall(hdrs.CONTENT_TYPE, ())) or None,
        not request.keep_alive,
        parse_trace(traceparent, tracestate),
        given_request_id(request),
        request.rel_url.raw_path_qs,
        fields,
        tags_of(fields),
        fields.get(FALLBACK),
        fields.get(PRIORITY),
    )
