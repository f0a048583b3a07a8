"""Replies and refusals as aiohttp's responses."""

from aiohttp import web

from invoker.front.answering import JSON, Answering, Reply
from invoker.protocols.worklet import BadRequestError
from shared.request_handler import Refuse, refuse_with_problem
from shared.request_heads import Refused

INVOKE_PATH = "/invoke"


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
        answering.rejected[refused.reason] += 1
        return refuse_with_problem(path, refused)

    return refuse
