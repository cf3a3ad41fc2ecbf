"""Depot's compile: which workflow files a trigger runs, and the Plan they make. Also the dialect's `entries`,
`check` and `on_push`.

Files lie in `.depot/workflows`; a repository without any is read from `.github/workflows` (Depot's `migrate`
copies one to the other, so never both). `Trigger.options`: `workflow` (a path), `content` (inline texts),
`job`, `event` (its name: then only workflows that know it run), `payload` (laid over `github.event`; `runyard
run` alone gives it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from runyard.dialects import PushTrigger
from runyard.dialects.depot.workflow import events, triggers
from runyard.dialects.depot.workflow.build import Event, build, run_name
from runyard.dialects.depot.workflow.document import JobDoc, WorkflowDoc
from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.library import Library
from runyard.dialects.depot.workflow.lint import lint
from runyard.dialects.depot.workflow.patched import without_patch_step
from runyard.dialects.depot.workflow.read import read
from runyard.model.errors import Invalid, NotFound, NothingToRun, Problem
from runyard.model.plan import Plan, WorkflowPlan
from runyard.model.trigger import Files, Push, Trigger
from runyard.model.work import Project, User

FOLDERS = (".depot/workflows/", ".github/workflows/")
MAX_WORKFLOWS = 50
SKIPPABLE = ("push", *events.PULL_REQUESTS)
HAPPENINGS = ("schedule", "workflow_run", "merge_group", "repository_dispatch", *events.PULL_REQUESTS)
TAGS_AT_ONCE = 3  # GitHub: a push of more tags starts nothing for them


def entries(files: Files) -> list[str]:
    """Workflow files, directly in the first folder that has some."""
    paths = files.paths()
    for folder in FOLDERS:
        found = [path for path in paths if path.startswith(folder) and _is_workflow(path[len(folder) :])]
        if found:
            return found
    return []


def _is_workflow(name: str) -> bool:
    return "/" not in name and name.endswith((".yml", ".yaml"))


def compile(trigger: Trigger, files: Files) -> Plan:
    """The plan of one run; Invalid with located problems, NotFound for a file or job that is not there."""
    event = str(trigger.options.get("event") or "")
    message = str(trigger.options.get("message") or trigger.commit.message)
    if event in SKIPPABLE and triggers.is_skipped(message):
        raise NothingToRun("The head commit asks to skip.")
    findings = Findings()
    docs = _documents(trigger, files, findings, event)
    if event == "push":
        changed = files.changed()
        docs = [doc for doc in docs if _is_pushed(doc, trigger.ref, trigger.tag, changed)]
    elif event in HAPPENINGS and trigger.options.keys() & {"action", "schedule"}:
        docs = [doc for doc in docs if _happens(doc, trigger, event, files)]
    elif event not in ("", "api") and not (trigger.options.get("workflow") or trigger.options.get("content")):
        docs = [doc for doc in docs if event in doc.triggers.events]
    if not docs:
        findings.raise_errors()
        raise NothingToRun("No workflow of this repository runs for this event.")
    only = _selection(docs, str(trigger.options.get("job") or ""), findings)
    library = Library(files, trigger.reach, findings)
    plans: list[WorkflowPlan] = []
    names: list[str] = []
    if base := str(trigger.options.get("patched_base") or ""):
        docs = [without_patch_step(doc, base) for doc in docs]
    for doc in docs:
        told = _event(doc, trigger, event)
        facts = replace(trigger, inputs=told.inputs)
        plans.append(build(doc, facts, told, only, library))
        names.append(run_name(doc, facts, told, findings))
    findings.raise_errors()
    warnings = tuple(str(problem) for problem in findings.sorted)
    extra = {"head_sha": base} if base else {}
    extra |= dict(trigger.options.get("extra") or {})
    return Plan(tuple(plans), name=next(filter(None, names), ""), warnings=warnings, extra=extra)


def _documents(trigger: Trigger, files: Files, findings: Findings, event: str) -> list[WorkflowDoc]:
    content = trigger.options.get("content") or ()
    if content:
        named = [(f"_inline_{place}.yaml", text) for place, text in enumerate(content)]
    else:
        paths = _paths(files, str(trigger.options.get("workflow") or ""), event)
        named = [(path, _text(files, path)) for path in paths]
    if len(named) > MAX_WORKFLOWS:
        raise Invalid(f"A run may have at most {MAX_WORKFLOWS} workflows; this one would have {len(named)}.")
    return [doc for path, text in named if (doc := read(path, text, findings)) is not None]


def _paths(files: Files, wanted: str, event: str) -> Sequence[str]:
    there = entries(files)
    if not wanted:
        if not there and event != "push" and event not in HAPPENINGS:
            raise NotFound("This repository has no workflows in .depot/workflows or .github/workflows.")
        return there
    if "/" in wanted:
        # A path as the CLI sends it; only workflow folders are looked at, whatever the path says.
        path = wanted.removeprefix("./").lstrip("/")
        if path.startswith(FOLDERS) and ".." not in path.split("/") and files.read(path) is not None:
            return [path]
    else:
        matches = [path for path in there if path.rpartition("/")[2] == wanted]
        if matches:
            return matches
    hint = nearest(wanted, there)
    raise NotFound(f"Workflow '{wanted[:200]}' not found." + (f" ({hint})" if hint else ""))


def _text(files: Files, path: str) -> bytes:
    data = files.read(path)
    if data is None:
        raise NotFound(f"Workflow '{path[:200]}' not found.")
    return data


def _is_pushed(doc: WorkflowDoc, ref: str, tag: bool, changed: frozenset[str] | None) -> bool:
    if "push" not in doc.triggers.events:
        return False
    return triggers.takes_push(doc.triggers.push, ref, tag, changed)


def _happens(doc: WorkflowDoc, trigger: Trigger, event: str, files: Files) -> bool:
    """Whether a workflow wants an event that is neither push nor dispatch."""
    given = trigger.options
    if event == "schedule":
        return any(one.cron == given.get("schedule") for one in doc.triggers.schedules)
    action, branch = str(given.get("action") or ""), str(given.get("branch") or "")
    changed = files.changed() if event == "pull_request" else None
    return events.takes(doc.triggers, event, action, branch, changed, str(given.get("about") or ""))


def _event(doc: WorkflowDoc, trigger: Trigger, event: str) -> Event:
    """A `Run` call is a dispatch to workflows that know dispatches, and looks like a push to the others."""
    if event and event != "workflow_dispatch":
        return Event(event, {})
    if event == "workflow_dispatch":
        triggers.require_dispatch(doc.triggers, doc.path)
    elif "workflow_dispatch" not in doc.triggers.events:
        return Event("push", dict(trigger.inputs))
    return Event(
        "workflow_dispatch",
        triggers.dispatch_inputs(doc.triggers.inputs, trigger.inputs, path=doc.path),
    )


def _selection(docs: Sequence[WorkflowDoc], job: str, findings: Findings) -> frozenset[str] | None:
    """The job ids to keep: one job and what it needs, directly or not."""
    if not job:
        return None
    if len(docs) != 1:
        raise Invalid("`job` needs exactly one workflow.")
    jobs = docs[0].jobs
    name = job.rpartition(":")[2]
    if name not in jobs:
        findings.raise_errors()
        hint = nearest(name, jobs)
        raise NotFound(f"Job '{name[:100]}' not found in {docs[0].path}." + (f" ({hint})" if hint else ""))
    return frozenset(_closure(jobs[name], jobs))


def _closure(job: JobDoc, jobs: Mapping[str, JobDoc]) -> set[str]:
    found: set[str] = set()
    todo = [job]
    while todo:
        current = todo.pop()
        if current.id not in found:
            found.add(current.id)
            todo += [jobs[need.value] for need in current.needs if need.value in jobs]
    return found


def check(files: Files, path: str) -> list[Problem]:
    """Every problem of one file, warnings too: read, and built for a sample of a trigger."""
    findings = Findings(sampled=frozenset(("github", "inputs", "vars")))
    data = files.read(path)
    if data is None:
        return [Problem("There is no such file", path)]
    doc = read(path, data, findings)
    if doc is not None:
        inputs = {name: _sample(doc, name) for name in doc.triggers.inputs}
        build(doc, _SAMPLE, Event("workflow_dispatch", inputs), None, Library(files, None, findings))
        lint(doc, findings, files)
    return findings.sorted


_SAMPLE = Trigger(
    project=Project(1, "group/project"),
    dialect="depot",
    source="push",
    ref="main",
    sha="0" * 40,
    actor=User(1, "checker"),
    now=0,
)


def _sample(doc: WorkflowDoc, name: str) -> object:
    declared = doc.triggers.inputs[name]
    return declared.default.value if declared.default else ""


def on_push(push: Push, files: Files) -> list[PushTrigger]:
    """One run for all workflows that the push starts; a broken file starts one too, so that it can be
    shown."""
    if "ci.skip" in push.options or (push.tag and push.tags_at_once > TAGS_AT_ONCE):
        return []
    findings = Findings()
    changed = files.changed()
    for path in entries(files)[: MAX_WORKFLOWS + 1]:
        doc = read(path, _text(files, path), findings)
        if doc is None or findings.errors or _is_pushed(doc, push.ref, push.tag, changed):
            return [PushTrigger("push", {"event": "push"})]
    return []
