"""Keys of a job that may depend on `needs` or on a matrix that is not known yet: values where they are known,
else templates for the engine.

Called by `build` and `calls`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runyard.dialects.depot.workflow.document import ConcurrencyDoc, JobDoc
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.static import Static, uses_matrix
from runyard.engine.drawing import MOST_GROUP, tags_of
from runyard.model.plan import Concurrency, Drawn, EnvironmentUse, Labels
from runyard.syntax import yamltree

DEFAULT_TIMEOUT_MINUTES = 360.0
CANCEL_TIMEOUT_S = 300  # GitHub's cancel-timeout-minutes
MAX_NAME = 200
URL_OUTPUT = "__environment_url"  # ids of users never begin so
SELF_HOSTED = "self-hosted"
OWN_LABELS = ("ubuntu", "depot", "linux", "x64", "arm64", "windows", "macos")


@dataclass(frozen=True, slots=True)
class Fields:
    """What a JobPlan gets of these keys."""

    name: str
    timeout_s: int
    allow_failure: bool
    tags: tuple[str, ...]
    concurrency: Concurrency | None
    environment: EnvironmentUse | None
    drawn: Drawn | None


def fields(job: JobDoc, key: str, suffix: str, static: Static, stamp: str) -> Fields:
    """Everything at once; `drawn` holds what is to be filled in later."""
    drawn: dict[str, Any] = {}
    minutes: float = DEFAULT_TIMEOUT_MINUTES
    if isinstance(job.timeout_minutes, Text) and not static.knows(job.timeout_minutes):
        drawn["timeout_minutes"] = job.timeout_minutes.value
    elif job.timeout_minutes is not None:
        minutes = static.number(job.timeout_minutes, "`timeout-minutes` of a job")
    allowed = False
    if isinstance(job.continue_on_error, Text) and not static.knows(job.continue_on_error):
        drawn["allow_failure"] = job.continue_on_error.value
    else:
        allowed = static.boolean(job.continue_on_error, "`continue-on-error` of a job")
    rule, more = concurrency(job.concurrency, replace(static, facts=grouping(static.facts, stamp)))
    tags, labels = _tags(job, static)
    use, named = _environment(job, static)
    drawn |= more | named | ({"labels": labels} if labels else {})
    shown, text, apart = name(job, key, suffix, static)
    if text:
        drawn |= {"name": text, "suffix": apart}
    return Fields(
        shown,
        max(1, math.ceil(minutes * 60)),
        allowed,
        tags,
        rule,
        use,
        Drawn(**drawn) if drawn else None,
    )


def name(job: JobDoc, key: str, suffix: str, static: Static) -> tuple[str, str, str]:
    """(the shown name, a template for a better one, what comes behind that); a leg says its values unless the
    name does."""
    if job.name is None or not job.name.value.strip():
        return key, "", ""
    apart = f" ({suffix})" if suffix and not uses_matrix(job.name) else ""
    if not static.knows(job.name):
        # Until what it asks for is known, the file's own word is all there is when the graph is drawn.
        return key, job.name.value, apart
    return (static.text(job.name, "`name`") + apart)[:MAX_NAME] or key, "", ""


def _tags(job: JobDoc, static: Static) -> tuple[tuple[str, ...], Labels | None]:
    """Self-hosted labels become runner tags; every hosted label means the built-in runner (Depot treats
    unknown ones so too). A group is a tag."""
    asked = job.runs_on
    group = (asked.group,) if asked.group is not None else ()
    rule = Labels(
        tuple(text.value for text in (*asked.labels, *group)), "" if group else SELF_HOSTED, OWN_LABELS
    )
    if not all(static.knows(text) for text in (*asked.labels, *group)):
        return (), rule
    labels: list[str] = []
    for text in (*asked.labels, *group):
        value = static.value(text, "`runs-on`")
        labels += [str(item) for item in value] if isinstance(value, list | tuple) else [str(value or "")]
    return tags_of([label for label in labels if not group or label.lower() != SELF_HOSTED], rule), None


def _environment(job: JobDoc, static: Static) -> tuple[EnvironmentUse | None, dict[str, str]]:
    doc = job.environment
    if doc is None:
        return None, {}
    url = doc.url.value if doc.url is not None else ""
    if doc.url is not None and doc.url.is_late:
        url = f"${{{URL_OUTPUT}}}"
    if static.knows(doc.name):
        name = static.text(doc.name, "`environment`").strip()
        return (EnvironmentUse(name, url), {}) if name else (None, {})
    return EnvironmentUse("", url), {"environment": doc.name.value}


def outputs(job: JobDoc) -> dict[str, str]:
    """What the runner renders at the end: the job's outputs, and the address of its environment when that is
    known only then."""
    found = {name: text.value for name, text in job.outputs.items()}
    if job.environment is not None and job.environment.url is not None and job.environment.url.is_late:
        found[URL_OUTPUT] = job.environment.url.value
    return found


def concurrency(doc: ConcurrencyDoc | None, static: Static) -> tuple[Concurrency | None, dict[str, str]]:
    """A job's rule, and templates for what of it is not known yet."""
    if doc is None:
        return None, {}
    cancel = doc.cancel_in_progress
    if static.knows(doc.group) and not (isinstance(cancel, Text) and not static.knows(cancel)):
        return known_concurrency(doc, static), {}
    later = {"group": doc.group.value}
    if isinstance(cancel, Text):
        later["cancel_in_progress"] = cancel.value
    rule = Concurrency("", cancel is True, single_pending=not doc.queue_all)
    return rule, later


def known_concurrency(doc: ConcurrencyDoc | None, static: Static) -> Concurrency | None:
    """A rule of which everything is known; a finding when it is not right."""
    if doc is None:
        return None
    group = static.text(doc.group, "A concurrency group").strip().lower()
    if not group:
        if not static.findings.errors:
            static.findings.error(doc.group.at, "The concurrency group must not be empty")
        return None
    if len(group) >= MOST_GROUP:
        static.findings.error(
            doc.group.at, f"The concurrency group must be shorter than {MOST_GROUP} characters"
        )
    return Concurrency(
        group=group,
        cancel_in_progress=static.boolean(doc.cancel_in_progress, "`cancel-in-progress`"),
        single_pending=not doc.queue_all,
    )


def grouping(context: Mapping[str, Any], stamp: str) -> dict[str, Any]:
    """Contexts for group names: `github.run_id` there only has to differ from run to run."""
    known = {**context["github"], "run_id": stamp, "run_number": stamp, "run_attempt": "1"}
    return {**context, "github": known}


def tree(node: yamltree.Node) -> Any:
    """A tree as plain values, its texts as they are written."""
    match node:
        case yamltree.Mapping():
            return {key: tree(entry.value) for key, entry in node.entries.items()}
        case yamltree.Sequence():
            return [tree(item) for item in node.items]
        case yamltree.Scalar():
            return node.value
    return None


def value(found: Any) -> Any:
    """A key's value: plain, or its text."""
    return found.value if isinstance(found, Text) else found
