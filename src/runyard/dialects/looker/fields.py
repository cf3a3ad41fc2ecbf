"""Explores and fields in Looker's JSON (LookmlModelExplore, LookmlModelExploreField). Pure; called by
routes_lookml.

Spectacles reads `name`, `type`, `tags`, `sql`, `lookml_link` and `hidden` of dimensions; `sql` is a text
always, or it cannot read it.
"""

from __future__ import annotations

from typing import Any

from runyard.dialects.looker.links import Links
from runyard.tasks.lookml.language.model import Explore, Field, Join
from runyard.tasks.lookml.language.tree import Node

Json = dict[str, Any]
GROUPS = {"dimension": "dimensions", "measure": "measures", "filter": "filters", "parameter": "parameters"}
NUMERIC = frozenset(
    [
        "number",
        "count",
        "count_distinct",
        "sum",
        "sum_distinct",
        "average",
        "average_distinct",
        "min",
        "max",
        "median",
        "percentile",
        "duration",
    ]
)


def explore_shape(explore: Explore, project: str, links: Links) -> Json:
    """LookmlModelExplore."""
    node = explore.node
    fields: dict[str, list[Json]] = {group: [] for group in GROUPS.values()}
    for alias, field in explore.visible():
        fields[GROUPS[field.kind]].append(field_shape(alias, field, links))
    return {
        "can": {"show": True},
        "id": f"{explore.model.name}::{explore.name}",
        "name": explore.name,
        "model_name": explore.model.name,
        "project_name": project,
        "title": node.text("label") or _title(explore.name),
        "label": node.text("label") or _title(explore.name),
        "description": node.text("description") or None,
        "group_label": node.text("group_label") or None,
        "hidden": node.is_yes("hidden"),
        "view_name": explore.alias,
        "connection_name": explore.model.connection or None,
        "tags": node.words("tags"),
        "source_file": node.file.path,
        "lookml_link": links.lookml(node.file.path, node.line),
        "joins": [_join(j, links) for j in explore.joins],
        "scopes": list(explore.views),
        "fields": fields,
        "errors": None,
    }


def _title(name: str) -> str:
    return name.replace("_", " ").title()


def _join(join: Join, links: Links) -> Json:
    node = join.node
    return {
        "name": join.alias,
        "from": join.view_name if join.view_name != join.alias else None,
        "type": join.type,
        "relationship": join.relationship,
        "sql_on": node.text("sql_on") or None,
        "foreign_key": node.text("foreign_key") or None,
        "required_joins": node.words("required_joins"),
        "view_label": node.text("view_label") or None,
        "fields": node.words("fields") or None,
        "lookml_link": links.lookml(node.file.path, node.line),
    }


def field_shape(alias: str, field: Field, links: Links) -> Json:
    """LookmlModelExploreField."""
    node = field.node
    label = node.text("label") or _title(field.group or field.name)
    if field.part:
        label = f"{label} {_title(field.part)}"
    is_measure = field.kind == "measure"
    kind = _type(field)
    return {
        "can": {},
        "name": f"{alias}.{field.name}",
        "view": alias,
        "scope": alias,
        "original_view": field.view.name,
        "category": field.kind,
        "type": kind,
        "label": f"{_title(alias)} {label}",
        "label_short": label,
        "view_label": node.text("view_label") or _title(alias),
        "description": node.text("description") or None,
        "hidden": node.is_yes("hidden"),
        "tags": node.words("tags"),
        "sql": _sql(node, field),
        "measure": is_measure,
        "parameter": field.kind == "parameter",
        "is_filter": field.kind == "filter",
        "is_numeric": field.type in NUMERIC,
        "is_timeframe": bool(field.part) and not field.is_duration,
        "is_fiscal": "fiscal" in field.part,
        "dimension_group": f"{alias}.{field.group}" if field.group else None,
        "field_group_label": node.text("group_label") or None,
        "field_group_variant": field.part or None,
        "primary_key": node.is_yes("primary_key"),
        "can_filter": not node.text("can_filter") or node.is_yes("can_filter"),
        "sortable": True,
        "value_format": node.text("value_format") or None,
        "default_filter_value": node.text("default_value") or None,
        "suggestions": node.words("suggestions") or None,
        "source_file": node.file.path,
        "lookml_link": links.lookml(node.file.path, node.line),
    }


def _type(field: Field) -> str:
    if field.is_duration:
        return f"duration_{field.part}"
    return f"date_{field.part}" if field.part else field.type


def _sql(node: Node, field: Field) -> str:
    """The raw SQL; fields that are made without any stand for their own column, as Looker shows them."""
    if field.is_duration:
        return f"{node.text('sql_start')} ; {node.text('sql_end')}"
    return node.text("sql") or ("" if field.kind == "measure" else f"${{TABLE}}.{field.name}")
