"""The LookML validator: every finding of a project, sorted by place. Entry: `validate`. Needs no database.

What does not depend on an explore (types, duplicates, Liquid, references inside a view) is checked once per
view; what does (joins, references across views) is collected over all explores and reported once with the
list of explores.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from itertools import islice

from runyard.tasks.lookml.language import templating
from runyard.tasks.lookml.language.cache import digest, program
from runyard.tasks.lookml.language.files import IMPORTED
from runyard.tasks.lookml.language.findings import RANK, Finding, Severity, nearest
from runyard.tasks.lookml.language.model import Field, Model, View, models
from runyard.tasks.lookml.language.project import Project, collection_paused
from runyard.tasks.lookml.language.timeframes import DEFAULT_TIMEFRAMES, is_interval, is_timeframe
from runyard.tasks.lookml.language.tree import FIELD_KEYS, Kind, Node
from runyard.tasks.lookml.language.words import (
    DIMENSION_TYPES,
    GROUP_TYPES,
    MEASURE_TYPES,
    PARAMETER_TYPES,
    PARAMETERS,
)
from runyard.tasks.lookml.sql.measures import AGGREGATES
from runyard.tasks.lookml.validators import advice, field_lists, filter_checks, source_checks
from runyard.tasks.lookml.validators.asserts import check as data_tests
from runyard.tasks.lookml.validators.explore_checks import ExploreChecks, add_context
from runyard.tasks.lookml.validators.name_checks import NameChecks

MAX_FINDINGS = 5000


def finding(
    node: Node,
    code: str,
    message: str,
    severity: Severity = Severity.ERROR,
    *,
    field: str = "",
    suggestion: str = "",
    at: int | None = None,
) -> Finding:
    """A finding at a node's key, or at an offset of its file."""
    line, column = node.file.place(node.at if at is None else at)
    return Finding(code, message, severity, node.file.path, line, column, field=field, suggestion=suggestion)


def validate(project: Project) -> list[Finding]:
    """Everything wrong with the project: each finding once, however many models see it."""
    with collection_paused():
        return _validated(project)


def _validated(project: Project) -> list[Finding]:
    found: dict[tuple[str, str, str, int, int], Finding] = {}

    def add(findings: Iterable[Finding]) -> None:
        for one in findings:
            key = (one.code, one.message, one.file, one.line, one.column)
            before = found.get(key)
            found[key] = one if before is None else add_context(before, one)

    add(project.findings)
    broken = {f.file for f in project.findings if f.severity is Severity.FATAL}
    for path in project.sources:
        if not path.startswith(IMPORTED) and path not in broken:
            key = digest("file", program(), project.file_key(path))
            add(project.cache.findings(key, partial(_file_at, project, path)))
    all_models = models(project)
    if not all_models:
        add([Finding("no_model", "the project has no model file (*.model.lkml)", Severity.ERROR)])
    for model in all_models:
        # What else a file holds that cannot be parsed to its end, nobody knows; that is one finding, and not
        # one for each use of it.
        if broken:
            model.views.incomplete.update(
                n for n in model.views.roots if any(d.path in broken for d in model.views.closure(n))
            )
        add(_model(model))
    if all_models:
        add(advice.unseen(project.sources, {path for model in all_models for path in model.files}))
    project.cache.keep()
    ordered = sorted(found.values(), key=lambda f: (f.file, f.line, f.column, -RANK[f.severity], f.message))
    return ordered[:MAX_FINDINGS]


def _file_at(project: Project, path: str) -> Iterator[Finding]:
    return _file(project.trees[path])


def _file(tree: Node) -> Iterator[Finding]:
    """What can be said of a file's text alone."""
    yield from _parameters(tree, "")
    yield from advice.of_file(tree)
    for node in tree.all("view", "explore"):
        yield from _parameters(node, node.key)
        yield from _twins(node)
        yield from _nameless(node, *FIELD_KEYS, "join", "set")
        for child in node.children:
            if child.kind is Kind.BLOCK and child.key in PARAMETERS and child.key:
                yield from _parameters(child, child.key)
    yield from _nameless(tree, "view", "explore", "test")
    yield from _unclosed(tree)
    yield from _liquid(tree)


def _nameless(node: Node, *kinds: str) -> Iterator[Finding]:
    """Blocks that are nothing without a name."""
    for child in node.all(*kinds):
        if child.kind is Kind.BLOCK and not child.value:
            yield finding(child, "missing", f"this {child.key} has no name: {child.key}: a_name {{ … }}")


