"""The dialects' part of the OpenAPI document: their bodies go through, so that little of them is said here."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from invoker.front.kserve import METADATA, ServerLive, ServerReady
from invoker.protocols.anthropic import Anthropic, AnthropicError
from invoker.protocols.kserve import KServeError
from invoker.protocols.openai import OpenAI, OpenAIError
from shared.openapi import JSON, Answer, Operation
from shared.record import ModelId

EVENTS = "text/event-stream"
FORM = "multipart/form-data"
FORMS = ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations")


class ModelRequest(msgspec.Struct, frozen=True):
    """What is read of a request that goes on as it is, with whatever else it says."""

    model: ModelId
    stream: Annotated[Any, Meta(description="`true` for a stream.")] = False


class ModelForm(msgspec.Struct, frozen=True):
    """Likewise of a form."""

    model: ModelId
    file: Annotated[str, Meta(extra_json_schema={"format": "binary"})] = ""


class ModelPart(msgspec.Struct, frozen=True):
    """Where a model's id stands in a path."""

    id: Annotated[ModelId, Meta(description="As it is, or with its slashes escaped.")]


Shape = type[OpenAIError] | type[AnthropicError] | type[KServeError]


def _refused(shape: Shape, statuses: dict[int, str]) -> dict[int, Answer]:
    return {
        status: Answer(f"{why} Or the upstream's own.", {JSON: shape, "*/*": Any}) for status, why in statuses.items()
    }


_REFUSALS = {
    400: "The body is not valid JSON or no whole form, names no model, or a tag or a header of these can't be taken.",
    404: "The model is not known here.",
    408: "The request did not come whole in time.",
    413: "The body is larger than the limit.",
    415: "The body is neither JSON nor, where one is taken, a form.",
    429: "A limit of calls in flight is reached.",
    500: "The gateway itself failed.",
    502: "The upstream gave no answer, or none that can be passed on.",
    503: "The gateway is shutting down, or holds as many bodies as it may.",
    504: "The upstream did not answer in time.",
}
_ANSWER = Answer("The upstream's answer as it is: whole, or a stream.", {JSON: Any, EVENTS: Any, "*/*": Any})
_OTHERWISE = Answer("The upstream's own status, body and headers.", {"*/*": Any})


def _call(path: str, name: str, dialect: str, shape: Shape) -> Operation:
    is_form = path in FORMS
    return Operation(
        method="POST",
        path=path,
        operation_id=f"{dialect.lower()}_{name}",
        summary=f"{dialect}: {name.replace('_', ' ')}",
        description=(
            f"Goes on to the model's upstream as it is, and is one record. Body, answer and errors are {dialect}'s; "
            "refusals of the gateway's own have the same shape. Headers `x-tag-NAME: value` tag a call. With "
            "`x-fallback: off`, no other model takes the place of one that fails; an answer of another one has a "
            "header `x-served-by` with its id. `x-priority: low`, `normal` or `high` says who goes first where "
            "there is not room for all."
        ),
        request=ModelForm if is_form else ModelRequest,
        request_media=FORM if is_form else JSON,
        request_example=None if is_form else {"model": "gpt" if dialect == "OpenAI" else "claude"},
        responses={200: _ANSWER, **_refused(shape, _REFUSALS)},
        otherwise=_OTHERWISE,
        tags=[dialect],
    )


_NOT_LISTED = {404: "No such model, or no upstream to ask.", 502: "The upstream failed.", 504: "It did not answer."}


def _listed(path: str, summary: str, parts: type[msgspec.Struct] | None = None) -> Operation:
    return Operation(
        path=path,
        operation_id="models" if parts is None else "model",
        summary=summary,
        description="The models file's, and its upstreams'; with `anthropic-version`, Anthropic's. No record.",
        parts=parts,
        responses={
            200: Answer("In the dialect's shape.", {JSON: Any, "*/*": Any}),
            **_refused(OpenAIError, _NOT_LISTED),
        },
        otherwise=_OTHERWISE,
        tags=["models"],
    )


class TensorOfRequest(msgspec.Struct, frozen=True):
    """What is read of a tensor: its elements are counted by its shape."""

    shape: list[int]
    name: str = "INPUT0"
    datatype: str = "BOOL"
    data: Annotated[Any, Meta(description="Nested or flat; or none, and in binary behind the JSON.")] = []


