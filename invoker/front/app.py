"""aiohttp's half of a worker's front: what it serves is whatever is no plain invocation."""

from aiohttp import web
from aiohttp.typedefs import Handler

from invoker.front.model_list import upstream_lists
from invoker.front.routes import setup_routes
from invoker.front.sidecar_proxy import sidecar_session
from invoker.front.worker import WORKER, Worker
from shared.cors import allow_origins
from shared.errors import problem_middleware
from shared.problems import PROBLEM_MEDIA_TYPE
from shared.serving import close_while

_REASONS = {404: "not_found", 405: "method_not_allowed"}


def make_app(worker: Worker) -> web.Application:
    """One worker's application."""
    answering, connections = worker.answering, worker.connections
    app = web.Application(middlewares=[count_refused, problem_middleware], client_max_size=answering.max_body_bytes)
    app[WORKER] = worker
    allow_origins(app, worker.cors_origins)
    close_while(app, lambda: connections.full or answering.closing)
    app.cleanup_ctx.extend((sidecar_session, upstream_lists))
    setup_routes(app, answering.paths)
    return app


@web.middleware
async def count_refused(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Problems of the caller's making, but for the sidecar's own answers; what `invoke` refuses is counted there."""
    response = await handler(request)
    if 400 <= response.status < 500 and type(response) is web.Response and response.content_type == PROBLEM_MEDIA_TYPE:
        request.app[WORKER].answering.rejected[_REASONS.get(response.status, "invalid_request")] += 1
    return response
