"""What a CI run asks of the repository: the merge base, the commits of a change, the files it touches. Pure
over the Source port; blocking, so call it in a thread. A repository need not know the commits that a client
names: then every answer is empty, and nothing is refused.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from runyard.engine.ports import Source
from runyard.model.errors import RunyardError
from runyard.model.trigger import Commit

MOST_COMMITS = 2000
MOST_OWN_COMMITS = 500


@dataclass(frozen=True, slots=True)
class Change:
    """A pull request's commits. `files` None: not known. `messages` oldest first, along first parents."""

    base: str = ""  # the merge base, "" when not known
    files: frozenset[str] | None = None
    messages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """One project's repository."""

    source: Source
    project_id: int

    def commit(self, sha: str) -> Commit | None:
        """The commit, if the repository has it."""
        try:
            return self.source.commit(self.project_id, sha)
        except RunyardError:
            return None

    def tip(self, branch: str) -> str:
        """The newest commit of a branch, or ""."""
        try:
            return self.source.resolve(self.project_id, f"refs/heads/{branch}")[0].sha if branch else ""
        except RunyardError:
            return ""

    def change(self, head: str, base: str) -> Change:
        """The change that `head` makes to a base branch of which `base` is a commit."""
        start = self.commit(head)
        if start is None:
            return Change()
        fork = self.merge_base(head, base)
        files = None
        if fork:
            try:
                files = self.source.files(self.project_id, start.sha, fork).changed(fork)
            except RunyardError:
                files = None
        own: list[str] = []
        known = {c.sha for c in self.ancestors(fork)} if fork else set()
        at: Commit | None = start
        while at is not None and at.sha not in known and len(own) < MOST_OWN_COMMITS:
            own.append(at.message)
            at = self.commit(at.parents[0]) if fork and at.parents else None
        return Change(fork, files, tuple(reversed(own)))

    def ancestors(self, sha: str) -> Iterator[Commit]:
        """The commit and what came before it, newest first, at most MOST_COMMITS."""
        first = self.commit(sha)
        waiting = [(-first.committed_at, first.sha, first)] if first else []
        seen = {sha}
        for _ in range(MOST_COMMITS):
            if not waiting:
                return
            _, _, commit = heapq.heappop(waiting)
            yield commit
            for parent in commit.parents:
                if parent not in seen:
                    seen.add(parent)
                    found = self.commit(parent)
                    if found is not None:
                        heapq.heappush(waiting, (-found.committed_at, found.sha, found))

    def merge_base(self, a: str, b: str) -> str:
        """The newest commit that both have, or ""."""
        theirs = {commit.sha for commit in self.ancestors(b)}
        return next((commit.sha for commit in self.ancestors(a) if commit.sha in theirs), "")
