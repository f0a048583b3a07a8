"""An OpenAPI 3.1 document, made from the msgspec types that decode requests and encode answers."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from shared.problems import NO_TYPE, PROBLEM_MEDIA_TYPE, ProblemDetails

JSON = "application/json"
REF_TEMPLATE = "#/components/schemas/{name}"

Schema = dict[str, Any]
Media = dict[str, type[Any]]


class Answer(msgspec.Struct, frozen=True):
    """One documented response: a JSON body of `body`, or media type → type (`str` for plain text).
    `example` is a value of that type, or the text itself, by media type where there are several."""

    description: str
    body: type[msgspec.Struct] | Media
    example: Any = None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path. `parts` and `query` are Structs whose fields are what stands in braces in the path,
    and the query parameters; `request` is the type of a body, JSON if no other media type is said. `responses` goes
    from status to answer, `otherwise` is that of all others; see `problem` for errors."""

    path: str
    operation_id: str
    summary: str
    responses: dict[int, Answer]
    method: str = "GET"
    description: str = ""
    parts: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    request: type[Any] | None = None
    request_media: str = JSON
    request_example: Any = None
    otherwise: Answer | None = None
    tags: Sequence[str] = ()


def problem(status: int, when: str, example: ProblemDetails | None = None) -> Answer:
    """The documented answer for an error of this kind."""
    plain = ProblemDetails(NO_TYPE, HTTPStatus(status).phrase, status, when)
    return Answer(when, {PROBLEM_MEDIA_TYPE: ProblemDetails}, example or plain)


def build_document(title: str, version: str, description: str, operations: Sequence[Operation], page: str) -> Schema:
    """The whole document; all types that the operations name become components. `page` of `docs/` says more."""
    types = _types_of(operations)
    references, components = msgspec.json.schema_components(types, ref_template=REF_TEMPLATE)
    schemas = dict(zip(types, references, strict=True))
    paths: dict[str, Schema] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    document: Schema = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "externalDocs": {"description": "Documentation", "url": f"docs/{page}.md"},
        "paths": paths,
        "components": {"schemas": components},
    }
    _refine(document["components"])
    return document


def query_schemas(query: type[msgspec.Struct]) -> dict[str, Schema]:
    """Parameter name → JSON schema, for the fields of a Struct of query parameters."""
    _, components = msgspec.json.schema_components([query], ref_template=REF_TEMPLATE)
    properties: dict[str, Schema] = components[query.__name__]["properties"]
    _inline(properties, components)
    _refine(properties)
    return properties


def _types_of(operations: Sequence[Operation]) -> list[type[Any]]:
    types: dict[type[Any], None] = {}
    for operation in operations:
        if operation.request is not None:
            types[operation.request] = None
        for answer in _answers(operation).values():
            types |= dict.fromkeys(_media(answer).values())
    return list(types)


def _answers(operation: Operation) -> dict[str, Answer]:
    """By status as the document says it."""
    answers = {str(status): answer for status, answer in operation.responses.items()}
    return answers if operation.otherwise is None else {**answers, "default": operation.otherwise}


def _media(answer: Answer) -> Media:
    return answer.body if isinstance(answer.body, dict) else {JSON: answer.body}


def _operation(operation: Operation, schemas: dict[type[Any], Schema]) -> Schema:
    described: Schema = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [*operation.tags],
        "responses": {
            status: {"description": answer.description, "content": _content(answer, schemas)}
            for status, answer in _answers(operation).items()
        },
    }
    parameters = [
        parameter
        for place, fields in (("path", operation.parts), ("query", operation.query))
        if fields is not None
        for parameter in _parameters(fields, place)
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.request is not None:
        content = {"schema": schemas[operation.request], **_example(operation.request_example)}
        described["requestBody"] = {"required": True, "content": {operation.request_media: content}}
    return described


def _parameters(query: type[msgspec.Struct], place: str) -> list[Schema]:
    """Each field as a parameter; what belongs to the parameter is lifted out of its schema."""
    required = {field.encode_name for field in msgspec.structs.fields(query) if field.required}
    return [
        {
            "name": name,
            "in": place,
            "required": name in required,
            "description": schema.pop("description", ""),
            "schema": _entries(name, schema) if schema.get("type") == "object" else schema,
        }
        for name, schema in query_schemas(query).items()
    ]


def _entries(name: str, schema: Schema) -> Schema:
    """Of a map, each of whose values is a parameter: its name, a point, and the value's name. In a query, properties of
    an object are parameters (https://spec.openapis.org/oas/v3.1.0#style-values)."""
    names = schema.pop("propertyNames")["pattern"].removeprefix("^")
    values = schema.pop("additionalProperties")
    return {**schema, "patternProperties": {f"^{name}\\.{names}": values}, "additionalProperties": False}


def _content(answer: Answer, schemas: dict[type[Any], Schema]) -> Schema:
    several = isinstance(answer.example, dict)
    return {
        media_type: {
            "schema": schemas[type_],
            **_example(answer.example.get(media_type) if several else answer.example),
        }
        for media_type, type_ in _media(answer).items()
    }


def _example(example: Any) -> Schema:
    return {} if example is None else {"example": msgspec.to_builtins(example)}


def _inline(schema: Any, components: dict[str, Schema]) -> None:
    """Put what is referred to in place of references to it, at all depths: a parameter says itself what it may be."""
    if isinstance(schema, dict):
        reference = schema.pop("$ref", None)
        if reference is not None:
            schema.update(components[reference.rpartition("/")[2]])
        for value in schema.values():
            _inline(value, components)
    elif isinstance(schema, list):
        for value in schema:
            _inline(value, components)


def _refine(schema: Any) -> None:
    """What msgspec leaves to be done, in place, at all depths."""
    if isinstance(schema, dict):
        pattern = schema.get("pattern")
        if isinstance(pattern, str):
            # Python's `$` also stands before a last newline, so our patterns end in `\Z`, which means
            # nothing in JSON Schema; its own `$` is strict.
            schema["pattern"] = f"{pattern[:-2]}$" if pattern.endswith("\\Z") else pattern
        enum = schema.get("enum")
        if isinstance(enum, list) and all(isinstance(value, str) for value in enum):
            schema.setdefault("type", "string")
        for value in schema.values():
            _refine(value)
    elif isinstance(schema, list):
        for value in schema:
            _refine(value)
