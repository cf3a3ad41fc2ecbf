"""How clients name projects: by number, by path, or by a last name that only one project has. Used by the
desk and by imports."""

from __future__ import annotations

from runyard.engine.ports import Page, Tx
from runyard.model.work import Project


def find_project(tx: Tx, wanted: str) -> Project | None:
    """By id, by full path, or by last name when that is unambiguous (Looker's projects have no group)."""
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 19:
        return tx.get(Project, int(wanted))
    found = tx.project_by_path(wanted)
    if found is not None or "/" in wanted or not wanted:
        return found
    near = [
        p for p in tx.projects(wanted, Page(limit=100)) if p.path.lower().rpartition("/")[2] == wanted.lower()
    ]
    return near[0] if len(near) == 1 else None


def short_name(tx: Tx, project: Project) -> str:
    """The name that Looker's clients would use: the last part of the path where that is enough, else the
    whole path."""
    last = project.path.rpartition("/")[2]
    found = find_project(tx, last)
    return last if found is not None and found.id == project.id else project.path
