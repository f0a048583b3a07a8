"""Replies and refusals as aiohttp's responses."""

from aiohttp import web
from aiohttp.typedefs import Handler

from invoker.front.answering import JSON, Answering, Reply
from invoker.protocols.worklet import BadRequestError
from shared.problems import PROBLEM_MEDIA_TYPE
from shared.request_handler import Refuse, refuse_with_problem
from shared.request_heads import Refused

ANSWERING = web.AppKey("answering", Answering)
INVOKE_PATH = "/invoke"
_REASONS = {404: "not_found", 405: "method_not_allowed"}


def response_of(reply: Reply) -> web.Response:
    """With the reply's header lines; its answer is in one piece."""
    status, answer, headers = reply
    assert isinstance(answer, bytes)
    response = web.Response(body=answer, status=status, content_type=JSON)
    for line in headers.decode("latin-1").splitlines():
        name, _, value = line.partition(": ")
        response.headers[name] = value
    return response


def refusing(answering: Answering) -> Refuse:
    """Tells in the shape of an answer what is wrong with a request for `/invoke`, or for nobody knows what, and with a
    problem what is wrong with others; counts all of them."""

    def refuse(path: str, refused: Refused) -> web.Response:
        if path in (INVOKE_PATH, ""):
            return response_of(answering.refusal(BadRequestError(*refused)))
        answering.count(refused.reason)
        return refuse_with_problem(path, refused)

    return refuse


@web.middleware
async def count_refused(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Problems of the caller's making, but for the sidecar's own answers; what `invoke` refuses is counted there."""
    response = await handler(request)
    if 400 <= response.status < 500 and type(response) is web.Response and response.content_type == PROBLEM_MEDIA_TYPE:
        request.app[ANSWERING].count(_REASONS.get(response.status, "invalid_request"))
    return response
