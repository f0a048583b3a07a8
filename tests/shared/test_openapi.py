"""The OpenAPI document and the page that shows it."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import jsonschema  # type: ignore[import-untyped] # it publishes no types
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from msgspec import UNSET, Meta, UnsetType

from shared.docs import docs_routes
from shared.openapi import Answer, Operation, build_document, problem, query_schemas

Client = TestClient[web.Request, web.Application]


class Colour(msgspec.Struct):
    """A colour."""

    name: str
    shade: Annotated[int, Meta(ge=0)] = 0


class Search(msgspec.Struct, kw_only=True):
    """What is searched for."""

    name: Annotated[str, Meta(pattern="^[a-z]+\\Z", description="Its name.")]
    limit: Annotated[int, Meta(ge=1, le=9, description="How many.")] = 3
    only: Annotated[str, Meta(max_length=5)] | UnsetType = UNSET


FIND = Operation(
    path="/colours",
    operation_id="find",
    summary="Find colours",
    query=Search,
    responses={200: Answer("Found.", Colour, Colour("red", 1)), 400: problem(400, "A parameter is wrong.")},
    tags=["colours"],
)
ADD = Operation(
    method="POST",
    path="/colours",
    operation_id="add",
    summary="Add a colour",
    request=Colour,
    request_example=Colour("blue"),
    responses={200: Answer("As text.", {"text/plain": str}, "blue")},
)


@pytest.fixture
def document() -> dict[str, Any]:
    return build_document("Colours", "1.0", "All of them <in> one place.", [FIND, ADD], "gateway")


def test_methods_of_one_path_stand_together(document: dict[str, Any]) -> None:
    """The version, the title and each operation are where OpenAPI 3.1 wants them."""
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "Colours"
    assert document["paths"]["/colours"].keys() == {"get", "post"}


def test_parameters_are_the_fields_of_the_struct_that_decodes_them(document: dict[str, Any]) -> None:
    """Bounds, defaults and descriptions come from the types; only a field without default is required."""
    assert document["paths"]["/colours"]["get"]["parameters"] == [
        {
            "name": "name",
            "in": "query",
            "required": True,
            "description": "Its name.",
            "schema": {"type": "string", "pattern": "^[a-z]+$"},
        },
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "description": "How many.",
            "schema": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        },
        {
            "name": "only",
            "in": "query",
            "required": False,
            "description": "",
            "schema": {"type": "string", "maxLength": 5},
        },
    ]


def test_pythons_end_of_text_becomes_json_schemas() -> None:
    """`\\Z` is strict in Python and means nothing in JSON Schema, where `$` is strict."""
    assert query_schemas(Search)["name"]["pattern"] == "^[a-z]+$"


def test_every_reference_leads_to_a_component(document: dict[str, Any]) -> None:
    """Types are described once, and errors by the type of a problem."""
    references = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert references == document["components"]["schemas"].keys() == {"Colour", "ProblemDetails"}


def test_examples_are_valid_by_their_schemas(document: dict[str, Any]) -> None:
    """An example that its own schema refuses would be worse than none."""
    contents = [
        content
        for operation in document["paths"]["/colours"].values()
        for body in [*operation["responses"].values(), operation.get("requestBody", {"content": {}})]
        for content in body["content"].values()
    ]
    assert len(contents) == 4
    for content in contents:
        schema = content["schema"] | {"components": document["components"]}
        jsonschema.validate(content["example"], schema)


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], document: dict[str, Any]) -> Client:
    app = web.Application()
    app.add_routes(docs_routes(document))
    return await aiohttp_client(app)


async def test_the_document_is_served(client: Client, document: dict[str, Any]) -> None:
    """Byte for byte what was built, as JSON."""
    response = await client.get("/openapi.json")
    assert (response.content_type, await response.json()) == ("application/json", document)


async def test_the_page_needs_no_other_host_and_no_inline_script(client: Client) -> None:
    """All that it refers to is served here, and its policy forbids the rest."""
    response = await client.get("/docs")
    page = await response.text()
    references = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(references) == 5
    for reference in references:
        assert (await client.get(f"/{reference}")).status == 200
    assert "<script>" not in page
    assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")


async def test_assets_may_be_kept_by_the_browser(client: Client) -> None:
    """1.5 MB of Swagger UI are loaded once a day at most; the page itself is always asked for."""
    bundle = await client.get("/docs/swagger-ui-bundle.js")
    assert bundle.headers["Cache-Control"] == "public, max-age=86400"
    assert bundle.headers["ETag"]
    assert (await client.get("/docs")).headers["Cache-Control"] == "no-cache"
