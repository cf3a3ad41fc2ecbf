"""What a compiler may read beyond its own commit, for one user (`model.trigger.Reach`): other projects, the
web, archives of the run above.

Made by launch for each trigger; used in the worker thread that compiles. All that one compilation fetches
from the web shares a time limit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runyard.engine.access import standing
from runyard.engine.ports import Blobs, Clock, Database, Source, Tx
from runyard.model.access import OPEN_TO_ALL, Role
from runyard.model.errors import Invalid, NotFound, TooLarge, Unavailable
from runyard.model.trigger import Files, Reach
from runyard.model.work import Project, User
from runyard.syntax.archives import ArchiveError, directory, find, read

ALL_FETCHES_S = 30.0  # GitLab's limit for all includes of a pipeline
FILE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The ports that reaching needs; one for the server."""

    db: Database
    source: Source
    blobs: Blobs
    allow_local: bool  # an operator vouches for this machine and its networks (RUNYARD_ALLOW_LOCAL_IMPORT)
    now: Clock
    templates: Path | None = None  # the operator's own (RUNYARD_TEMPLATES)

    def for_user(self, user: User, archives: Mapping[str, str]) -> Reach:
        """What this user may read. `archives`: job name → blob of its archive, of the run that starts this
        one."""
        return HouseReach(self, user, archives)


@dataclass(slots=True)
class HouseReach:
    """`model.trigger.Reach` for a user."""

    house: Elsewhere
    user: User
    archives: Mapping[str, str]
    _spent_s: float = 0.0

    def tree(self, project: str, ref: str) -> tuple[Files, str] | None:
        """Reach.tree."""
        found = self._project(project)
        if found is None:
            return None
        source = self.house.source
        commit, _, _ = source.resolve(found.id, ref or found.default_branch)
        return source.files(found.id, commit.sha), commit.sha

    def tags(self, project: str) -> Sequence[str]:
        """Reach.tags."""
        found = self._project(project)
        return [name for name, _ in self.house.source.tags(found.id)] if found else []

    def _project(self, path: str) -> Project | None:
        def look(tx: Tx) -> Project | None:
            found = tx.project_by_path(path.strip("/"))
            return found if found is not None and _may_read(tx, self.user, found, self.house.now()) else None

        return self.house.db.submit_read(look).result()

    def remote(self, url: str) -> bytes:
        """Reach.remote."""
        if self._spent_s > ALL_FETCHES_S:
            raise Unavailable(f"all includes together took longer than {ALL_FETCHES_S:g} seconds")
        began = time.monotonic()
        try:
            return self._get(url)
        finally:
            self._spent_s += time.monotonic() - began

    def _get(self, url: str) -> bytes:
        """What an operator vouches for is for administrators, never for everyone who can push a file
        (reliability.md §5 D1)."""
        from runyard.http.fetch import (
            # with TLS and all of email: few triggers need it, and `runyard run` should start at once
            Fetcher,
        )

        return Fetcher(self.house.allow_local and self.user.is_admin).get(url)

    def template(self, name: str) -> bytes | None:
        """Reach.template. Links may lead around in the folder, not out of it: a name is a stranger's."""
        folder = self.house.templates
        if folder is None:
            return None
        try:
            found = (folder / name).resolve(strict=True)
            if not found.is_relative_to(folder.resolve()) or not found.is_file():
                return None
            with found.open("rb") as file:
                text = file.read(FILE_LIMIT_BYTES + 1)
        except (OSError, ValueError):  # not there, not to be read, a name that no file can have
            return None
        if len(text) > FILE_LIMIT_BYTES:
            raise TooLarge(f"the template {name} is larger than 1 MiB")
        return text

    def artifact(self, job: str, path: str) -> bytes | None:
        """Reach.artifact."""
        blob = self.archives.get(job)
        if blob is None:
            raise NotFound(f"the job `{job}` has left no archive, or does not come before this one")
        with self.house.blobs.seekable(blob) as file:
            try:
                entry = find(directory(file), path)
                if entry is None:
                    return None
                if entry.size_bytes > FILE_LIMIT_BYTES:
                    raise Invalid(f"it is larger than {FILE_LIMIT_BYTES} bytes")
                return b"".join(read(file, entry))
            except ArchiveError as error:
                raise Invalid(f"the archive cannot be read: {error}") from None


def _may_read(tx: Tx, user: User, project: Project, now: int) -> bool:
    """Code of a private project is for reporters and above (GitLab's download_code)."""
    role = standing(tx, user, now).role_in(project)
    return role is not None and (role >= Role.REPORTER or project.visibility in OPEN_TO_ALL)
