"""Addresses that results carry: where the LookML stands, and the page of a run. Pure; used by shapes, pages
and the explore endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

PAGES = "/-/looker"


@dataclass(frozen=True, slots=True)
class Links:
    """Links of one project at one commit. `server_url` has no slash at the end."""

    server_url: str
    project_path: str
    sha: str = ""

    def lookml(self, file: str, line: int) -> str | None:
        """The page that shows the file as it was at the commit, at this line."""
        if not file:
            return None
        at = f"?commit={self.sha}&line={line}#L{line}" if line else f"?commit={self.sha}"
        return (
            f"{self.server_url}{PAGES}/projects/{quote(self.project_path, safe='')}/files/{quote(file)}{at}"
        )

    def run(self, run_id: int) -> str:
        """The page that shows the run's errors by explore."""
        return f"{self.server_url}{PAGES}/runs/{run_id}"