_UNCLOSED = re.compile(r"\$\{[^}$;]*+(?:;;|(?=\$\{))")
MAX_UNCLOSED = 100  # each looks back to the start of its line, which may be the whole file


def _unclosed(tree: Node) -> Iterator[Finding]:
    """`${` without its brace, which would stand in the SQL as it is."""
    text = tree.file.text
    for found in islice(_UNCLOSED.finditer(text), MAX_UNCLOSED):
        at = found.start()
        if "#" not in text[text.rfind("\n", 0, at) + 1 : at]:
            yield finding(tree, "syntax", '"${" is not closed by "}"', at=at)


def _liquid(tree: Node) -> Iterator[Finding]:
    """Templates that are none. A file without a brace of Liquid, or a constant that may hold one, is not
    walked."""
    text = tree.file.text
    stack = list(tree.children) if templating.is_template(text) or "@{" in text else []
    while stack:
        node = stack.pop()
        stack.extend(node.children)
        if node.kind in (Kind.RAW, Kind.TEXT) and templating.is_template(node.value):
            try:
                templating.check(node.value)
            except templating.LiquidProblem as problem:
                line = node.file.place(node.value_at)[0] + problem.line - 1
                message = f'Liquid in "{node.key}": {problem}'
                yield Finding("liquid", message, Severity.ERROR, node.file.path, line, 0)


def _parameters(node: Node, kind: str) -> Iterator[Finding]:
    """Parameters that this kind of block does not have."""
    known = PARAMETERS[kind]
    where = f'{kind} "{node.value}"' if kind else "the file"
    for child in node.children:
        if child.key not in known and child.key:
            guess = nearest(child.key, known)
            severity = Severity.ERROR if guess else Severity.WARNING
            yield finding(
                child,
                "unknown_parameter",
                f'unknown parameter "{child.key}" in {where}',
                severity,
                suggestion=guess,
            )


def _twins(node: Node) -> Iterator[Finding]:
    """Two fields or joins of one name in the same block."""
    seen: dict[tuple[str, str], Node] = {}
    for child in node.all(*FIELD_KEYS, "join", "set"):
        space = "field" if child.key in FIELD_KEYS and child.key != "dimension_group" else child.key
        first = seen.setdefault((space, child.value), child)
        if first is not child and child.value:
            name = f"{node.value.removeprefix('+')}.{child.value}"
            message = f'there is already a {space} named "{name}" ({first.file.path}:{first.line})'
            yield finding(child, "duplicate", message, field=name)


def _model(model: Model) -> Iterator[Finding]:
    """One model: its includes, connection, views and explores. What a former run has found of the same
    declarations is not looked for again."""
    kept = model.project.cache.findings
    yield from model.findings
    if not model.connection and model.explores.roots:
        yield Finding(
            "no_connection", f'model "{model.name}" names no connection', Severity.ERROR, model.path, 1, 1
        )
    names = NameChecks(model)
    parts = _parts_of_views(model)
    for name in model.views.roots:
        found = kept(model.fingerprint_of_view(name), partial(_view_named, model, name, names))
        yield from (f for f in found if name not in parts or f.code != "unknown_field")
        if key := model.fingerprint_of_source(name):
            yield from kept(key, partial(source_checks.of_source, model, name))
    explores = ExploreChecks(model)
    extended = {base for declared in model.declared("explore") for base in declared.extends}
    for name in model.explores.roots:
        key = digest(model.fingerprint_of_explore(name), repr(name in extended))
        yield from kept(key, partial(_explore_named, model, name, explores, names, name in extended))
    yield from kept(model.fingerprint_of_tests(), partial(data_tests.of_model, model))
    yield from model.views.findings
    yield from model.explores.findings
    yield from kept(digest("names", model.names, model.project.file_key(model.path)), names.of_model)


def _parts_of_views(model: Model) -> set[str]:
    """Views that others extend and no explore uses: their references need only be right where they end up,
    and are looked at there."""
    extended = {base for declared in model.declared("view") for base in declared.extends}
    return extended - {name for declared in model.declared("explore") for name in declared.uses}


def _view_named(model: Model, name: str, names: NameChecks) -> list[Finding]:
    """Models that share a view and know the same of its neighbours share its findings."""
    view = model.view(name)
    if view is None:
        return []
    known = frozenset(n for n in view.foreign if n in model.views.roots or n in model.aliases)
    key = ("findings", id(view), known, model.other_names, *(() if known == view.foreign else (model.path,)))
    found: list[Finding] | None = model.project.views.get(key)
    if found is None:
        found = model.project.views[key] = [*_view(view, model), *names.of_view(view)]
    return found


