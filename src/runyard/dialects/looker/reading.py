"""LookML straight from a commit's tree, for requests that ask about it: parsed in a worker thread, under
budgets, the latest few kept.

A Reading is used by one thread at a time (`Reading.ask`): the model fills itself on demand. Nothing here runs
SQL. Called by the LookML routes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from runyard.dialects.looker.imports import Pinned
from runyard.engine.ports import Source
from runyard.model.errors import TooLarge
from runyard.model.trigger import Files
from runyard.tasks.lookml.language.model import Explore, Model, models
from runyard.tasks.lookml.language.project import Project as LookmlProject
from runyard.tasks.lookml.language.project import from_texts
from runyard.tasks.lookml.validators.content.exported import EXPORTS

T = TypeVar("T")
KEPT = 12
REMEMBERED = 10_000
TOO_DEEP = "This LookML nests too deeply to be read here; run it as a suite."
MAX_FILES = 20_000
MAX_BYTES = 64 << 20
SUFFIXES = (".lkml", ".lookml")
CONTENT = f"{EXPORTS}/"


@dataclass(eq=False)
class Reading:
    """One project at one commit with its imports. `texts` reads its files again, for whoever works on them
    elsewhere."""

    project: LookmlProject
    models: Sequence[Model]
    sha: str
    texts: Callable[[], dict[str, bytes]]
    memory: dict[str, object] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, work: Callable[[Reading], T]) -> T:
        """What `work` finds, in a worker thread, alone. Who waits holds no thread: the server has few of
        them."""
        async with self._lock:
            try:
                return await asyncio.to_thread(work, self)
            except (RecursionError, MemoryError):
                raise TooLarge(TOO_DEEP) from None

    async def text(self) -> dict[str, str]:
        """The files as JSON carries them."""
        found = await asyncio.to_thread(self.texts)
        return {path: data.decode("utf-8", "surrogateescape") for path, data in found.items()}

    def model(self, name: str) -> Model | None:
        """The model of that name."""
        return next((m for m in self.models if m.name == name), None)

    def explore(self, model: str, name: str) -> Explore | None:
        """The explore, if it can be queried by itself."""
        found = self.model(model)
        explore = found.explore(name) if found else None
        return explore if explore and not explore.is_required_extension else None


class Reader:
    """Readings by project, commit and imports; the least recently used go."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._kept: OrderedDict[tuple[object, ...], Reading] = OrderedDict()
        self._has_models: dict[tuple[int, str], bool] = {}
        # One reads at a time: parsing is all Python, more threads would only wait.
        self._lock = asyncio.Lock()

    def known(self, project_id: int, sha: str, look: Callable[[int, str], bool]) -> bool:
        """Whether the commit has models, asked of the tree once."""
        key = (project_id, sha)
        if key not in self._has_models:
            if len(self._has_models) >= REMEMBERED:
                self._has_models.clear()
            self._has_models[key] = look(project_id, sha)
        return self._has_models[key]

    async def read(self, project_id: int, sha: str, imports: Sequence[Pinned]) -> Reading:
        """The reading; TooLarge beyond the budgets."""
        key = (project_id, sha, *imports)
        if key not in self._kept:
            async with self._lock:
                if key not in self._kept:
                    self._kept[key] = await asyncio.to_thread(self._parse, project_id, sha, tuple(imports))
        self._kept.move_to_end(key)
        found = self._kept[key]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found

    def _gather(self, project_id: int, sha: str, imports: tuple[Pinned, ...]) -> dict[str, bytes]:
        places = [(project_id, sha, "")]
        places += [(i.project_id, i.sha, f"imported_projects/{i.name}/") for i in imports]
        texts: dict[str, bytes] = {}
        size_bytes = 0
        for home, commit, below in places:
            for path, data in _texts(self._source.files(home, commit), below):
                texts[path] = data
                size_bytes += len(data)
                if len(texts) > MAX_FILES or size_bytes > MAX_BYTES:
                    raise TooLarge("This project is too large to be read here; run it as a suite.")
        return dict(sorted(texts.items()))

    def _parse(self, project_id: int, sha: str, imports: tuple[Pinned, ...]) -> Reading:
        texts = partial(self._gather, project_id, sha, imports)
        try:
            project = from_texts(texts().items())
            return Reading(project, models(project), sha, texts)
        except (RecursionError, MemoryError):
            raise TooLarge(TOO_DEEP) from None


def _texts(files: Files, below: str) -> Iterator[tuple[str, bytes]]:
    """LookML files by path; one that is too large is left to the validators, which read from a checkout."""
    for path in files.paths():
        if path.endswith(SUFFIXES) or (path.endswith(".json") and path.startswith(CONTENT)):
            try:
                data = files.read(path)
            except TooLarge:
                continue
            if data is not None:
                yield below + path, data
