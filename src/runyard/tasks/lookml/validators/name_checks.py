"""Checks of names that a model declares once and many places use: datagroups, access grants, value formats.
Called by `checks`."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.model import Explore, Model, View
from runyard.tasks.lookml.language.tree import FIELD_KEYS, Node, items

_FORMATS = """
    decimal_0 decimal_1 decimal_2 decimal_3 decimal_4 percent_0 percent_1 percent_2 percent_3 percent_4 usd usd_0 eur eur_0 gbp gbp_0 id
"""
VALUE_FORMATS = frozenset(_FORMATS.split())
"""Looker's own names for `value_format_name`."""


class NameChecks:
    """The names that one model declares, and what uses others."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.datagroups = {d.name for d in model.declared("datagroup")}
        self.grants = {d.name for d in model.declared("access_grant")}
        self.formats = VALUE_FORMATS | {d.name for d in model.declared("named_value_format")}

    def of_model(self) -> Iterator[Finding]:
        """What the model file says itself."""
        yield from self._used(
            self.model.project.trees[self.model.path], "persist_with", "datagroup", self.datagroups
        )

    def of_view(self, view: View) -> Iterator[Finding]:
        """A view, its fields and its derived table."""
        yield from self._used(view.node, "required_access_grants", "access_grant", self.grants)
        for node in view.node.all(*FIELD_KEYS):
            yield from self._used(node, "required_access_grants", "access_grant", self.grants)
            yield from self._used(node, "value_format_name", "value_format", self.formats, Severity.WARNING)
        if view.derived is not None:
            yield from self._used(view.derived, "datagroup_trigger", "datagroup", self.datagroups)

    def of_explore(self, explore: Explore) -> Iterator[Finding]:
        """An explore, its joins and its aggregate tables."""
        yield from self._used(explore.node, "persist_with", "datagroup", self.datagroups)
        for node in (explore.node, *explore.node.all("join")):
            yield from self._used(node, "required_access_grants", "access_grant", self.grants)
        for table in explore.node.all("aggregate_table"):
            for materialization in table.all("materialization"):
                yield from self._used(materialization, "datagroup_trigger", "datagroup", self.datagroups)

    def _used(
        self, node: Node, key: str, kind: str, known: Collection[str], severity: Severity = Severity.ERROR
    ) -> Iterator[Finding]:
        parameter = node.get(key)
        for item in items(parameter) if parameter is not None else ():
            if item.value not in known:
                line, column = item.place
                message = f'unknown {kind} "{item.value}" in {key}'
                yield Finding(
                    f"unknown_{kind}",
                    message,
                    severity,
                    item.file.path,
                    line,
                    column,
                    suggestion=nearest(item.value, known),
                )
