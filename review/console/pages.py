"""The pages: rendered here, filled by their scripts from the API."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.routing import APIRoute
from fastapi.templating import Jinja2Templates
from starlette.responses import RedirectResponse, Response

from review.access.door import Visitor
from review.access.refusals import AccessError, AccessUnavailableError, ForbiddenError, RateLimitedError, SignInError
from review.access.roles import Permission, Role
from review.access.sessions import cookie_attributes, cookie_name, csrf_token
from review.access.web import address_of, door_of, require, require_same_origin, signed_in, visitor_of
from review.api.parts import AtDoor, AtHand

_TEMPLATES: Final = Jinja2Templates(Path(__file__).parent / "templates")


@dataclass(frozen=True)
class Page:
    """A page of the navigation."""

    path: str
    name: str
    permission: Permission


PAGES: Final = (
    Page("/review", "Review", Permission.CLAIM),
    Page("/queue", "Queue", Permission.SEE_OVERVIEW),
    Page("/live", "Live", Permission.SEE_FIGURES),
    Page("/what-if", "What if", Permission.WHAT_IF),
    Page("/reliability", "Reliability", Permission.SEE_FIGURES),
    Page("/gates", "Gates", Permission.SEE_FIGURES),
    Page("/events", "Events", Permission.SEE_FIGURES),
    Page("/reviewers", "Reviewers", Permission.SEE_AGREEMENT),
    Page("/users", "Users", Permission.MANAGE_USERS),
    Page("/audit-log", "Audit log", Permission.SEE_AUDIT_LOG),
    Page("/system", "System", Permission.SEE_SYSTEM),
)
"""Each is rendered from the template of its name, for those who may see it."""


class PageRoute(APIRoute):
    """What goes wrong with a page is a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls."""
        handle = super().get_route_handler()

        async def page(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInError:
                wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/login?next={quote(wanted)}", 303)
            except ForbiddenError as error:
                return await _problem(request, 403, "Not yours", str(error))
            except RateLimitedError as error:
                return await _problem(request, 429, "Too often", str(error))
            except AccessUnavailableError as error:
                return await _problem(request, 503, "Away", str(error), known=False)

        return page


router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def home(who: Annotated[Visitor, Depends(signed_in)]) -> Response:
    """The first page that somebody may see."""
    first = next((page.path for page in PAGES if who.may(page.permission)), "/me")
    return RedirectResponse(first, 303)


@router.get("/login")
async def login(request: Request, door: AtDoor, next: str = "/") -> Response:
    """Ask who it is."""
    return _login(request, next, "")


@router.post("/login")
async def let_in(
    request: Request,
    door: AtDoor,
    name: Annotated[str, Form(max_length=128)] = "",
    password: Annotated[str, Form(max_length=1024)] = "",
    next: Annotated[str, Form(max_length=500)] = "/",
) -> Response:
    """Let somebody in by their password."""
    require_same_origin(request)
    try:
        session_id, _ = await door.sign_in(name, password, address_of(request))
    except AccessError as error:
        status = (
            429 if isinstance(error, RateLimitedError) else 503 if isinstance(error, AccessUnavailableError) else 401
        )
        return _login(request, next, f"{str(error)[:1].upper()}{str(error)[1:]}.", status, name)
    return _with_session(request, session_id, next)


@router.get("/login/sign-on")
async def sign_on(request: Request, door: AtDoor) -> Response:
    """Send somebody to the provider of single sign-on."""
    if door.sign_on is None:
        return _login(request, "/", "There is no single sign-on here.", 404)
    try:
        return await door.sign_on.begin(request)
    except SignInError as error:
        return _login(request, "/", str(error), 503)


@router.get("/login/back")
async def back(request: Request, door: AtDoor) -> Response:
    """Somebody comes back from the provider."""
    if door.sign_on is None:
        return _login(request, "/", "There is no single sign-on here.", 404)
    try:
        account = await door.sign_on.finish(request)
        session_id, _ = await door.begin(account, address_of(request))
    except AccessUnavailableError:
        raise
    except AccessError as error:
        return _login(request, "/", str(error), 401)
    return _with_session(request, session_id, "/")


@router.post("/logout")
async def logout(request: Request, door: AtDoor, who: Annotated[Visitor, Depends(signed_in)]) -> Response:
    """Sign out."""
    await door.sign_out(who)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(cookie_name(door.settings), **cookie_attributes(door.settings))
    return response


@router.get("/me")
async def me(request: Request, who: Annotated[Visitor, Depends(signed_in)]) -> Response:
    """Somebody's own settings, password, sessions and API tokens."""
    return _page(request, who, "me.html")


def _mount(page: Page) -> None:
    allowed = Depends(require(page.permission, logged=False))

    async def show(request: Request, at: AtHand, who: Visitor = allowed) -> Response:
        return _page(request, who, f"{page.path[1:]}.html", heartbeat_s=at.review.lease_s / 5, ahead=at.console.ahead)

    router.get(page.path, name=page.name)(show)


for _each in PAGES:
    _mount(_each)


def _page(request: Request, who: Visitor | None, template: str, status: int = 200, **further: Any) -> Response:
    session_id = request.cookies.get(cookie_name(door_of(request).settings), "")
    preferences = None if who is None else who.account.preferences
    context = {
        "user": None if who is None else who.account,
        "pages": [page for page in PAGES if who is not None and who.may(page.permission)],
        "path": request.url.path,
        "theme": "system" if preferences is None else preferences.theme,
        "csrf_token": "" if who is None or who.session is None else csrf_token(session_id),
        "may": (lambda name: False) if who is None else (lambda name: who.may(Permission(name))),
        "roles": [role.value for role in Role],
        "page": {
            "preferences": None if preferences is None else preferences.model_dump(mode="json"),
            "name": None if who is None else who.name,
            "permissions": [] if who is None else sorted(each.value for each in Permission if who.may(each)),
            "roles": [] if who is None else sorted(who.account.roles),
            **further,
        },
        **further,
    }
    return _TEMPLATES.TemplateResponse(request, template, context, status)


def _login(request: Request, after: str, problem: str, status: int = 200, name: str = "") -> Response:
    there = door_of(request).sign_on is not None
    return _page(request, None, "login.html", status, next=_inside(after), problem=problem, given=name, sign_on=there)


def _with_session(request: Request, session_id: str, after: str) -> Response:
    settings = door_of(request).settings
    response = RedirectResponse(_inside(after), 303)
    response.set_cookie(cookie_name(settings), session_id, **cookie_attributes(settings))
    return response


def _inside(path: str) -> str:
    """Where to go on: never another site."""
    parts = urlsplit(path)
    inside = not parts.scheme and not parts.netloc and path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if inside else "/"


async def _problem(request: Request, status: int, title: str, sentence: str, *, known: bool = True) -> Response:
    who = await visitor_of(request) if known else None
    return _page(request, who, "problem.html", status, title=title, sentence=sentence)
