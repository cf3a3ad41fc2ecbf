"""What every dialect promises, checked on all of them: total words, doors of their own, and nothing without a
token."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from runyard.app.vendors import DIALECTS, load_dialects
from runyard.dialects import Dialect, all_statuses
from runyard.model.errors import Invalid
from runyard.model.state import Outcome, State
from runyard.model.trigger import Commit, Trigger
from runyard.model.work import Project, User

ALL = load_dialects()


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return ALL[request.param]


class Folder:
    """The Files port over a dict."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> bytes | None:
        text = self.files.get(path)
        return None if text is None else text.encode("utf-8", "surrogateescape")

    def paths(self) -> list[str]:
        return sorted(self.files)

    def changed(self, base: str | None = None) -> frozenset[str] | None:
        return None


def test_every_status_has_a_word_and_no_word_is_for_nothing(dialect: Dialect) -> None:
    assert set(dialect.words.say) == set(all_statuses())
    assert all(isinstance(word, str) and word for word in dialect.words.say.values())


def test_a_word_that_is_said_is_understood_as_what_it_was_said_of(dialect: Dialect) -> None:
    for (state, outcome, _), word in dialect.words.say.items():
        heard = dialect.words.hear[word]
        assert any(s is state and (o is outcome or o is None) for s, o in heard), (word, state, outcome)


def test_what_is_heard_is_a_status(dialect: Dialect) -> None:
    said = set(dialect.words.say.values())
    for word, pairs in dialect.words.hear.items():
        assert pairs or word not in said, word  # a vendor's word for what cannot be here means nothing
        for state, outcome in pairs:
            assert isinstance(state, State)
            assert outcome is None or (isinstance(outcome, Outcome) and state is State.DONE)


def test_no_two_dialects_share_a_door() -> None:
    for one, other in itertools.combinations(ALL.values(), 2):
        for a in one.prefixes:
            for b in other.prefixes:
                assert not a.startswith(b)
                assert not b.startswith(a)


def test_a_tree_without_its_files_is_none_of_its_business(dialect: Dialect) -> None:
    assert list(dialect.entries(Folder({"README.md": "x"}))) == []


HOSTILE = {
    "deep flow": "[" * 100_000,
    "deep block": "\n".join(" " * i + "a:" for i in range(3000)),
    "billion laughs": "a: &a [x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)),
    "merge bomb": "a: &a {x: 1}\n"
    + "".join(f"b{i}: &b{i}\n  <<: [{'*a' if not i else f'*b{i - 1}, *b{i - 1}'}]\n" for i in range(27)),
    "own alias": "a: &a [*a]",
    "tabs": "job:\n\tscript: x",
    "nul": "job: \x00",
    "not utf-8": "job: \udcff",
    "twice": "job: {script: a}\njob: {script: b}\n",
    "python tag": "a: !!python/object/apply:os.system ['true']",
    "list": "- a\n- b\n",
    "empty": "",
    "ten megabytes": "a: " + "x" * 10_000_000,
    "long digits": "a: " + "9" * 5000,
    "anchors": "\n".join(f"k{i}: &a{i} 1" for i in range(20_000)),
}
ENTRY = {"gitlab": ".gitlab-ci.yml", "depot": ".depot/workflows/ci.yml"}


KEEPS_THE_LAST = (
    "gitlab",
    "twice",
)  # of a key that stands twice, as GitLab does: gitlab_config/test_includes.py


@pytest.mark.parametrize(
    ("vendor", "name"), [pair for pair in itertools.product(ENTRY, HOSTILE) if pair != KEEPS_THE_LAST]
)
@pytest.mark.timeout(20)
def test_hostile_files_are_refused_with_a_place(vendor: str, name: str) -> None:
    dialect, path = ALL[vendor], ENTRY[vendor]
    files: Any = Folder({path: HOSTILE[name]})
    trigger = Trigger(
        project=Project(1, "a/b"),
        dialect=vendor,
        source="api",
        ref="main",
        sha="0" * 40,
        actor=User(1, "root"),
        now=0,
        commit=Commit("0" * 40),
        options={"workflow": path},
    )
    with pytest.raises(Exception) as caught:
        dialect.compile(trigger, files)
    assert isinstance(caught.value, Invalid) or type(caught.value).__name__ == "TooLarge"
    problems = dialect.check(files, path)
    assert [p for p in problems if p.severity == "error"]
    assert all(p.file == path for p in problems)
