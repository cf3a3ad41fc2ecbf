"""Holds dashboards and Looks against the models: every model, explore, field and filter that they name must
exist. Entry: `validate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from runyard.tasks.lookml.language.files import IMPORTED
from runyard.tasks.lookml.language.findings import hinted, nearest
from runyard.tasks.lookml.language.model import Explore, Model
from runyard.tasks.lookml.language.project import Project
from runyard.tasks.lookml.validators.content.exported import EXPORTS, contents
from runyard.tasks.lookml.validators.content.items import (
    DASHBOARD,
    Asked,
    Broken,
    Content,
    Element,
    Folder,
    Folders,
    Name,
)
from runyard.tasks.lookml.validators.content.lookml import SUFFIXES, dashboards
from runyard.tasks.lookml.validators.selection import Selection

MAX_ERRORS = 2000


@dataclass(frozen=True, slots=True)
class ContentError:
    """One broken name. `content_type` is dashboard or look, `element_type` dashboard_element,
    dashboard_filter or look."""

    message: str
    field: str = ""
    suggestion: str = ""
    content_type: str = ""
    content_id: str = ""
    title: str = ""
    folder: str = ""
    folder_id: str = ""
    element_type: str = ""
    element: str = ""
    file: str = ""
    line: int = 0

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for the same error of two trees, wherever its line went."""
        return (
            self.message,
            self.field,
            self.content_type,
            self.content_id,
            self.element_type,
            self.element,
            self.file,
        )


@dataclass(slots=True)
class TriedContent:
    """The content of one explore. `elements` counts what was held against it."""

    model: str
    explore: str
    status: str = "passed"
    skip_reason: str = ""
    problem: str = ""
    elements: int = 0
    errors: list[ContentError] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ContentOptions:
    """As in a suite; folders are ids."""

    selection: Selection = field(default_factory=Selection)
    include_folders: tuple[str, ...] = ()
    exclude_folders: tuple[str, ...] = ()
    exclude_personal: bool = False
    folder: str = ""  # where exports lie, relative to the project


@dataclass
class Library:
    """All content of a project."""

    items: list[Content] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)


def library(project: Project, folder: str = "") -> Library:
    """Reads the project's dashboards, and what was exported into it."""
    found = Library()
    exports = f"{folder.strip('/') or EXPORTS}/"
    for path in project.others:
        is_dashboard = path.endswith(SUFFIXES) and not path.startswith(IMPORTED)
        if is_dashboard or (path.endswith(".json") and path.startswith(exports)):
            _read(project, path, found, is_dashboard=is_dashboard)
    return found


def _read(project: Project, path: str, found: Library, *, is_dashboard: bool) -> None:
    text = project.text_of(path)
    if text is None:
        found.broken.append(Broken(path, 1, "it is too large, or not UTF-8"))
        return
    folders: list[Folder] = []
    if is_dashboard:
        items, broken = dashboards(text, path, project.constants)
    else:
        items, folders, broken = contents(text, path)
    found.items += items
    found.broken += broken
    for one in folders:
        known = found.folders.get(one.id)
        if one.id and (known is None or (one.parent_id and not known.parent_id)):
            found.folders[one.id] = one


def validate(project: Project, models: Sequence[Model], options: ContentOptions) -> list[TriedContent]:
    """One result per selected explore, and one per unknown model or explore that content names, sorted by
    name."""
    return hold(library(project, options.folder), models, options)


def hold(known: Library, models: Sequence[Model], options: ContentOptions) -> list[TriedContent]:
    """The same for content that is already read."""
    explores = [e for m in models for e in m.all_explores() if options.selection.lets(m.name, e.name)]
    found = {
        (e.model.name, e.name): TriedContent(e.model.name, e.name, "skipped", "no_content") for e in explores
    }
    check = _Check(models, options, found)
    folders = Folders(known.folders)
    for item in known.items:
        if folders.lets(
            item.folder,
            options.include_folders,
            options.exclude_folders,
            no_personal=options.exclude_personal,
        ):
            check.content(item, known.items)
    for broken in known.broken:
        check.add(
            "", "", ContentError(broken.message, file=broken.file, line=broken.line, content_type=DASHBOARD)
        )
    return sorted(found.values(), key=lambda t: (t.model, t.explore))


