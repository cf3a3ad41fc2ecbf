"""A repository and a trigger made of plain values, for compiling without git."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from runyard.model.trigger import ZERO_SHA, Commit, Trigger
from runyard.model.work import Project, User

SHA = "a1b2c3d4" * 5


@dataclass(frozen=True)
class Tree:
    """`Files` over a dict; `diff` None is an unknown difference."""

    texts: Mapping[str, str | bytes] = field(default_factory=dict)
    diff: frozenset[str] | None = None
    diffs: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        text = self.texts.get(path)
        return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text

    def paths(self) -> Sequence[str]:
        return sorted(self.texts)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return self.diff if base is None else self.diffs.get(base)


def make_trigger(**changes: object) -> Trigger:
    values: dict[str, object] = {
        "project": Project(7, "group/sub/app", "App"),
        "dialect": "gitlab",
        "source": "push",
        "ref": "main",
        "sha": SHA,
        "actor": User(3, "ada", "Ada L", "ada@example.com"),
        "now": 1_700_000_000_000,
        "before_sha": ZERO_SHA,
        "commit": Commit(SHA, "Title here\n\nBody", author_name="Ada", author_email="ada@example.com"),
    }
    return Trigger(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def tree() -> type[Tree]:
    return Tree


@pytest.fixture
def trigger() -> Callable[..., Trigger]:
    return make_trigger
