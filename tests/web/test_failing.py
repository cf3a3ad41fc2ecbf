"""A failed run says why on its own page: the lines that tell, of the jobs that count, and nothing that a log
could do to the page."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from runyard.engine import dispatch
from runyard.engine.ports import Tx
from runyard.engine.terms import Terms
from runyard.engine.views import log_size
from runyard.model.state import Outcome, Reason, State
from runyard.web.failing import LINE_CHARS, MOST_LINES, Failure, failures
from runyard.web.routes import site
from tests.web.conftest import HOSTILE, TOKEN, World

NOISE = "".join(f"ok {number}\n" for number in range(20_000))  # more than is looked at


def fail(world: World, log: str) -> list[Failure]:
    """What is told after the first running job has written this and failed."""

    def end(tx: Tx) -> None:
        attempt = min((a for _, a in tx.graph(world.run.id) if a.state is State.RUNNING), key=lambda a: a.id)
        now, told = world.services.now(), dispatch.Finish(Outcome.FAILED, Reason.SCRIPT, 1)
        dispatch.log(tx, attempt.id, "t2", log_size(attempt), log.encode(), now, Terms())
        dispatch.finish(tx, attempt.id, "t2", told, now)

    def look(tx: Tx) -> list[Failure]:
        members = [(job, attempt, "") for job, attempt in tx.graph(world.run.id)]
        return failures(tx, world.services.blobs, members)

    world.write(end)
    found: list[Failure] = world.read(look)
    return found


def test_what_counts_comes_before_what_may_fail(world: World) -> None:
    found = fail(world, "cc main.c\nmain.c:3:1: error: expected ';'\nmake: *** [all] Error 1\n")
    assert [one.attempt.tolerated for one in found] == [False, True]
    assert found[0].lines == ["main.c:3:1: error: expected ';'"]
    assert found[1].job.name == HOSTILE


def test_the_end_of_a_long_log_is_enough(world: World) -> None:
    assert fail(world, NOISE + "ValueError: no\n")[0].lines == ["ValueError: no"]


def test_without_a_telling_line_the_last_ones_are_shown_and_few(world: World) -> None:
    lines = fail(world, NOISE)[0].lines
    assert lines == [f"ok {number}" for number in range(20_000 - MOST_LINES, 20_000)]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mError: red\x1b[0m\n", "Error: red"),
        ("2026-11-21T20:35:31.143087Z 01E Error: stamped\n", "Error: stamped"),
        ("##[error]Error: marked\n##[error]Process completed with exit code 1.\n", "Error: marked"),
        ("Error: \u202egnp.exe\n", r"Error: \u202egnp.exe"),
        ("Error: " + "x" * 5000 + "\n", "Error: " + "x" * (LINE_CHARS - 7)),
        ("Error: no newline", "Error: no newline"),
    ],
)
def test_a_line_is_text(world: World, written: str, shown: str) -> None:
    assert fail(world, written)[0].lines[-1] == shown


def test_the_page_shows_it_and_escapes_it(world: World) -> None:
    fail(world, "Error: <script>alert(1)</script>\n")
    with TestClient(site(world.services, ["gitlab"]), base_url="http://runyard.test") as client:
        client.post("/sign-in", data={"token": TOKEN})
        html = client.get(f"/team/app/-/pipelines/{world.run.id}").text
    assert "Error: &lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script>alert" not in html
    assert html.count('<details class="failure') == 2
