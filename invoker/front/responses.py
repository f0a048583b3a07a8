"""Replies and refusals as aiohttp's responses."""

from aiohttp import web

from invoker.front.answering import Answering, Reply
from invoker.protocols.base import JSON, BadRequestError
from shared.head_rules import Refused
from shared.request_handler import Refuse, refuse_with_problem


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
    """Tells in its dialect what is wrong with a request for an invocation, or for nobody knows what, and with a problem
    what is wrong with others; counts all of them."""

    def refuse(path: str, refused: Refused) -> web.Response:
        if not path or answering.find(path) is not None:
            return response_of(answering.refusal(BadRequestError(*refused), path))
        answering.rejected[refused.reason] += 1
        return refuse_with_problem(path, refused)

    return refuse
