"""At boot: what a kill between a commit and the repository's part of it left undone. Called by loops; every
part is safe to repeat.

A project's row comes before its repository (it gives the id), and a run's row before the ref that keeps its
commit (the row is the acknowledgement); git knows no transactions of ours, so the next start completes both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from runyard.engine.ports import Database, Page, RunFilter, Source
from runyard.model.errors import Invalid, NotFound, RunyardError
from runyard.model.state import State
from runyard.model.work import Project, Run

log = logging.getLogger("runyard.mending")

PAGE = 500
OPEN = tuple((state, None) for state in State if state is not State.DONE)


def mend(db: Database, source: Source) -> None:
    """Every project has a repository, every open run its kept commit; one that cannot be mended is logged and
    left."""
    for project in _projects(db):
        try:
            source.create(project.id, project.default_branch)
        except (RunyardError, OSError) as error:
            log.warning("the repository of %s cannot be made: %s", project.path, error)
    for run in _open_runs(db):
        try:
            source.keep(run.project_id, run.id, run.sha)
        except (Invalid, NotFound):
            continue  # Datafold's commits need not be in a repository of ours
        except (RunyardError, OSError) as error:
            log.warning("the commit of run %d is not kept: %s", run.id, error)


def _projects(db: Database) -> Iterator[Project]:
    last: int | None = None
    while True:
        page = Page(limit=PAGE, after_id=last, descending=False)
        found = db.submit_read(lambda tx, page=page: tx.projects("", page)).result()  # type: ignore[misc]
        yield from found
        if len(found) < PAGE:
            return
        last = found[-1].id


def _open_runs(db: Database) -> Iterator[Run]:
    last: int | None = None
    while True:
        page = Page(limit=PAGE, after_id=last, descending=False)
        found = db.submit_read(lambda tx, page=page: tx.runs(RunFilter(wanted=OPEN), page)).result()  # type: ignore[misc]
        yield from found
        if len(found) < PAGE:
            return
        last = found[-1].id
