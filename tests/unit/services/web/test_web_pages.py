"""Where signing in may lead, and that a template cannot leave something out silently."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from starlette.requests import Request

from services.web.assets import Assets
from services.web.pages import HERE, Pages, same_site_path


@pytest.mark.parametrize(
    "path", ["/", "/documents", "/documents?a=b&c=//d", "/record?corr=1", "/sources/a?start=1"]
)
def test_a_path_on_this_server_is_kept(path: str) -> None:
    """Paths with and without a query are where the sign-in leads."""
    assert same_site_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "documents",
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "/\t/elsewhere.example",
        "\n//elsewhere.example",
        "javascript:alert(1)",
        "/ok\r\nSet-Cookie: a=b",
    ],
)
def test_everything_else_leads_to_the_start_page(path: str | None) -> None:
    """What a browser could read as another site's address is ignored."""
    assert same_site_path(path) == "/"


def test_a_value_that_is_missing_in_a_template_is_an_error() -> None:
    """The sign-in page needs to know where to go afterwards; without it, it is not rendered."""
    request = Request({"type": "http", "method": "GET", "path": "/sign-in", "headers": []})
    with pytest.raises(UndefinedError):
        Pages(Assets(HERE / "static")).render(request, "sign-in.html")


def test_what_people_wrote_is_escaped() -> None:
    """An error's message is text on the page, whatever stands in it."""
    request = Request({"type": "http", "method": "GET", "path": "/x", "headers": []})
    page = Pages(Assets(HERE / "static")).error(request, status=404, message="<script>alert(1)</script>")
    assert b"&lt;script&gt;alert(1)" in page.body
    assert b"<script>alert" not in page.body


@pytest.mark.parametrize("template", sorted((HERE / "templates").glob("*.html")), ids=lambda path: path.name)
def test_templates_keep_to_the_policy(template: Path) -> None:
    """No inline script, style or handler, and no address of another server, which the policy would block."""
    text = template.read_text()
    for forbidden in ("style=", "onclick", "onload", "javascript:", "https://", "//cdn", "<style"):
        assert forbidden not in text
    assert text.count("<script") == text.count('<script type="module" src="{{ asset(')
