"""Finds and reads the workflows that jobs call. Called by `build`; one Library per compilation, so that each
file is read once.

GitHub's limits: ten levels, fifty files besides the one that was started (contracts/actions.md §2).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from runyard.dialects.depot.workflow.document import WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.read import read
from runyard.dialects.depot.workflow.read_call import remote_parts
from runyard.model.errors import RunyardError
from runyard.model.trigger import Files, Reach

MAX_LEVELS = 10
MAX_FILES = 50


@dataclass(slots=True)
class _Shelf:
    """What this compilation has read: (where, path) → the document, None when it could not be used."""

    docs: dict[tuple[str, str], WorkflowDoc | None] = field(default_factory=dict)
    trees: dict[tuple[str, str], Files | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Library:
    """Files as one workflow sees them. `above` are those that lead to it, outermost first; `where` names a
    tree of another repository."""

    files: Files
    reach: Reach | None
    findings: Findings
    where: str = ""
    above: tuple[tuple[str, str], ...] = ()
    shelf: _Shelf = field(default_factory=_Shelf)

    def within(self, path: str) -> Library:
        """As the workflow of this path sees it."""
        return replace(self, above=(*self.above, (self.where, path)))

    def called(self, uses: Text) -> tuple[WorkflowDoc, Library] | None:
        """The called document and what it may call itself; None, with a finding at the call, when it cannot
        be used."""
        remote = remote_parts(uses.value)
        place = self if remote is None else self._elsewhere(uses, remote[0], remote[2])
        if place is None:
            return None
        path = uses.value.removeprefix("./") if remote is None else remote[1]
        key = (place.where, path)
        if key in self.above:
            self.findings.error(uses.at, f"The workflow '{path}' calls itself, directly or through others")
            return None
        if len(self.above) >= MAX_LEVELS:
            self.findings.error(uses.at, f"Workflows may call each other at most {MAX_LEVELS} levels deep")
            return None
        doc = place._doc(uses, key)
        return (doc, place.within(path)) if doc is not None else None

    def _doc(self, uses: Text, key: tuple[str, str]) -> WorkflowDoc | None:
        docs = self.shelf.docs
        if key not in docs:
            if len(docs) >= MAX_FILES:
                self.findings.error(uses.at, f"A run may call at most {MAX_FILES} workflow files")
                return None
            docs[key] = self._read(uses, key[1])
        doc = docs[key]
        if doc is not None and "workflow_call" not in doc.triggers.events:
            message = f"The workflow '{uses.value}' cannot be called: its `on` has no workflow_call"
            self.findings.error(uses.at, message)
            return None
        return doc

    def _read(self, uses: Text, path: str) -> WorkflowDoc | None:
        try:
            text = self.files.read(path)
        except RunyardError as error:
            self.findings.error(uses.at, f"The workflow '{uses.value}' cannot be read: {error.message}")
            return None
        if text is None:
            hint = nearest(path, [other for other in self.files.paths() if "/workflows/" in other])
            self.findings.error(uses.at, f"The workflow '{uses.value}' was not found", hint)
            return None
        return read(f"{self.where}:{path}" if self.where else path, text, self.findings)

    def _elsewhere(self, uses: Text, project: str, ref: str) -> Library | None:
        """The tree of another repository of this server, for the one who started the run."""
        if self.reach is None:
            # `runyard check` sees one tree only.
            self.findings.warning(uses.at, f"'{uses.value}' lies in another repository and is not looked at")
            return None
        trees = self.shelf.trees
        if (project, ref) not in trees:
            try:
                found = self.reach.tree(project, ref)
            except RunyardError as error:
                found = None
                self.findings.error(uses.at, f"The workflow '{uses.value}' was not found: {error.message}")
            else:
                if found is None:
                    message = f"The workflow '{uses.value}' was not found"
                    self.findings.error(uses.at, message, "only repositories of this server can be called")
            trees[project, ref] = found[0] if found else None
        files = trees[project, ref]
        return replace(self, files=files, where=f"{project}@{ref}") if files is not None else None
