"""The object model: what a model means once includes, extends and refinements are applied. Used by the checks
and the SQL generator.

`models(project)` gives every Model; views, fields, explores and joins are made on demand and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from runyard.tasks.lookml.language.cache import digest, program
from runyard.tasks.lookml.language.findings import Finding
from runyard.tasks.lookml.language.merge import Family
from runyard.tasks.lookml.language.outline import Declaration
from runyard.tasks.lookml.language.project import Project
from runyard.tasks.lookml.language.references import Reference, filter_items, in_block
from runyard.tasks.lookml.language.timeframes import DEFAULT_INTERVALS, DEFAULT_TIMEFRAMES
from runyard.tasks.lookml.language.tree import FIELD_KEYS, Kind, Node


@dataclass(eq=False, slots=True)
class Field:
    """One field as it can be selected. `part` is the timeframe or interval of a dimension_group, whose name
    is `group`."""

    name: str
    kind: str  # dimension, measure, filter, parameter
    view: View
    node: Node
    type: str
    group: str = ""
    part: str = ""

    @property
    def id(self) -> str:
        """`view.field`."""
        return f"{self.view.name}.{self.name}"

    @property
    def is_duration(self) -> bool:
        """Whether it is an interval of a duration group."""
        return bool(self.part) and self.type == "duration"


@dataclass(eq=False)
class View:
    """A view with all its fields by name; groups are expanded."""

    name: str
    node: Node
    fields: dict[str, Field] = field(default_factory=dict)
    groups: dict[str, Node] = field(default_factory=dict)
    is_complete: bool = True  # false when it extends a view that is not there

    @cached_property
    def primary_key(self) -> Field | None:
        """The dimension marked `primary_key: yes`."""
        return next((f for f in self.fields.values() if f.node.is_yes("primary_key")), None)

    @cached_property
    def derived(self) -> Node | None:
        """The derived_table block."""
        return self.node.get("derived_table")

    def sets(self) -> dict[str, Node]:
        """Its sets by name."""
        return self._sets

    @cached_property
    def _sets(self) -> dict[str, Node]:
        return {n.value: n for n in self.node.all("set")}

    @cached_property
    def references(self) -> dict[Node, tuple[Reference, ...]]:
        """The references of its fields, by declaration; fields without any are left out."""
        found = ((node, tuple(in_block(node))) for node in self.node.all(*FIELD_KEYS))
        return {node: refs for node, refs in found if refs}

    @cached_property
    def outgoing(self) -> dict[str, tuple[tuple[Reference, ...], tuple[tuple[str, str, Node], ...]]]:
        """What its fields need of other views, by field: (references, measure filters) that are not to fields
        of its own."""
        found = {}
        for one in self.fields.values():
            references = tuple(
                r
                for r in self.references.get(one.node, ())
                if r.name.rpartition(".")[0] not in ("", self.name)
            )
            filters = (
                tuple(i for i in filter_items(one.node) if not self._is_own(i[0]))
                if one.kind == "measure"
                else ()
            )
            if references or filters:
                found[one.name] = (references, filters)
        return found

    def _is_own(self, name: str) -> bool:
        owner, _, short = name.rpartition(".")
        return owner in ("", self.name) and short in self.fields

    @cached_property
    def foreign(self) -> frozenset[str]:
        """The names of other views that its fields mention; what is wrong with the view by itself depends on
        no others."""
        owners = {r.name.rpartition(".")[0] for refs in self.references.values() for r in refs}
        sets = {
            i.value.rpartition(".")[2][:-1]
            for field in self.node.all(*FIELD_KEYS)
            for parameter in field.children
            if parameter.kind is Kind.LIST
            for i in parameter.children
            if i.value.endswith("*")
        }
        return frozenset((owners | (sets - self.sets().keys() - {"ALL_FIELDS"})) - {"", self.name})


@dataclass(eq=False, slots=True)
class Join:
    """A join: `alias` is the name that fields use, `view_name` the view it stands for."""

    alias: str
    view_name: str
    node: Node

    @property
    def type(self) -> str:
        """Default left_outer."""
        return self.node.text("type", "left_outer")

    @property
    def relationship(self) -> str:
        """Default many_to_one."""
        return self.node.text("relationship", "many_to_one")


@dataclass(eq=False)
class Explore:
    """An explore: base alias and joins, and the views that exist for its aliases."""

    name: str
    model: Model
    node: Node
    alias: str
    view_name: str
    joins: list[Join] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)  # by alias

    @property
    def id(self) -> str:
        """`model/explore`, as selectors write it."""
        return f"{self.model.name}/{self.name}"

    @property
    def is_required_extension(self) -> bool:
        """Such an explore cannot be queried by itself."""
        return self.node.text("extension") == "required"

    def is_open(self, alias: str) -> bool:
        """Whether nobody can say which fields the alias has: its view is missing or extends a missing one,
        which is a finding of its own."""
        view = self.views.get(alias)
        return not view.is_complete if view else alias in {self.alias, *(j.alias for j in self.joins)}

    def find(self, reference: str) -> Field | None:
        """A field by `alias.field`, or by `field` of the base view."""
        alias, _, name = reference.rpartition(".")
        view = self.views.get(alias or self.alias)
        return view.fields.get(name) if view else None

    def visible(self) -> list[tuple[str, Field]]:
        """Every (alias, field) that `fields` of the explore and of its joins let through, in order of
        declaration."""
        allowed: dict[str, Field] = {}
        for alias, view in self.views.items():
            join = next((j for j in self.joins if j.alias == alias), None)
            wanted = join.node.get("fields") if join else None
            names = (
                list(view.fields)
                if wanted is None
                else self._names(join.node.words("fields"), alias)
                if join
                else []
            )
            for name in names:
                short = name.rpartition(".")[2]
                if short in view.fields:
                    allowed[f"{alias}.{short}"] = view.fields[short]
        if self.node.get("fields"):
            chosen = self._chosen(self.node.words("fields"), allowed)
            allowed = {k: f for k, f in allowed.items() if k in chosen}
        return [(k.rpartition(".")[0], f) for k, f in allowed.items()]

    def _chosen(self, words: list[str], allowed: Iterable[str]) -> set[str]:
        chosen: set[str] = set()
        for word in words:
            bare = word.removeprefix("-")
            if bare == "ALL_FIELDS*":
                found = set(allowed)
            else:
                found = {n if "." in n else f"{self.alias}.{n}" for n in self._names([bare], self.alias)}
            chosen = chosen - found if word.startswith("-") else chosen | found
        return chosen

    def _names(self, words: list[str], alias: str, depth: int = 0) -> list[str]:
        """Words of a `fields` list as field names; sets are opened, `-x` takes away."""
        found: dict[str, None] = {}
        for word in words:
            bare = word.removeprefix("-")
            names = self._opened(bare[:-1], alias, depth) if bare.endswith("*") else [bare]
            for name in names:
                if word.startswith("-"):
                    found.pop(name, None)
                else:
                    found[name] = None
        return list(found)

    def _opened(self, name: str, alias: str, depth: int) -> list[str]:
        """The fields of `set*`, `view.set*` or `ALL_FIELDS*`."""
        owner, _, short = name.rpartition(".")
        owner = owner or alias
        if "." not in name and name in self.views:
            return [f"{name}.{f}" for f in self.views[name].fields]  # `view*` is everything of the view
        view = self.views.get(owner)
        if view is None or depth > 20:
            return []
        if short == "ALL_FIELDS":
            return [f"{owner}.{f}" for f in view.fields]
        node = view.sets().get(short)
        names = self._names(node.words("fields"), owner, depth + 1) if node else []
        return [n if "." in n else f"{owner}.{n}" for n in names]


@dataclass(eq=False)
class Model:
    """What one model file sees."""

    name: str
    path: str
    files: list[str]
    project: Project
    views: Family
    explores: Family
    findings: list[Finding]
    _declared: dict[tuple[str, ...], list[Declaration]] = field(default_factory=dict)
    _views: dict[str, View | None] = field(default_factory=dict)
    _explores: dict[str, Explore | None] = field(default_factory=dict)

    @property
    def connection(self) -> str:
        """The connection's name; "" when no file of the model names one."""
        return self.parameter("connection")

    def declared(self, *keys: str) -> Iterator[Declaration]:
        """Top-level declarations of these kinds in every file of the model, without their trees."""
        if keys not in self._declared:
            outlines = (self.project.outline(path) for path in self.files)
            self._declared[keys] = [block for found in outlines for block in found.all(*keys)]
        return iter(self._declared[keys])

    def nodes(self, *keys: str) -> Iterator[Node]:
        """The same as nodes; parses the files that have such declarations."""
        return (self.node(declared) for declared in self.declared(*keys))

    def node(self, declared: Declaration) -> Node:
        """The tree of a declaration."""
        return self.project.trees[declared.path].children[declared.index]

    def parameter(self, key: str) -> str:
        """A model-level parameter (connection, week_start_day, …), "" when not set; the model's own file
        wins."""
        for path in reversed(self.files):
            found = self.project.outline(path).words.get(key)
            if found:
                return found
        return ""

    @cached_property
    def names(self) -> str:
        """A digest of every name and plain parameter that checks of a view or explore may look up in the
        model."""
        own = self.project.outline(self.path)
        named = sorted(
            {(d.key, d.name) for path in self.files for d in self.project.outline(path).blocks if d.name}
        )
        return digest(
            program(),
            repr(named),
            repr(sorted(self.aliases)),
            repr(sorted(own.words.items())),
            repr(sorted(self.project.constants.items())),
        )

    def _files_digest(self, declarations: Iterable[Declaration]) -> str:
        return repr([self.project.file_key(path) for path in sorted({d.path for d in declarations})])

    @cached_property
    def names_for_views(self) -> str:
        """The same for checks that need no explore; equal in models that differ in explores only."""
        constants = sorted(self.project.constants.items())
        views = sorted(self.views.roots)
        return digest(
            program(), repr(self.other_names), repr(views), repr(sorted(self.aliases)), repr(constants)
        )

    @cached_property
    def other_names(self) -> tuple[tuple[str, str], ...]:
        """(kind, name) of everything declared that is no view, explore or test: datagroups, access grants,
        formats."""
        blocks = (d for path in self.files for d in self.project.outline(path).blocks)
        return tuple(
            sorted({(d.key, d.name) for d in blocks if d.name and d.key not in ("view", "explore", "test")})
        )

    def fingerprint_of_view(self, name: str) -> str:
        """A digest of all that checks of this view can depend on; equal in two models that see the same."""
        return digest("view", name, self.names_for_views, self._files_digest(self._view_closure(name)))

    def fingerprint_of_explore(self, name: str) -> str:
        """A digest of all that checks of this explore can depend on: its declarations, and those of every
        view it uses."""
        return digest("explore", self.name, name, self.names, self._files_digest(self._explore_closure(name)))

    def fingerprint_of_source(self, name: str) -> str:
        """A digest of all that checks of this view's native derived table can depend on; "" when it has
        none."""
        sources = [source for declared in self.views.closure(name) for source in declared.uses]
        if not sources:
            return ""
        explores = [d for source in sources for d in self._explore_closure(source)]
        own = self._files_digest([*self._view_closure(name), *explores])
        return digest("source", name, self.names, own)

    def fingerprint_of_tests(self) -> str:
        """A digest of the model's data tests and of the explores that they ask."""
        tests = list(self.declared("test"))
        explores = [d for t in tests for name in t.uses for d in self._explore_closure(name)]
        return digest("tests", self.name, self.names, self._files_digest([*tests, *explores]))

    def _view_closure(self, name: str) -> list[Declaration]:
        found = self.views.closure(name)
        sources = [source for declared in found for source in declared.uses]
        return [*found, *(d for source in sources for d in self.explores.closure(source))]

    def _explore_closure(self, name: str) -> list[Declaration]:
        found = self.explores.closure(name)
        used = dict.fromkeys(view for declared in found for view in declared.uses)
        return [*found, *(d for view in used for d in self._view_closure(view))]

    def view(self, name: str) -> View | None:
        """The effective view; an unknown name gives None."""
        if name not in self._views:
            self._views[name] = self._made_view(name)
        return self._views[name]

    def _made_view(self, name: str) -> View | None:
        """Models that see the same declarations of a view share it."""
        key = (name in self.views.incomplete, *((d.path, d.index) for d in self.views.closure(name)))
        view = self.project.views.get(key)
        if view is None:
            node = self.views.effective(name)
            if node is None:
                return None
            view = make_view(node)
            view.is_complete = name not in self.views.incomplete
            self.project.views[key] = view
        return view

    def explore(self, name: str) -> Explore | None:
        """The effective explore; an unknown name gives None."""
        if name not in self._explores:
            node = self.explores.effective(name)
            self._explores[name] = _make_explore(self, node) if node else None
        return self._explores[name]

    @cached_property
    def aliases(self) -> frozenset[str]:
        """Every name that some explore gives to a view, whether the view exists or not."""
        return frozenset(alias for declared in self.declared("explore") for alias in declared.aliases)

    def all_explores(self) -> list[Explore]:
        """Every explore that is not only there to be extended."""
        found = [self.explore(name) for name in self.explores.roots]
        return [e for e in found if e and not e.is_required_extension]


