"""The pages: who may open which, and what their templates are told. Data arrives through the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, FastAPI
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from infra.access import Role
from services.deps import OptionalPerson, Person
from services.web.assets import Assets

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """A page behind the sign-in. `nav` is its name in the navigation; without `role`, it is everybody's."""

    path: str
    template: str
    nav: str | None = None
    role: Role | None = None


PAGES: Final = (
    Page("/", "chat.html", nav="Ask"),
    Page("/documents", "documents.html", nav="Documents"),
    Page("/people", "people.html", nav="People", role=Role.ADMIN),
    Page("/record", "record.html", nav="Record", role=Role.AUDITOR),
    Page("/account", "account.html"),
    Page("/api-docs", "api-docs.html"),
    Page("/sources/{citation_id}", "source.html"),
)


def mount(app: FastAPI) -> Pages:
    """Add the pages and their static files to `app`; return what renders an error as a page."""
    assets = Assets(HERE / "static")
    pages = Pages(assets)
    app.mount(assets.prefix, assets.app(), name="static")
    app.include_router(router(pages), include_in_schema=False)
    return pages


def router(pages: Pages) -> APIRouter:
    """Return the routes of every page."""
    routes = APIRouter()

    @routes.get("/sign-in")
    async def sign_in(request: Request, person: OptionalPerson) -> Response:
        after = same_site_path(request.query_params.get("next"))
        if person is not None:
            return RedirectResponse(after, status_code=303)
        return pages.render(request, "sign-in.html", after=after)

    @routes.get("/join")
    async def join(request: Request) -> Response:
        # Also for somebody who is signed in: the link may be meant for another account.
        return pages.render(request, "join.html")

    for page in PAGES:
        routes.add_api_route(page.path, _endpoint(pages, page), methods=["GET"])
    return routes


def same_site_path(path: str | None) -> str:
    """Return `path` when it can only lead to this server, else the start page.

    Browsers read `//host` and `/\\host` as another site's address and drop control characters first.
    """
    if path is None or not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable():
        return "/"
    return path


def _endpoint(pages: Pages, page: Page) -> Callable[[Request, OptionalPerson], Awaitable[Response]]:
    async def show(request: Request, person: OptionalPerson) -> Response:
        if person is None:
            return _to_sign_in(request)
        if page.role is not None and page.role not in person.roles:
            return pages.error(
                request,
                status=403,
                message=f"This page is for people with the role “{page.role}”.",
                hint="Ask an administrator if you need it.",
                person=person,
            )
        return pages.render(request, page.template, person=person, current=page.path)

    return show


def _to_sign_in(request: Request) -> Response:
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/sign-in?next={quote(wanted, safe='/')}", status_code=303)


class Pages:
    """Renders templates; an undefined variable in one is an error, never an empty place."""

    def __init__(self, assets: Assets) -> None:
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals["asset"] = assets.url
        self._templates = Jinja2Templates(env=environment)

    def render(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        person: Person | None = None,
        current: str | None = None,
        **values: object,
    ) -> Response:
        """Return `template` as a response, with the navigation of `person`."""
        context = {
            "person": person,
            "current": current,
            "navigation": _navigation(person),
            **values,
        }
        return self._templates.TemplateResponse(request, template, context, status_code=status)

    def error(
        self,
        request: Request,
        *,
        status: int,
        message: str,
        hint: str | None = None,
        person: Person | None = None,
    ) -> Response:
        """Return an error as a page, for a browser that asked for one."""
        return self.render(request, "error.html", status=status, person=person, message=message, hint=hint)


def _navigation(person: Person | None) -> list[Page]:
    if person is None:
        return []
    return [page for page in PAGES if page.nav and (page.role is None or page.role in person.roles)]
