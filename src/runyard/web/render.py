"""Templates to pages: one Jinja environment with escaping on, and what every page may use. Called by
routes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from runyard.http.services import Principal, Services
from runyard.model.state import Hold, Outcome, State
from runyard.web import format, pages
from runyard.web.why import finding


class Templates:
    """Renders pages."""

    def __init__(self, services: Services, dialects: list[str], folders: Sequence[Path] = ()) -> None:
        """`folders`: a door's own templates, which may extend the site's."""
        self.services = services
        self.environment = Environment(
            loader=FileSystemLoader([*folders, Path(__file__).parent / "templates"]),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,  # an upgrade in place must not mix new pages with the old program
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(
            ago=format.ago,
            lasted=format.lasted,
            size=format.size,
            exact=format.exact,
            mark=pages.mark,
            glyphs=pages.GLYPHS,
            finding=finding,
            dialects=dialects,
            server=services.server.url,
        )

    def page(
        self, request: Request, name: str, person: Principal | None, status: int = 200, **facts: Any
    ) -> HTMLResponse:
        """The rendered page."""
        known = {
            "who": person,
            "now": self.services.now(),
            "live": "",
            "failed": False,
            "status": status,
            "at": request.url.path,
        }
        html = self.environment.get_template(name).render(**{**known, **facts})
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})

    def said(self, dialect: str, state: State, outcome: Outcome | None, hold: Hold | None) -> str:
        """The vendor's own word for a status."""
        return str(self.services.words(dialect).say[(state, outcome, hold)])
