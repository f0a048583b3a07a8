"""The pages of `docs/` are served beside the Swagger page, and each link in them leads somewhere."""

import re
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from shared.openapi import build_document
from shared.pages import DIRECTORY, PAGES, anchor, is_served, pages_routes, render

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]]) -> Client:
    app = web.Application()
    app.add_routes(pages_routes())
    return await aiohttp_client(app)


def test_all_pages_are_served_with_their_titles() -> None:
    """A new one must be named in the table, and its first line says what it is there."""
    found = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0] for path in DIRECTORY.glob("*.md")}
    assert found == {name: f"# {title}" for name, title in PAGES.items()}


@pytest.mark.parametrize("name", PAGES)
async def test_a_page_needs_no_other_host(client: Client, name: str) -> None:
    """It is one answer, without scripts, and nothing else may be loaded."""
    response = await client.get(f"/docs/{name}.md")
    text = await response.text()
    assert (response.status, response.content_type) == (200, "text/html")
    assert f"<title>{escape(PAGES[name])}</title>" in text
    assert re.findall(r"<(?:script|img|link)|\bsrc=", text) == []
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none';")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_page_and_a_heading(name: str) -> None:
    """As the browser follows it; what lies elsewhere in the repository is no link here."""
    dead = []
    for target in re.findall(r'href="([^"]*)"', render(name)):
        path, _, heading = target.partition("#")
        page = path.removesuffix(".md") or name
        if page not in PAGES or (heading and f'id="{heading}"' not in render(page)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", ["gateway", "history"])
async def test_the_openapi_document_leads_to_a_page(client: Client, page: str) -> None:
    """Relative to the document, so that it holds behind a path prefix as well."""
    document: dict[str, Any] = build_document("Colours", "1.0", "", [], page)
    assert (await client.get("/" + document["externalDocs"]["url"])).status == 200


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("history.md#history", True), ("#retention", True), ("https://example.org", True),
        ("../deploy/RUNBOOK.md", False), ("unknown.md", False),
    ],
)  # fmt: skip
def test_what_is_not_served_is_no_link(target: str, expected: bool) -> None:
    """Other files of the repository aren't in a package."""
    assert is_served(target) == expected


def test_anchors_are_those_of_github() -> None:
    """Small letters, hyphens for spaces, no punctuation: so the same link works in both places."""
    assert anchor("A history file that can't be used") == "a-history-file-that-cant-be-used"
    assert anchor("`make run`: what_is it?") == "make-run-what_is-it"
