"""Warnings about steps that use an action of the same repository: whether it is there and can be read, and
what its `action.yml` says of inputs and outputs. Called by `lint`.

The action lies in the workspace only when its step comes, so nothing here keeps a file from being run.
"""

from __future__ import annotations

from dataclasses import dataclass

from runyard.dialects.depot.workflow import contexts
from runyard.dialects.depot.workflow.document import JobDoc, StepDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.value_shapes import STRING, Shape, strict
from runyard.model.errors import RunyardError
from runyard.model.trigger import Files
from runyard.syntax.actions import (
    DOCKERFILE,
    MANIFESTS,
    ActionError,
    Composite,
    Container,
    Manifest,
    parse_uses,
    read_manifest,
)

_WORKFLOWS = (".depot/workflows/", ".github/workflows/")


@dataclass(frozen=True, slots=True)
class LocalActions:
    """The repository's, for the steps of one job. `is_elsewhere`: its workspace holds other things too, so
    that no path can be judged."""

    files: Files
    findings: Findings
    is_elsewhere: bool

    @classmethod
    def of(cls, job: JobDoc, files: Files, findings: Findings) -> LocalActions:
        """A checkout into a folder, or of another repository, changes where things are."""
        moved = (
            step.uses is not None
            and step.uses.value.lower().startswith("actions/checkout@")
            and not step.inputs.keys().isdisjoint(("path", "repository"))
            for step in job.steps
        )
        return cls(files, findings, any(moved))

    def shape(self, step: StepDoc) -> Shape:
        """What `steps.<id>` is after this step; its inputs are judged."""
        manifest = self._manifest(step.uses) if step.uses is not None else None
        if manifest is None or step.uses is None:
            return contexts.STEP
        self._judge(step, step.uses, manifest)
        if not isinstance(manifest.runs, Composite):
            return contexts.STEP  # a program may set any output, declared or not
        outputs = strict(dict.fromkeys(manifest.outputs, STRING))
        return strict({"outputs": outputs, "outcome": STRING, "conclusion": STRING})

    def _manifest(self, uses: Text) -> Manifest | None:
        try:
            parsed = parse_uses(uses.value)
        except ActionError:
            return None  # found where it was read
        if not parsed.is_local or (self.is_elsewhere and not parsed.text.startswith("$")):
            return None
        for name in (*MANIFESTS, "Dockerfile"):
            path = f"{parsed.path}/{name}".lstrip("/")
            try:
                data = self.files.read(path)
                if data is not None:
                    return DOCKERFILE if name == "Dockerfile" else read_manifest(data, path)
            except ActionError as error:
                self.findings.warning(uses.at, f"this action cannot be used: {error}")
                return None
            except RunyardError:
                return None  # no file that can be looked at
        if all(path.startswith(_WORKFLOWS) for path in self.files.paths()):
            return None  # only workflows were given, not the repository that they lie in
        hint = "a step of the job may make it; else commit its action.yml"
        self.findings.warning(
            uses.at, f"there is no action in '{parsed.path or '.'}' of this repository", hint
        )
        return None

    def _judge(self, step: StepDoc, uses: Text, manifest: Manifest) -> None:
        known = {name.lower() for name in manifest.inputs}
        known |= {"entrypoint", "args"} if isinstance(manifest.runs, Container) else set()
        for name, text in step.inputs.items():
            if name.lower() not in known:
                self.findings.warning(text.at, f"Unexpected input '{name}'", nearest(name, manifest.inputs))
        given = {name.lower() for name in step.inputs}
        for name in manifest.required:
            if name.lower() not in given:
                self.findings.warning(uses.at, f"Input '{name}' of this action is required, but not given")
        for name, message in manifest.deprecated.items():
            if name.lower() in given:
                self.findings.warning(uses.at, f"Input '{name}' of this action is deprecated: {message}")
