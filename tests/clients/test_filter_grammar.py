"""Filter expressions beside Looker's own published grammars (npm `@looker/filter-expressions` 1.0.4): the
same 137 cases, and all that those accept.

The texts that only we accept differ in white space, in capitals or have user attributes in them; they are not
held against us.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runyard.tasks.lookml.sql.filters import problem
from tests.tasks.lookml.test_filters import DATES, NUMBERS, STRINGS, table

pytestmark = pytest.mark.client

HERE = Path(__file__).parents[2] / ".clients"
OURS = {
    "date": [text for text, _ in table(DATES)],
    "number": [text for text, *_ in NUMBERS],
    "string": [text for text, *_ in STRINGS],
}


@pytest.fixture(scope="module")
def asked() -> dict[str, list[str]]:
    """The cases, two of them with a comma between, and some with a letter less or a blank more."""
    rng = random.Random(4)
    found = {}
    for kind, cases in OURS.items():
        texts = list(cases)
        for _ in range(400):
            text = rng.choice(cases)
            match rng.randrange(4):
                case 0 | 1:
                    text += ", " + rng.choice(cases)
                case 2 if text:
                    at = rng.randrange(len(text))
                    text = text[:at] + text[at + 1 :]
                case _:
                    text = text.upper() + " "
            texts.append(text)
        found[kind] = texts
    return found


@pytest.fixture(scope="module")
def published(asked: dict[str, list[str]]) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules/@looker/filter-expressions").exists():
        pytest.skip("LOUD: Looker's published grammars were NOT compared with: run `make clients`")
    script = Path(__file__).with_name("filter_grammar.cjs")
    argv = [node, str(script), str(HERE)]
    done = subprocess.run(argv, input=json.dumps(asked), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", OURS)
def test_our_cases_are_the_published_ones(published: dict[str, Any], kind: str) -> None:
    assert sorted(t.strip() for t in published[kind]["published"]) == sorted(t.strip() for t in OURS[kind])


@pytest.mark.parametrize("kind", OURS)
def test_what_the_published_grammar_accepts_we_accept(
    published: dict[str, Any], asked: dict[str, list[str]], kind: str
) -> None:
    accepted = [t for t, parsed in zip(asked[kind], published[kind]["parsed"], strict=True) if parsed]
    assert len(accepted) > 200
    assert [(t, problem(kind, t)) for t in accepted if problem(kind, t)] == []