def _explore_named(
    model: Model, name: str, checks: ExploreChecks, names: NameChecks, is_extended: bool
) -> Iterator[Finding]:
    explore = model.explore(name)
    if explore is None:
        return
    yield from names.of_explore(explore)
    if explore.is_required_extension:
        yield from () if is_extended else advice.of_unused(explore)
        return
    yield from checks.explore(explore)
    yield from field_lists.of_explore(explore)
    yield from filter_checks.of_explore(explore)
    yield from advice.of_explore(explore)


def _view(view: View, model: Model) -> Iterator[Finding]:
    keys = [f for f in view.fields.values() if f.node.is_yes("primary_key")]
    for extra in keys[1:]:
        yield finding(
            extra.node,
            "duplicate_key",
            f'view "{view.name}" has a second primary_key "{extra.name}"',
            field=extra.id,
        )
    yield from _kinds(view)
    for group in view.groups.values():
        yield from _group(view, group)
    for field in view.fields.values():
        if not field.part:
            yield from _type(field)
    for node in view.references:
        yield from _own_references(view, node, model)
    for name, node in view.sets().items() if view.is_complete else ():
        yield from _set(view, name, node, model)
    yield from field_lists.of_view(view, model)
    yield from filter_checks.of_view(view)
    yield from source_checks.of_sql(view, model)
    yield from _circles(view)


def _kinds(view: View) -> Iterator[Finding]:
    """One name used for two kinds of field."""
    seen: dict[str, Node] = {}
    for node in view.node.all(*FIELD_KEYS):
        # A dimension_group's fields have names of their own, so `score` may be a dimension and a group.
        first = seen.setdefault(node.value, node) if node.key != "dimension_group" else node
        if first.key != node.key:
            yield finding(
                node,
                "redefinition",
                f"Redefinition of field '{view.name}.{node.value}'",
                field=f"{view.name}.{node.value}",
            )


def _group(view: View, node: Node) -> Iterator[Finding]:
    kind = node.text("type", "time")
    name = f"{view.name}.{node.value}"
    if kind not in GROUP_TYPES:
        yield finding(
            node.get("type") or node,
            "unknown_type",
            f'unknown dimension_group type "{kind}"',
            field=name,
            suggestion=_meant(kind, GROUP_TYPES),
        )
    for word in node.words("timeframes") if kind == "time" else ():
        if not is_timeframe(word):
            yield finding(
                node.get("timeframes") or node,
                "unknown_timeframe",
                f'unknown timeframe "{word}"',
                field=name,
                suggestion=_meant(word, DEFAULT_TIMEFRAMES),
            )
    if kind == "duration":
        for word in node.words("intervals"):
            if not is_interval(word):
                yield finding(
                    node.get("intervals") or node,
                    "unknown_interval",
                    f'unknown interval "{word}"',
                    field=name,
                )
        for key in ("sql_start", "sql_end"):
            if not node.get(key):
                yield finding(node, "missing", f'duration "{name}" has no {key}', field=name)


_TYPES = {
    "dimension": DIMENSION_TYPES,
    "measure": MEASURE_TYPES,
    "parameter": PARAMETER_TYPES,
    "filter": DIMENSION_TYPES | {"date_time"},
}


def _type(field: Field) -> Iterator[Finding]:
    kind, node = field.type, field.node
    known = _TYPES[field.kind]
    is_date = kind.startswith("date_") and is_timeframe(kind.removeprefix("date_"))
    if kind not in known and not is_date:
        yield finding(
            node.get("type") or node,
            "unknown_type",
            f'unknown {field.kind} type "{kind}"',
            field=field.id,
            suggestion=_meant(kind, known),
        )


_MEANT = {
    **dict.fromkeys(("text", "varchar", "char", "str"), "string"),
    **dict.fromkeys(("integer", "float", "double", "decimal", "numeric"), "number"),
    **dict.fromkeys(("bool", "boolean"), "yesno"),
    **dict.fromkeys(("avg", "mean"), "average"),
    **dict.fromkeys(("day", "days"), "date"),
    **dict.fromkeys(("timestamp", "datetime"), "time"),
}
"""Words of other languages, and ours for them."""


