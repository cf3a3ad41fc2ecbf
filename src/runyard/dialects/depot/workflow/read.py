"""Text of one workflow file to a WorkflowDoc, every problem located (the schema of actions.md §1.1).

Called by `depot/compile.py`. `read` never raises for what the text says: look at the findings.
"""

from __future__ import annotations

from runyard.dialects.depot.workflow import lint_events, lint_jobs, triggers
from runyard.dialects.depot.workflow.availability import Place, check
from runyard.dialects.depot.workflow.document import JobDoc, WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Reader
from runyard.dialects.depot.workflow.read_job import read_job
from runyard.dialects.depot.workflow.read_keys import read_concurrency, read_defaults, read_permissions
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Mark, Node, YamlError

_ROOT = ("on", "jobs", "name", "description", "run-name", "defaults", "env", "permissions", "concurrency")
_LIMITS = yamltree.Limits(depth=50, nodes=50_000, merges=False)


def read(path: str, text: str | bytes, findings: Findings) -> WorkflowDoc | None:
    """The document, or None when the text is not a workflow at all."""
    try:
        node = yamltree.load(text, path, _LIMITS)
    except YamlError as error:
        findings.error(Mark(error.line, error.column, path), error.message)
        return None
    reader = Reader(findings)
    root = reader.mapping(node, _ROOT, required=("on", "jobs"))
    if root is None or "on" not in root.entries or "jobs" not in root.entries:
        return None
    parts = {key: entry.value for key, entry in root.entries.items()}
    permissions = read_permissions(reader, parts["permissions"]) if "permissions" in parts else None
    env = reader.variables(parts.get("env"))
    for value in env.values():
        check(findings, value, Place.ROOT_ENV)
    run_name = reader.text(parts["run-name"]) if "run-name" in parts else None
    if run_name is not None:
        check(findings, run_name, Place.RUN_NAME)
    jobs = _jobs(reader, parts["jobs"])
    _graph(findings, jobs, parts["jobs"].at)
    lint_events.verify(findings, parts["on"])
    for job in jobs.values():
        lint_jobs.verify(job, findings)
    return WorkflowDoc(
        path=path,
        at=root.at,
        on=parts["on"],
        name=reader.text(parts["name"]).value if "name" in parts else "",
        run_name=run_name,
        triggers=triggers.read(reader, parts["on"]),
        env=env,
        defaults=read_defaults(reader, parts.get("defaults")),
        concurrency=read_concurrency(reader, parts.get("concurrency"), Place.RUN_NAME),
        permissions=permissions,
        jobs=jobs,
    )


def _jobs(reader: Reader, node: Node) -> dict[str, JobDoc]:
    found: dict[str, JobDoc] = {}
    for name, entry in reader.entries(node):
        reader.identifier(entry.key, "job")
        found[name] = read_job(reader, name, entry.key.at, entry.value)
    if not found and not isinstance(node, yamltree.Sequence):
        reader.findings.error(node.at, "The workflow must contain at least one job")
    return found


def _graph(findings: Findings, jobs: dict[str, JobDoc], at: Mark) -> None:
    """Needs name jobs of the file, and lead in no circle."""
    sound = True
    for job in jobs.values():
        for need in job.needs:
            if need.value not in jobs:
                sound = False
                message = f"Job '{job.id}' depends on unknown job '{need.value}'."
                findings.error(need.at, message, nearest(need.value, jobs.keys() - {job.id}))
    if not sound or not jobs:
        return
    if all(job.needs for job in jobs.values()):
        findings.error(at, "The workflow must contain at least one job with no dependencies.")
    left = {job.id: {need.value for need in job.needs} for job in jobs.values()}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    # Those behind a circle are left too; one that is needed by another of them is in it or behind another
    # circle.
    for name in left:
        if any(name in needs for needs in left.values()):
            circle = " → ".join(_circle(left, name))
            findings.error(jobs[name].at, f"The needs of job '{name}' lead in a circle: {circle}")
            return


def _circle(left: dict[str, set[str]], start: str) -> list[str]:
    """Follows needs until a job comes again."""
    walked = [start]
    while True:
        following = min(left[walked[-1]] & left.keys())
        if following in walked:
            return [*walked[walked.index(following) :], following]
        walked.append(following)
