"""Errors of an HTTP API as RFC 9457 `application/problem+json`.

Problem (rfc9457)       what a handler raises to answer with an error: title, status, detail, extra members
InvalidParameterError   a 400 that names the parameter; raised by what knows no HTTP, too
HTTPException           aiohttp's own (404, 405, 413 …); its headers are kept
any other               a defect: logged once, answered with a 500 that gives nothing away
"""

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from rfc9457 import Problem

from shared import logs
from shared.problems import INVALID_PARAMETER, NO_TYPE, PROBLEM_MEDIA_TYPE, InvalidParameterError, clip
from shared.request_heads import BrokenBodyError

log = logs.get("http")


def status_problem(status: int, detail: str = "", headers: dict[str, str] | None = None, **extra: str) -> Problem:
    """A problem that means no more than its HTTP status."""
    return Problem(HTTPStatus(status).phrase, NO_TYPE, detail, status, headers, **extra)


def problem_response(problem: Problem) -> web.Response:
    """The response for a problem, its headers included."""
    document = {"type": problem.type, "title": problem.title, "status": int(problem.status)}
    if problem.detail:
        document["detail"] = problem.detail
    body = msgspec.json.encode(document | problem.extras)
    return web.Response(body=body, status=problem.status, headers=problem.headers, content_type=PROBLEM_MEDIA_TYPE)


@web.middleware
async def problem_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem, unless its answer has begun already."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem_response(problem)
    except InvalidParameterError as error:
        return problem_response(_from_invalid_parameter(error))
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:  # a redirect is no error
            raise
        return problem_response(_from_http_exception(request, error))
    except BrokenBodyError as error:
        return problem_response(status_problem(error.refused.status, error.refused.message))
    except Exception:
        if has_left(request) or request.writer.output_size > 0:  # too late for another status line
            raise
        log.error("request.failed", method=request.method, path=clip(request.path), exc_info=True)
        return problem_response(status_problem(500, "The server failed to answer; its log says why."))


def has_left(request: web.BaseRequest) -> bool:
    """Whether the peer's connection has ended: whatever is raised then is no defect."""
    return request.transport is None or request.transport.is_closing()


def _from_invalid_parameter(error: InvalidParameterError) -> Problem:
    return Problem(
        "Invalid parameter",
        INVALID_PARAMETER,
        str(error),
        HTTPStatus.BAD_REQUEST,
        parameter=error.parameter,
        value=error.value,
        allowed=error.allowed,
    )


def _from_http_exception(request: web.Request, error: web.HTTPException) -> Problem:
    extra: dict[str, Any] = {}
    detail = error.text or ""
    if detail == f"{error.status}: {error.reason}":  # aiohttp's default says nothing more than the title
        detail = ""
    if isinstance(error, web.HTTPMethodNotAllowed):
        extra["allowed"] = ", ".join(sorted(error.allowed_methods))
        detail = f"{clip(error.method)} is not allowed here; allowed: {extra['allowed']}."
    elif isinstance(error, web.HTTPNotFound) and not detail:
        detail = f"There is nothing at {clip(request.path)}."
    kept = {
        name: value
        for name, value in error.headers.items()
        if name.title() not in (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)
    }
    return Problem(error.reason, NO_TYPE, detail, error.status, kept, **extra)