def _meant(word: str, known: Collection[str]) -> str:
    """Our word for the same thing, else the nearest one."""
    other = _MEANT.get(word.lower(), "")
    return other if other in known else nearest(word, known)


def _own_references(view: View, node: Node, model: Model) -> Iterator[Finding]:
    """References that no explore can make right: to the view itself, or to views that do not exist."""
    name = f"{view.name}.{node.value}"
    for reference in view.references[node]:
        owner, _, short = reference.name.rpartition(".")
        if short == "SQL_TABLE_NAME":
            if owner not in model.views.roots and owner not in model.aliases:
                guess = nearest(owner, model.views.roots)
                yield finding(
                    reference.node,
                    "unknown_view",
                    f'unknown view "{owner}" referenced in "{name}"',
                    field=name,
                    suggestion=guess,
                    at=reference.at,
                )
            continue
        if owner in ("", view.name) and short not in view.fields:
            if not view.is_complete:
                continue
            yield _inaccessible(
                reference.at, reference.node, f"{view.name}.{short}", name, _guess(short, view)
            )
        elif owner in ("", view.name):
            yield from _kind_of_reference(view, node, view.fields[short], reference.node, reference.at)
        elif owner not in model.views.roots and owner not in model.aliases:
            guess = nearest(owner, model.views.roots)
            yield _inaccessible(
                reference.at, reference.node, reference.name, name, f"{guess}.{short}" if guess else ""
            )


def _guess(short: str, view: View) -> str:
    """For a whole group one of its timeframes, else the nearest name."""
    if short in view.groups:
        return next((f.name for f in view.fields.values() if f.group == short), "")
    return nearest(short, view.fields)


def _inaccessible(at: int, node: Node, wanted: str, user: str, guess: str) -> Finding:
    message = (
        f'Unknown or inaccessible field "{wanted}" referenced in "{user}". Check for typos and missing joins.'
    )
    return finding(node, "unknown_field", message, field=user, suggestion=guess, at=at)


def _kind_of_reference(view: View, user: Node, used: Field, node: Node, at: int) -> Iterator[Finding]:
    """Dimensions may not use measures, aggregates may not use measures."""
    if used.kind != "measure":
        return
    name = f"{view.name}.{user.value}"
    if user.key in ("dimension", "dimension_group"):
        yield finding(
            node,
            "measure_in_dimension",
            f'the dimension "{name}" refers to the measure "{used.id}"',
            field=name,
            at=at,
        )
    elif user.key == "measure" and user.text("type", "string") in AGGREGATES - {"date"}:
        yield finding(
            node,
            "aggregate_of_measure",
            f'the aggregate "{name}" refers to the measure "{used.id}"',
            field=name,
            at=at,
        )


def _set(view: View, name: str, node: Node, model: Model) -> Iterator[Finding]:
    for item in (node.get("fields") or node).children:
        word = item.value.removeprefix("-")
        owner, _, short = word.rpartition(".")
        if owner and owner != view.name:
            continue  # its explore decides
        known = view.sets() if short.endswith("*") else view.fields
        if short.removesuffix("*") not in known and short != "ALL_FIELDS*":
            kind = "set" if short.endswith("*") else "field"
            message = f'unknown {kind} "{short.removesuffix("*")}" in set "{view.name}.{name}"'
            yield finding(
                item,
                f"unknown_{kind}",
                message,
                field=f"{view.name}.{name}",
                suggestion=nearest(short.removesuffix("*"), known),
            )


def _circles(view: View) -> Iterator[Finding]:
    """Fields of one view that need each other. Iterative depth-first walk; each circle once."""
    uses = {
        field.name: [
            r.name.rpartition(".")[2]
            for r in view.references[field.node]
            if r.name.rpartition(".")[0] in ("", view.name)
        ]
        for field in view.fields.values()
        if field.node in view.references
    }
    done: set[str] = set()
    for start in uses:
        path: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            stack.append((start, iter(uses[start])))
            path.append(start)
        while stack:
            name, rest = stack[-1]
            step = next(rest, None)
            if step is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif step in path:
                chain = " → ".join([*path[path.index(step) :], step])
                yield finding(
                    view.fields[step].node,
                    "circular_reference",
                    f'circular reference in view "{view.name}": {chain}',
                    field=f"{view.name}.{step}",
                )
                done.add(step)
            elif step in uses and step not in done:
                stack.append((step, iter(uses[step])))
                path.append(step)