class _Check:
    """Collects errors under the explore that they belong to."""

    def __init__(
        self, models: Sequence[Model], options: ContentOptions, found: dict[tuple[str, str], TriedContent]
    ) -> None:
        self.models = {m.name: m for m in models}
        self.options = options
        self.found = found
        self.count = 0
        self._visible: dict[Explore, frozenset[str]] = {}

    def add(self, model: str, explore: str, error: ContentError) -> None:
        self.count += 1
        if self.count <= MAX_ERRORS and (not model or self.options.selection.lets(model, explore)):
            tried = self.found.setdefault((model, explore), TriedContent(model, explore))
            tried.errors.append(error)
            tried.status, tried.skip_reason = "failed", ""

    def content(self, item: Content, all_items: Sequence[Content]) -> None:
        filters = set(item.filters)
        for base in item.bases:
            others = {c.id: c for c in all_items if c.type == DASHBOARD and not c.is_exported}
            if base.text not in others:
                message = f'Unknown dashboard "{base.text}" in extends'
                self.add("", "", _error(item, None, base, message, nearest(base.text, others)))
            else:
                filters |= others[base.text].filters
        for element in item.elements:
            for asked in element.asked:
                self.asked(item, element, asked)
            for name in element.listens:
                if name.text not in filters and not item.bases:
                    first = element.asked[0] if element.asked else Asked("", "", 0)
                    message = f'Unknown dashboard filter "{name.text}" in {name.role}'
                    self.add(
                        first.model,
                        first.explore,
                        _error(item, element, name, message, nearest(name.text, filters)),
                    )

    def asked(self, item: Content, element: Element, asked: Asked) -> None:
        here = Name(asked.explore, "explore", asked.line)
        # Dashboards of packages leave the model to the project that includes them.
        owner = next((m for m in self.models.values() if m.explore(asked.explore) is not None), None)
        model = self.models.get(asked.model) if asked.model else owner
        if model is None:
            # Exports come from a whole instance; another project's models are not ours to judge.
            if not item.is_exported:
                message = (
                    f'Unknown model "{asked.model}"'
                    if asked.model
                    else f'No model has an explore "{asked.explore}"'
                )
                self.add(
                    asked.model,
                    asked.explore,
                    _error(item, element, here, message, nearest(asked.model, self.models)),
                )
            return
        explore = model.explore(asked.explore)
        if explore is None or explore.is_required_extension:
            message = f'Unknown explore "{asked.explore}" in model "{model.name}"'
            guess = nearest(asked.explore, [e.name for e in model.all_explores()])
            self.add(model.name, asked.explore, _error(item, element, here, message, guess))
            return
        tried = self.found.get((model.name, explore.name))
        if tried is not None:
            tried.elements += 1
            if tried.status == "skipped":
                tried.status, tried.skip_reason = "passed", ""
        for error in self.names(item, element, asked, explore):
            self.add(model.name, explore.name, error)

    def names(
        self, item: Content, element: Element, asked: Asked, explore: Explore
    ) -> Iterator[ContentError]:
        """A field that is wrong in several places of a tile is told once."""
        if explore not in self._visible:
            self._visible[explore] = frozenset(f"{alias}.{f.name}" for alias, f in explore.visible())
        visible, seen = self._visible[explore], set[str]()
        for name in asked.names:
            full = name.text if "." in name.text or name.text in asked.own else f"{explore.alias}.{name.text}"
            if (
                full in visible
                or full in asked.own
                or full in seen
                or explore.is_open(full.rpartition(".")[0])
            ):
                continue
            seen.add(full)
            hidden = " (it is not in the explore's fields)" if explore.find(full) is not None else ""
            yield _error(
                item,
                element,
                name,
                f'Unknown field "{name.text}" in {name.role}{hidden}',
                _guess(full, asked, explore, visible),
            )


def _guess(name: str, asked: Asked, explore: Explore, visible: frozenset[str]) -> str:
    """For a whole dimension_group one of its fields, else the nearest name: of the same view, of the tile's
    own, of the explore."""
    owner, _, short = name.rpartition(".")
    same = [n for n in sorted(visible) if n.rpartition(".")[0] == owner]
    view = explore.views.get(owner)
    if view is not None and short in view.groups:
        return next((n for n in same if view.fields[n.rpartition(".")[2]].group == short), "")
    guess = nearest(short, [n.rpartition(".")[2] for n in same])
    return nearest(short, asked.own) or (
        f"{owner}.{guess}" if guess else nearest(name, chain(sorted(visible), explore.views))
    )


def _error(item: Content, element: Element | None, name: Name, message: str, suggestion: str) -> ContentError:
    return ContentError(
        hinted(f"{message}.", suggestion), name.text, suggestion, item.type, item.id, item.title, item.folder.name, item.folder.id,
        element.type if element else "", element.title if element else "", item.file, name.line,
    )  # fmt: skip


def new_ones(found: Sequence[TriedContent], target: Sequence[TriedContent]) -> list[TriedContent]:
    """The results without the errors that the target branch has as well."""
    before = {e.identity for t in target for e in t.errors}
    for tried in found:
        had = bool(tried.errors)
        tried.errors = [e for e in tried.errors if e.identity not in before]
        if had and not tried.errors:
            tried.status = "passed"
    return [t for t in found if t.errors or t.elements or t.status == "skipped"]
