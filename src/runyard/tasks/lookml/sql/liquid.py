"""What Liquid in a LookML parameter may ask about the query being compiled: fields, parameters, filters,
attributes. Called by `compiler`.

Objects are made on demand: a view may have thousands of fields, and most templates name one.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from runyard.tasks.lookml.language.model import Field, View
from runyard.tasks.lookml.language.references import FIELD_PARTS
from runyard.tasks.lookml.sql import filter_dates, filters
from runyard.tasks.lookml.sql.dialects import literal, looker_name
from runyard.tasks.lookml.sql.filter_text import BadFilter

if TYPE_CHECKING:
    from runyard.tasks.lookml.sql.compiler import Context

_UNQUOTED = re.compile(r"[\w.\-]+")


class LiquidFacts:
    """The facts for one parameter of one field (or join, or derived table) in one query."""

    def __init__(self, context: Context, alias: str, field_id: str, view: View | None) -> None:
        self.context = context
        self.alias = alias
        self.view = view
        self.field_id = field_id
        self.user_attributes = context.user_attributes

    @property
    def names(self) -> Mapping[str, object]:
        """The top-level names of a template; made anew, because kept it would be a circle that only the
        garbage collector opens."""
        return _Names(self)

    def find(self, name: str) -> tuple[str, Field] | None:
        """(alias.field as filters name it, the field) that a template means."""
        owner, _, short = name.strip().rpartition(".")
        explore = self.context.explore
        view = explore.views.get(owner or self.alias)
        if view is None and self.view is not None and owner in ("", self.view.name):
            view = self.view
        field = view.fields.get(short) if view else None
        if field is None or view is None:
            return None
        name = f"{owner or self.alias}.{short}"
        if owner in explore.views or self.alias in explore.views:
            return name, field
        # Inside a derived table the view goes by its own name, while filters name it by its alias in the
        # explore.
        alias = next(
            (a for a, v in explore.views.items() if v is view or v.name == view.name), owner or self.alias
        )
        return f"{alias}.{short}", field

    def parameter(self, name: str) -> str:
        """A parameter's value as SQL: the given one, its default, or NULL."""
        found = self.find(name)
        if found is None:
            return "NULL"
        return parameter_sql(self.context, *found)

    def condition(self, name: str, body: str) -> str:
        """The field's filter put on `body`; 1=1 when it has none."""
        found = self.find(name)
        text = self.filter_text(name)
        if found is None or not text:
            return "1=1"
        piece = filters.condition_text(
            filters.kind_of(found[1]), text, self.context.setting, self.context.source
        )
        return "(" + piece.replace("\0", f"({body.strip()})") + ")"

    def bound(self, name: str, which: str) -> str:
        """The first start or the last end that the date filter names."""
        text = self.filter_text(name)
        if not text:
            return "NULL"
        try:
            found = filter_dates.ranges(text, self.context.setting.now, self.context.calendar)
        except BadFilter:
            return "NULL"
        moments = [m for r in found if (m := r.start if which == "start" else r.end) is not None]
        if not moments:
            return "NULL"
        return filter_dates.moment(min(moments) if which == "start" else max(moments))

    def filter_text(self, name: str) -> str:
        """The filter expression that the query puts on a field, "" for none."""
        found = self.find(name)
        return self.context.filters.get(found[0] if found else name, "")


def parameter_sql(context: Context, name: str, field: Field) -> str:
    """The literal of the parameter `alias.field`."""
    given = context.parameters.get(name)
    value = field.node.text("default_value") if given is None else given
    if not value:
        return "NULL"
    if field.type in ("unquoted", "number", "yesno"):
        # Only what Looker lets through unquoted: no quotes, spaces or signs that could leave the expression.
        return value if _UNQUOTED.fullmatch(value) else "NULL"
    if field.type in ("date", "date_time"):
        try:
            start = filter_dates.ranges(value, context.setting.now, context.calendar)[0].start
        except BadFilter:
            start = None
        return filter_dates.moment(start) if start else "NULL"
    return literal(value, context.source)


class _Lazy(Mapping[str, object]):
    """A mapping whose values are made when asked for."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """The keys, for templates that loop over an object."""

    def __iter__(self) -> Iterator[str]:
        return self.names()

    def __len__(self) -> int:
        return sum(1 for _ in self.names())


class _Names(_Lazy):
    """The top-level names of a template."""

    def __init__(self, facts: LiquidFacts) -> None:
        self.facts = facts

    def __getitem__(self, key: str) -> object:
        facts, context = self.facts, self.facts.context
        match key:
            case "_view":
                return {"_name": facts.alias}
            case "_model":
                return {"_name": context.explore.model.name}
            case "_explore":
                return {"_name": context.explore.name, "_dashboard_url": ""}
            case "_field":
                return {"_name": facts.field_id}
            case "_dialect":
                return {"_name": looker_name(context.source)}
            case "_filters":
                return _Filters(facts)
            case "_query":
                return {"_query_timezone": context.timezone or "UTC"}
        if facts.view is not None and key in facts.view.fields:
            return _FieldFacts(facts, f"{facts.alias}.{key}")
        if key in context.explore.views:
            return _ViewFacts(facts, key, context.explore.views[key])
        if facts.view is not None and key == facts.view.name:
            return _ViewFacts(facts, facts.alias, facts.view)
        raise KeyError(key)

    def names(self) -> Iterator[str]:
        """Aliases, then the view's own fields."""
        yield from self.facts.context.explore.views
        yield from self.facts.view.fields if self.facts.view else ()


class _ViewFacts(_Lazy):
    """`view.…` in a template."""

    def __init__(self, facts: LiquidFacts, alias: str, view: View) -> None:
        self.facts = facts
        self.alias = alias
        self.view = view

    def __getitem__(self, key: str) -> object:
        if key == "_name":
            return self.alias
        if key in self.view.fields:
            return _FieldFacts(self.facts, f"{self.alias}.{key}")
        raise KeyError(key)

    def names(self) -> Iterator[str]:
        """Its fields."""
        return iter(self.view.fields)


class _Filters(_Lazy):
    """`_filters['view.field']`."""

    def __init__(self, facts: LiquidFacts) -> None:
        self.facts = facts

    def __getitem__(self, key: str) -> object:
        return self.facts.filter_text(key) or None

    def names(self) -> Iterator[str]:
        """The filtered fields."""
        return iter(self.facts.context.filters)


class _FieldFacts(_Lazy):
    """`view.field` in a template: `_in_query`, `_is_selected`, `_parameter_value` and so on."""

    def __init__(self, facts: LiquidFacts, name: str) -> None:
        self.facts = facts
        self.name = name

    def __getitem__(self, key: str) -> object:
        facts, context = self.facts, self.facts.context
        match key:
            case "_is_selected":
                return self.name in context.selected
            case "_in_query":
                return self.name in context.selected or bool(facts.filter_text(self.name))
            case "_is_filtered":
                return bool(facts.filter_text(self.name)) or self.name in context.parameters
            case "_parameter_value":
                return facts.parameter(self.name)
            case "_name":
                return self.name
            case "_sql":
                return "${" + self.name + "}"
        if key in FIELD_PARTS:
            return ""
        raise KeyError(key)

    def names(self) -> Iterator[str]:
        """The variables of a field."""
        return iter(FIELD_PARTS)
