"""Checks of parameters that name fields outside SQL: drill_fields, order_by_field, filters of explores,
aggregate tables. Called by `checks`."""

from __future__ import annotations

from collections.abc import Iterator

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.model import Explore, Model, View
from runyard.tasks.lookml.language.references import filter_items
from runyard.tasks.lookml.language.tree import FIELD_KEYS, Kind, Node, items

# A drill that leads nowhere does no harm to queries, hence a warning; the others break the field.
IN_FIELDS = {
    "drill_fields": Severity.WARNING,
    "order_by_field": Severity.ERROR,
    "required_fields": Severity.ERROR,
    "label_from_parameter": Severity.ERROR,
    "list_field": Severity.ERROR,
}


def of_view(view: View, model: Model) -> Iterator[Finding]:
    """Names in the view's fields that mean its own fields, or those of views that the model does not have."""
    for node in [view.node, *view.node.all(*FIELD_KEYS)] if view.is_complete else ():
        for parameter in node.children:
            severity = IN_FIELDS.get(parameter.key)
            if severity is not None:
                for item in items(parameter):
                    yield from _named(view, node, parameter.key, item, severity, model)


def _named(
    view: View, user: Node, key: str, item: Node, severity: Severity, model: Model
) -> Iterator[Finding]:
    word = item.value.removeprefix("-")
    owner, _, short = word.rpartition(".")
    if not short or (owner and owner != view.name):
        return  # other views' fields depend on the explore; Looker hides a drill that is not there
    is_set = short.endswith("*")
    short = short.removesuffix("*")
    if short in (view.sets() if is_set else view.fields):
        return
    known = view.sets() if is_set else {**view.fields, **view.groups}
    if short in known or (is_set and (short == "ALL_FIELDS" or model.view(short) is not None)):
        return
    kind = "set" if is_set else "field"
    name = f"{view.name}.{user.value}" if user is not view.node else view.name
    message = f'unknown {kind} "{view.name}.{short}" in {key} of "{name}"'
    line, column = item.place
    guess = nearest(short, known)
    yield Finding(
        f"unknown_{kind}", message, severity, item.file.path, line, column, field=name, suggestion=guess
    )


def of_explore(explore: Explore) -> Iterator[Finding]:
    """Fields in filters and aggregate tables of an explore."""
    for key in ("always_filter", "conditionally_filter"):
        for block in explore.node.all(key):
            for name, _, node in filter_items(block):
                yield from _in_explore(explore, name, node, key, Severity.ERROR)
            for unless in block.all("unless"):
                for item in items(unless):
                    yield from _in_explore(explore, item.value, item, key, Severity.ERROR)
    for block in explore.node.all("access_filter"):
        field = block.get("field")
        if field is not None:
            yield from _in_explore(explore, field.value, field, "access_filter", Severity.ERROR)
    for table in explore.node.all("aggregate_table"):
        for query in table.all("query"):
            for key in ("dimensions", "measures"):
                for item in (i for p in query.all(key) for i in items(p)):
                    yield from _in_explore(
                        explore, item.value, item, f"aggregate_table {table.value}", Severity.WARNING
                    )


def _in_explore(explore: Explore, name: str, node: Node, user: str, severity: Severity) -> Iterator[Finding]:
    if not name or explore.find(name) is not None or node.kind is Kind.BLOCK:
        return
    owner, _, short = name.rpartition(".")
    view = explore.views.get(owner or explore.alias)
    if explore.is_open(owner or explore.alias):
        return
    guess = nearest(short, view.fields) if view else nearest(owner, explore.views)
    suggestion = (
        f"{owner or explore.alias}.{guess}" if view and guess else f"{guess}.{short}" if guess else ""
    )
    line, column = node.place
    message = f'unknown field "{name}" in {user} of explore "{explore.name}"'
    yield Finding(
        "unknown_field",
        message,
        severity,
        node.file.path,
        line,
        column,
        explore.model.name,
        explore.name,
        "",
        suggestion,
        (explore.id,),
    )
