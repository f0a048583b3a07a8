"""The gateway's OpenAPI document, made from the types that decode its requests and encode its answers."""

from importlib.metadata import version

from invoker.front.health import Health, Readiness
from invoker.front.openapi_dialects import DIALECTS
from invoker.protocols.worklet import InvokeAnswer, InvokeRequest
from invoker.routing.states import EndpointState, UpstreamsAnswer
from shared.openapi import Answer, Operation, build_document

_REFUSED = {
    "worklet_output": None,
    "success": False,
    "latency_ms": 0.0,
    "error_log": "The body is not valid JSON: …",
}


def _failure(description: str, error_log: str, latency_ms: float = 0.0) -> Answer:
    return Answer(description, InvokeAnswer, {**_REFUSED, "latency_ms": latency_ms, "error_log": error_log})


INVOKE = Operation(
    method="POST",
    path="/invoke",
    operation_id="invoke",
    summary="Invoke a model",
    description=(
        "Forwards the body to the model's server and records the outcome. The answer has the same shape whatever "
        "happens. Statuses 200, 429, 500, 502, 503 and 504 are invocations, each with one record; the others are "
        "requests that were refused before they became one. Each answer has a header `x-request-id`: the caller's own, "
        "1 to 128 visible ASCII characters, or one that is made; the record has it, too. Headers `x-tag-NAME: "
        "value` tag a call as `tags` do. With `x-fallback: off`, no other model takes the place of one that fails; an "
        "answer of another one has a header `x-served-by` with its id. `x-priority: low`, `normal` or `high` says who "
        "goes first where there is not room for all."
    ),
    request=InvokeRequest,
    request_example={"worklet_input": {"model_id": "gpt-3.5", "input": [1, 2, 3, 4, 5]}},
    responses={
        200: Answer(
            "The model's answer.",
            InvokeAnswer,
            {"worklet_output": [6, 7, 8, 9, 10], "success": True, "latency_ms": 150, "error_log": ""},
        ),
        400: _failure(
            "The body is not valid JSON, or a tag, `x-fallback` or `x-priority` can't be taken.",
            "The body is not valid JSON: …",
        ),
        404: _failure("The model is not known here.", "Model 'x' is not in the models file, …"),
        408: _failure("The request did not come whole in time.", "The request did not come to its end in time"),
        413: _failure("The body is larger than the limit.", "The body is larger than 67108864 bytes, the limit"),
        415: _failure("The body is not sent as JSON.", "Content-Type 'text/plain' is not supported; …"),
        422: _failure(
            "The JSON has another shape, or says a key twice.", "… Object missing required field `worklet_input`"
        ),
        429: _failure(
            "A limit of calls in flight is reached, or the upstream answered 429.",
            "4096 calls are in flight, the limit",
        ),
        500: _failure("The gateway itself failed.", "the gateway can't open a connection: Too many open files"),
        502: _failure("The upstream failed.", "upstream answered 500: …", 12.5),
        503: _failure("The gateway is shutting down, or the upstream answered 503.", "the gateway is shutting down"),
        504: _failure("The upstream did not answer in time.", "upstream gave no whole answer within 120 s", 120000.4),
    },
    tags=["invocations"],
)

HEALTHZ = Operation(
    path="/healthz",
    operation_id="healthz",
    summary="Is the process alive?",
    responses={200: Answer("It answers.", Health, Health())},
    tags=["health"],
)

READYZ = Operation(
    path="/readyz",
    operation_id="readyz",
    summary="May callers be sent here?",
    responses={
        200: Answer("Calls are served; the reasons tell what needs a look.", Readiness, Readiness("ready", [])),
        503: Answer("Send no calls.", Readiness, Readiness("not_ready", ["draining: the gateway is shutting down"])),
    },
    tags=["health"],
)

UPSTREAMS = Operation(
    path="/upstreams",
    operation_id="upstreams",
    summary="Where do calls go, and what is left out?",
    description="What all workers together know of the endpoints of the models file, and of the settings.",
    responses={
        200: Answer(
            "All of them.",
            UpstreamsAnswer,
            UpstreamsAnswer(
                2,
                [
                    EndpointState(
                        model="gpt-4o",
                        protocol="openai",
                        name="10.0.0.7:8000",
                        url="http://10.0.0.7:8000/v1",
                        weight=1,
                        priority=0,
                        state="out",
                        reason="5 failures in a row, the last: can't connect to upstream: Connection refused",
                        until="2024-01-15T10:30:05.000000Z",
                        attempts={"connect": 10, "success": 4711},
                    )
                ],
            ),
        )
    },
    tags=["health"],
)

OPERATIONS = (INVOKE, *DIALECTS, HEALTHZ, READYZ, UPSTREAMS)

DOCUMENT = build_document(
    "Invocation gateway",
    version("invocation-gateway"),
    "Forwards model invocations and records each one exactly once. `GET /metrics` and `GET /metrics/*` asked here are "
    "answered by the metrics sidecar, whose own `/docs` describes them.",
    OPERATIONS,
    "gateway",
)
