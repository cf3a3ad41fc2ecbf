"""docs/vocabulary.md: every status in every vendor's word, made from the dialects' own tables. `python -m
runyard.cli.vocabulary` writes it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from runyard.app.vendors import load_dialects
from runyard.dialects import Dialect, all_statuses

NOUNS = """# Vocabulary

One meaning each; the left column is the only spelling in code. Made by `python -m runyard.cli.vocabulary`.

| word | means | GitLab · Depot · Looker · Datafold |
|---|---|---|
| Project | a repository plus its dialect settings | project · repo · project · CI config's repository |
| Trigger | a request that something be run, before we agree | create pipeline · Run · create run · trigger |
| Plan | what a dialect compiled from text; pure data | - |
| Run | one accepted trigger | pipeline · run · CI run · CI run |
| Workflow | one file's or suite's worth of jobs inside a run | pipeline · workflow · suite run · - |
| Job | a named node of the graph; shows its latest attempt | job name · job · validator · data diff |
| Gate | what lets a job start once its needs are done | when/rules · if · - · - |
| Attempt | one try of one job; the only thing with a state machine | **job id** · attempt · - · - |
| Step | one process of an attempt | script section · step · - · - |
| Log | bytes of an attempt, append-only by offset | trace · logs · console · - |
| Artifact | a named blob that an attempt left; a *report* is one with a type the server reads | artifacts · artifact · result · diff result |
| Suite | which validators, which scope | - · - · CI suite · - |
| Runner | someone who may claim | runner · - · - · - |
| Lease | a runner's right to an attempt until a time | - |
| Bell | "something changed, look again"; carries no truth | - |
| Dialect | one vendor: compile, routes, words, shapes | - |
| Words | a dialect's status vocabulary, both directions, total | - |
| Blob | immutable bytes | - |

## Statuses

"""


def markdown(dialects: Mapping[str, Dialect]) -> str:
    """The whole page."""
    head = (
        "| status | "
        + " | ".join(d.title for d in dialects.values())
        + " |\n|---|"
        + "---|" * len(dialects)
        + "\n"
    )
    rows = []
    for status in all_statuses():
        state, outcome, hold = status
        name = " ".join(str(part) for part in (state, outcome, hold) if part)
        rows.append(
            f"| {name} | " + " | ".join(f"`{d.words.say[status]}`" for d in dialects.values()) + " |\n"
        )
    return NOUNS + head + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(markdown(load_dialects()))
