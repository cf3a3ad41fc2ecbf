"""Polled answers are kept exactly as long as nothing was written, for who asked the same with the same credentials."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.dialects.depot import recent
from runyard.engine import views
from runyard.engine.ports import Tx
from runyard.model.work import Token
from tests.dialects.depot_routes.conftest import House
from tests.services import PLAIN


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every look at a run's tree."""
    seen: list[int] = []
    real = views.run_tree

    def counted(tx: Tx, run_id: int) -> Any:
        seen.append(run_id)
        return real(tx, run_id)

    monkeypatch.setattr(views, "run_tree", counted)
    return seen


def test_an_answer_is_used_again_until_something_is_written(house: House, looks: list[int]) -> None:
    house.project()
    run = house.start()
    first = house.call("GetRunStatus", {"runId": run})
    again = house.call("GetRunStatus", {"runId": run})
    assert first.content == again.content and first.headers == again.headers and len(looks) == 1
    job = house.claim()
    assert house.get("GetRunStatus", {"runId": run})["status"] == "running" and len(looks) == 2
    house.finish(job)
    assert house.jobs(run)["ci.yml:build"]["status"] == "finished" and len(looks) == 3


def test_nobody_gets_what_was_kept_for_somebody_else(house: House, looks: list[int]) -> None:
    house.project()
    run = house.start()
    house.get("GetRunStatus", {"runId": run})
    assert house.call("GetRunStatus", {"runId": run}, token=PLAIN).json()["code"] == "not_found"
    assert house.call("GetRunStatus", {"runId": run}, token=None).status_code == 401
    assert house.call("GetRunStatus", {"runId": run}, token="wrong").status_code == 401
    binary = house.request(
        "POST",
        "/depot.ci.v1.CIService/GetRunStatus",
        content=b"\n\x0a" + run.encode(),
        headers={"content-type": "application/proto"},
    )
    assert binary.headers["content-type"] == "application/proto" and run.encode() in binary.content


def test_a_token_that_expires_opens_nothing_a_second_later(house: House) -> None:
    house.project()
    run = house.start()
    token = house.write(lambda tx: tx.get(Token, 1))
    assert token is not None
    from dataclasses import replace

    house.write(lambda tx: tx.save(replace(token, expires_at=house.time[0] + 100)))
    assert house.call("GetRunStatus", {"runId": run}).status_code == 200
    house.time[0] += recent.LIFE_MS + 1
    assert house.call("GetRunStatus", {"runId": run}).status_code == 401


def test_refusals_are_not_kept_and_large_requests_pass(house: House, looks: list[int]) -> None:
    house.project()
    run = house.start()
    for _ in range(2):
        assert house.refused("GetRunStatus", {"runId": "0000000000"})[1] == "not_found"
    padded = {"runId": run, "unknown": "x" * 5000}
    for _ in range(2):
        assert house.call("GetRunStatus", padded).status_code == 200
    assert len(looks) == 2


def test_only_so_many_answers_are_kept(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST", 2)
    house.project()
    run = house.start()
    for n in range(5):
        house.get("GetRunStatus", {"runId": run, "n": n})
    assert len(house.app._app._kept if hasattr(house.app, "_app") else house.app._kept) == 2
