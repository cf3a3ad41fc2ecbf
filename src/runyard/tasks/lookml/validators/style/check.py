"""Runs the style rules over a project: one finding per violation, with the lines around it. Entry: `check`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runyard.tasks.lookml.language.project import Project
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.validators.style.config import Config, patterns_match
from runyard.tasks.lookml.validators.style.kinds import Offence, offences
from runyard.tasks.lookml.validators.style.rule import Entity, Rule, Severity, entities

MAX_FINDINGS = 5000
MAX_LINE = 300
AROUND = 2


@dataclass(frozen=True, slots=True)
class StyleFinding:
    """One violation. `error_id` is the same as long as rule, file, thing and wording are, whatever the line. `context` starts at `context_line`."""

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
    found = []
    for rule in config.active():
        for offence in offences(rule, known):
            severity = config.severity(rule.code, offence.node.file.path)
            if severity is not Severity.DISABLED:
                found.append(_finding(rule, offence, severity))
    return _numbered(sorted(found, key=lambda f: (f.file, f.line, f.column, f.code)))[:MAX_FINDINGS]


def _finding(rule: Rule, offence: Offence, severity: Severity) -> StyleFinding:
    entity, node = offence.entity, offence.node
    line, column = node.place
    start, context = _around(node, line)
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


def _around(node: Node, line: int) -> tuple[int, tuple[str, ...]]:
    """The lines from two before to two after, and the first one's number."""
    start = max(1, line - AROUND)
    at = node.file.start(start)
    lines = []
    for _ in range(line + AROUND - start + 1):
        if at > len(node.file.text):
            break
        end = node.file.text.find("\n", at)
        end = len(node.file.text) if end < 0 else end
        lines.append(node.file.text[at : min(end, at + MAX_LINE)])
        at = end + 1
    return start, tuple(lines)


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