class InferRequest(msgspec.Struct, frozen=True):
    """What is read of an inference's JSON, which goes on as it is, with whatever else it says."""

    inputs: list[TensorOfRequest]


class NamedModel(msgspec.Struct, frozen=True):
    """Where a model stands in a path of KServe's."""

    model: Annotated[ModelId, Meta(description="As it is, or with its slashes escaped.")]


class NamedVersion(NamedModel, frozen=True):
    """Likewise one of its versions."""

    version: Annotated[str, Meta(min_length=1, description="As the upstream calls it.", examples=["1"])]


_INFER_REFUSALS = _REFUSALS | {
    400: "What should be JSON is none, the length of the JSON is none of the body, or a tag can't be taken.",
    415: "The body is neither JSON nor application/octet-stream.",
}
_TENSORS = {"inputs": [{"name": "INPUT0", "shape": [1, 3], "datatype": "INT32", "data": [1, 2, 3]}]}


def _infer(path: str, name: str, parts: type[msgspec.Struct]) -> Operation:
    return Operation(
        method="POST",
        path=path,
        operation_id=name,
        summary="KServe: infer",
        description=(
            "Goes on to the model's upstream as it is, and is one record. Tensors may follow the JSON in binary: then "
            "Inference-Header-Content-Length says how long the JSON is, in requests and in answers. Refusals of the "
            "gateway's own have KServe's shape, too. Headers `x-tag-NAME: value` tag a call."
        ),
        parts=parts,
        request=InferRequest,
        request_example=_TENSORS,
        responses={
            200: Answer("The upstream's answer as it is.", {JSON: Any, "application/octet-stream": Any, "*/*": Any}),
            **_refused(KServeError, _INFER_REFUSALS),
        },
        otherwise=_OTHERWISE,
        tags=["KServe"],
    )


def _asked_of_model(path: str, name: str, summary: str, parts: type[msgspec.Struct]) -> Operation:
    return Operation(
        path=path,
        operation_id=name,
        summary=summary,
        description="As the model's upstream says. No record.",
        parts=parts,
        responses={
            200: Answer("The upstream's answer as it is.", {JSON: Any, "*/*": Any}),
            **_refused(KServeError, _NOT_LISTED),
        },
        otherwise=_OTHERWISE,
        tags=["models"],
    )


def _of_server(path: str, name: str, summary: str, example: msgspec.Struct) -> Operation:
    answers = {200: Answer("The gateway's own answer.", type(example), example)}
    if isinstance(example, ServerReady):
        answers[503] = Answer("Send no calls.", ServerReady, ServerReady(False))
    return Operation(path=path, operation_id=name, summary=summary, responses=answers, tags=["health"])


_KSERVE = "/v2/models/{model}"
_VERSION = f"{_KSERVE}/versions/{{version}}"
KSERVE = (
    _infer(f"{_KSERVE}/infer", "kserve_infer", NamedModel),
    _infer(f"{_VERSION}/infer", "kserve_infer_version", NamedVersion),
    _asked_of_model(_KSERVE, "kserve_model", "KServe: what is this model?", NamedModel),
    _asked_of_model(_VERSION, "kserve_version", "KServe: what is this version?", NamedVersion),
    _asked_of_model(f"{_KSERVE}/ready", "kserve_model_ready", "KServe: is this model ready?", NamedModel),
    _asked_of_model(f"{_VERSION}/ready", "kserve_version_ready", "KServe: is this version ready?", NamedVersion),
    _of_server("/v2", "kserve_server", "KServe: who answers?", METADATA),
    _of_server("/v2/health/live", "kserve_live", "KServe: is the process alive?", ServerLive()),
    _of_server("/v2/health/ready", "kserve_ready", "KServe: may callers be sent here?", ServerReady(True)),
)

DIALECTS = (
    *(_call(path, name, "OpenAI", OpenAIError) for path, name in OpenAI.operations.items()),
    *(_call(path, name, "Anthropic", AnthropicError) for path, name in Anthropic.operations.items()),
    _listed("/v1/models", "Which models are there?"),
    _listed("/v1/models/{id}", "Is there such a model?", ModelPart),
    *KSERVE,
)