def make_view(node: Node) -> View:
    """A View out of a merged node."""
    view = View(node.value, node)
    for child in node.all(*FIELD_KEYS):
        if child.key == "dimension_group":
            view.groups[child.value] = child
            for name, part in _parts(child):
                view.fields.setdefault(
                    name, Field(name, "dimension", view, child, child.text("type", "time"), child.value, part)
                )
        else:
            default = "count" if child.key == "measure" and not child.get("sql") else "string"
            view.fields.setdefault(
                child.value, Field(child.value, child.key, view, child, child.text("type", default))
            )
    return view


def _parts(node: Node) -> list[tuple[str, str]]:
    """(field name, timeframe or interval) of a dimension_group; those not listed exist when the list is left
    out."""
    if node.text("type", "time") == "duration":
        intervals = node.words("intervals") or DEFAULT_INTERVALS
        return [(f"{i}s_{node.value}", i) for i in intervals]
    return [(f"{node.value}_{t}", t) for t in (node.words("timeframes") or DEFAULT_TIMEFRAMES)]


def _make_explore(model: Model, node: Node) -> Explore:
    alias = node.text("view_name") or _own_or_inherited(model, node)
    explore = Explore(node.value, model, node, alias, node.text("from") or alias)
    for child in node.all("join"):
        explore.joins.append(
            Join(child.value, child.text("from") or child.text("view_name") or child.value, child)
        )
    for name, view_name in [(alias, explore.view_name), *((j.alias, j.view_name) for j in explore.joins)]:
        view = model.view(view_name)
        if view is not None:
            explore.views[name] = view
    return explore


def _own_or_inherited(model: Model, node: Node) -> str:
    """The view that an explore without view_name starts from: that of its own name; when there is none (and
    no `from`), the nearest extended explore's that is a view. Looker wants view_name there, but projects
    exist that leave it out."""
    name, seen = node.value, set[str]()
    while not node.get("from") and name not in model.views.roots and name not in seen:
        seen.add(name)
        root = model.explores.roots.get(name)
        bases = root.extends if root is not None else []
        if not bases:
            return node.value
        name = bases[-1]
    return node.value if node.get("from") or name not in model.views.roots else name


def models(project: Project) -> list[Model]:
    """Every model of the project, sorted by path."""
    found = []
    for path in sorted(project.model_paths()):
        files, findings = project.scope(path)
        outlines = [project.outline(p) for p in files]

        def node(declared: Declaration) -> Node:
            return project.trees[declared.path].children[declared.index]

        views = Family("view", (d for o in outlines for d in o.all("view")), node)
        explores = Family("explore", (d for o in outlines for d in o.all("explore")), node)
        name = PurePosixPath(path).name.split(".model.", 1)[0]
        found.append(Model(name, path, files, project, views, explores, findings))
    return found
