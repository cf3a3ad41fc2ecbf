"""Runs the style rules over a project: one finding per violation, with the lines around it. Entry:
`check`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runyard.tasks.lookml.language.project import Project
from runyard.tasks.lookml.validators.style.config import Config, patterns_match
from runyard.tasks.lookml.validators.style.kinds import Offence, offences
from runyard.tasks.lookml.validators.style.rule import Entity, Rule, Severity, entities

MAX_FINDINGS = 5000
MAX_LINE = 300
AROUND = 2


@dataclass(frozen=True, slots=True)
class StyleFinding:
    """One violation. `error_id` is the same as long as rule, file, thing and wording are, whatever the line.
    `context` starts at `context_line`."""

    code: str
    rule_name: str
    message: str
    severity: str
    file: str
    line: int
    column: int
    entity_type: str
    entity_name: str
    model: str = ""
    explore: str = ""
    field: str = ""
    documentation: str = ""
    error_id: str = ""
    context: tuple[str, ...] = ()
    context_line: int = 0
    is_incremental: bool = False


def check(project: Project, config: Config) -> list[StyleFinding]:
    """Every violation of the project's own files, sorted by place."""
    trees = [
        tree
        for path, tree in sorted(project.trees.items())
        if not path.startswith("imported_projects/") and not patterns_match(config.ignored, path)
    ]
    known = [entity for tree in trees for entity in entities(tree)]
    found: list[StyleFinding] = []
    lines: dict[str, list[str]] = {}
    for rule in config.active():
        for offence in offences(rule, known):
            file = offence.node.file
            severity = config.severity(rule.code, file.path)
            if severity is not Severity.DISABLED:
                if file.path not in lines:
                    lines[file.path] = file.text.split("\n")
                found.append(_finding(rule, offence, severity, lines[file.path]))
    return _numbered(sorted(found, key=lambda f: (f.file, f.line, f.column, f.code)))[:MAX_FINDINGS]


def _finding(rule: Rule, offence: Offence, severity: Severity, lines: Sequence[str]) -> StyleFinding:
    entity, node = offence.entity, offence.node
    line, column = node.place
    start, context = _around(lines, line)
    return StyleFinding(
        code=rule.code,
        rule_name=rule.name,
        message=f"{rule.title} {entity.kind} {entity.name}: {offence.detail}.",
        severity=severity.value,
        file=node.file.path,
        line=line,
        column=column,
        entity_type=entity.kind,
        entity_name=entity.name,
        model=_model(node.file.path),
        explore=_explore(entity),
        field=entity.name if entity.owner is not None and entity.owner.key == "view" else "",
        documentation=rule.rationale or rule.title,
        context=context,
        context_line=start,
    )


def _explore(entity: Entity) -> str:
    node = entity.owner or entity.node
    return node.value.removeprefix("+") if node.key == "explore" else ""


def _model(path: str) -> str:
    name = path.rpartition("/")[2]
    return name.removesuffix(".model.lkml") if name.endswith(".model.lkml") else ""


def _around(lines: Sequence[str], line: int) -> tuple[int, tuple[str, ...]]:
    """The lines from two before to two after, and the first one's number."""
    start = max(1, line - AROUND)
    return start, tuple(text[:MAX_LINE] for text in lines[start - 1 : line + AROUND])


def _numbered(found: Sequence[StyleFinding]) -> list[StyleFinding]:
    """With `error_id`s: the second violation of the same kind in the same thing gets one of its own."""
    seen: dict[str, int] = {}
    result = []
    for one in found:
        text = "\0".join((one.code, one.file, one.entity_type, one.entity_name))
        count = seen[text] = seen.get(text, 0) + 1
        digest = hashlib.sha256(f"{text}\0{count}".encode()).hexdigest()[:32]
        result.append(replace(one, error_id=digest))
    return result


def new_ones(found: Sequence[StyleFinding], target: Sequence[StyleFinding]) -> list[StyleFinding]:
    """Those that the target branch does not have, marked as incremental."""
    before = {f.error_id for f in target}
    return [replace(f, is_incremental=True) for f in found if f.error_id not in before]
