"""The dialects' part of the OpenAPI document: their bodies go through, so that little of them is said here."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from invoker.protocols.anthropic import Anthropic, AnthropicError
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


Shape = type[OpenAIError] | type[AnthropicError]


def _refused(shape: Shape, statuses: dict[int, str]) -> dict[int, Answer]:
    return {
        status: Answer(f"{why} Or the upstream's own.", {JSON: shape, "*/*": Any}) for status, why in statuses.items()
    }


_REFUSALS = {
    400: "The body is not valid JSON or no whole form, names no model, or a tag can't be taken.",
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
            "refusals of the gateway's own have the same shape. Headers `x-tag-NAME: value` tag a call."
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
        description="The models file's, or else the upstream's; with `anthropic-version`, Anthropic's. No record.",
        parts=parts,
        responses={
            200: Answer("In the dialect's shape.", {JSON: Any, "*/*": Any}),
            **_refused(OpenAIError, _NOT_LISTED),
        },
        otherwise=_OTHERWISE,
        tags=["models"],
    )


DIALECTS = (
    *(_call(path, name, "OpenAI", OpenAIError) for path, name in OpenAI.operations.items()),
    *(_call(path, name, "Anthropic", AnthropicError) for path, name in Anthropic.operations.items()),
    _listed("/v1/models", "Which models are there?"),
    _listed("/v1/models/{id}", "Is there such a model?", ModelPart),
)
