"""What a compiler may read beyond its own commit, for one user (`model.trigger.Reach`): other projects, the web, archives of the run above.

Made by launch for each trigger; used in the worker thread that compiles. All that one compilation fetches from the web shares a time limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runyard.engine.ports import Blobs, Database, Source, Tx
from runyard.http.fetch import Fetcher
from runyard.model.errors import Invalid, NotFound, Unavailable
from runyard.model.trigger import Files
from runyard.model.work import Project, User
from runyard.syntax.archives import ArchiveError, entries, find, read

ALL_FETCHES_S = 30.0  # GitLab's limit for all includes of a pipeline
FILE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Depot:
    """The ports that reaching needs; one for the server."""

    db: Database
    source: Source
    blobs: Blobs
    fetcher: Fetcher
    may_see: Callable[[Tx, User, Project], bool]


@dataclass(slots=True)
class HouseReach:
    """Reach of a user. `archives`: job name → blob of its archive, of the run that starts this one."""

    depot: Depot
    user: User
    archives: dict[str, str] = field(default_factory=dict)
    _spent_s: float = 0.0

    def tree(self, project: str, ref: str) -> tuple[Files, str] | None:
        """Reach.tree."""
        found = self._project(project)
        if found is None:
            return None
        source = self.depot.source
        commit, _, _ = source.resolve(found.id, ref or found.default_branch)
        return source.files(found.id, commit.sha), commit.sha

    def tags(self, project: str) -> Sequence[str]:
        """Reach.tags."""
        found = self._project(project)
        return [name for name, _ in self.depot.source.tags(found.id)] if found else []

    def _project(self, path: str) -> Project | None:
        def look(tx: Tx) -> Project | None:
            found = tx.project_by_path(path.strip("/"))
            return found if found is not None and self.depot.may_see(tx, self.user, found) else None

        return self.depot.db.submit_read(look).result()

    def remote(self, url: str) -> bytes:
        """Reach.remote."""
        if self._spent_s > ALL_FETCHES_S:
            raise Unavailable(f"all includes together took longer than {ALL_FETCHES_S:g} seconds")
        began = time.monotonic()
        try:
            return self.depot.fetcher.get(url)
        finally:
            self._spent_s += time.monotonic() - began

    def artifact(self, job: str, path: str) -> bytes | None:
        """Reach.artifact."""
        blob = self.archives.get(job)
        if blob is None:
            raise NotFound(f"the job `{job}` has left no archive, or does not come before this one")
        with self.depot.blobs.seekable(blob) as file:
            try:
                entry = find(entries(file), path)
                if entry is None:
                    return None
                if entry.size > FILE_LIMIT_BYTES:
                    raise Invalid(f"it is larger than {FILE_LIMIT_BYTES} bytes")
                return b"".join(read(file, entry))
            except ArchiveError as error:
                raise Invalid(f"the archive cannot be read: {error}") from None
