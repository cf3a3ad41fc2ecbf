"""Boards that the store keeps between transactions: never ahead of what is stored, never behind it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from runyard.engine import control
from runyard.engine.board import load
from runyard.engine.ports import Tx
from runyard.engine.trigger import accept
from runyard.model.errors import Conflict
from runyard.model.plan import JobPlan, Need, Plan, WorkflowPlan
from runyard.model.state import State
from runyard.model.work import Attempt, Project, User
from runyard.store.link import KeptRuns
from runyard.store.sqlite_database import SqliteDatabase, open_sqlite
from tests.engine.conftest import House

NOW = 1_700_000_000_000
PLAN = Plan((WorkflowPlan("w", jobs=(JobPlan("a", "a"), JobPlan("b", "b", needs=(Need("a"),)))),))


@pytest.fixture
def db() -> Iterator[SqliteDatabase]:
    database, _ = open_sqlite(None)
    yield database
    database.close()


def _accepted(db: SqliteDatabase, house: House) -> int:
    def work(tx: Tx) -> int:
        tx.add(User(0, "root"))
        project = tx.add(Project(0, "group/app", "app"))
        return accept(tx, replace(house.trigger(), project=project), PLAN, NOW, house.terms).id

    return db.submit_write(work).result()


def _states(tx: Tx, run_id: int) -> list[State]:
    return [node.attempt.state for node in load(tx, run_id, NOW).nodes.values()]


def test_a_work_that_fails_leaves_no_trace_on_the_board(db: SqliteDatabase, house: House) -> None:
    run_id = _accepted(db, house)

    def cancels_and_fails(tx: Tx) -> None:
        control.cancel_run(tx, run_id, NOW)
        assert _states(tx, run_id) == [State.DONE, State.DONE]
        raise Conflict("no")

    before = db.submit_write(lambda tx: _states(tx, run_id)).result()
    with pytest.raises(Conflict):
        db.submit_write(cancels_and_fails).result()
    assert db.submit_write(lambda tx: _states(tx, run_id)).result() == before == [State.QUEUED, State.WAITING]


def test_the_second_transaction_meets_the_first_ones_nodes_with_what_was_saved_since(
    db: SqliteDatabase, house: House
) -> None:
    run_id = _accepted(db, house)
    first = db.submit_write(lambda tx: load(tx, run_id, NOW)).result()

    def past_the_board(tx: Tx) -> None:
        attempt = next(iter(first.nodes.values())).attempt
        stored = tx.get(Attempt, attempt.id)
        assert stored is not None
        tx.save(replace(stored, message="seen"))

    db.submit_write(past_the_board).result()
    second = db.submit_write(lambda tx: load(tx, run_id, NOW)).result()
    assert second.nodes is first.nodes
    assert [node.attempt.message for node in second.nodes.values()] == ["seen", ""]


def test_readers_and_second_boards_of_one_transaction_read_for_themselves(
    db: SqliteDatabase, house: House
) -> None:
    run_id = _accepted(db, house)
    kept = db.submit_write(lambda tx: load(tx, run_id, NOW)).result()
    assert db.submit_read(lambda tx: load(tx, run_id, NOW)).result().nodes is not kept.nodes
    one, two = db.submit_write(lambda tx: (load(tx, run_id, NOW), load(tx, run_id, NOW))).result()
    assert one.nodes is kept.nodes
    assert two.nodes is not one.nodes
    assert db.submit_write(lambda tx: load(tx, run_id, NOW)).result().nodes is not one.nodes


def test_a_verb_goes_on_with_the_nodes_of_one_before_it_that_has_finished(
    db: SqliteDatabase, house: House
) -> None:
    run_id = _accepted(db, house)
    kept = db.submit_write(lambda tx: load(tx, run_id, NOW)).result()
    first = min(node.attempt.id for node in kept.nodes.values())

    def two_verbs(tx: Tx) -> list[State]:
        control.cancel_attempt(tx, first, NOW)
        control.retry(tx, first, NOW)
        board = load(tx, run_id, NOW)
        assert board.nodes is kept.nodes
        return [node.attempt.state for node in board.nodes.values()]

    assert db.submit_write(two_verbs).result() == [State.QUEUED, State.WAITING]
    assert db.submit_read(lambda tx: _states(tx, run_id)).result() == [State.QUEUED, State.WAITING]


def test_a_workflow_that_gets_jobs_is_read_again(db: SqliteDatabase, house: House) -> None:
    run_id = _accepted(db, house)
    kept = db.submit_write(lambda tx: load(tx, run_id, NOW)).result()

    def removed(tx: Tx) -> None:
        tx.remove(Attempt, max(node.attempt.id for node in kept.nodes.values()))

    db.submit_write(removed).result()
    assert len(db.submit_write(lambda tx: load(tx, run_id, NOW)).result().nodes) == 1


def test_a_row_of_a_kept_board_is_saved_by_what_changed(tmp_path: Path, house: House) -> None:
    database, _ = open_sqlite(tmp_path / "runyard.db")
    run_id = _accepted(database, house)
    first = min(
        node.attempt.id
        for node in database.submit_write(lambda tx: load(tx, run_id, NOW)).result().nodes.values()
    )
    with closing(sqlite3.connect(tmp_path / "runyard.db", isolation_level=None)) as beside:
        beside.execute("UPDATE attempts SET message = 'not ours' WHERE id = ?", (first,))
        database.submit_write(lambda tx: control.cancel_run(tx, run_id, NOW)).result()
        assert beside.execute("SELECT state, message FROM attempts WHERE id = ?", (first,)).fetchone() == (
            "done",
            "not ours",
        )
    database.close()


def test_an_attempt_that_is_not_the_latest_any_more_is_not_known_as_it_was() -> None:
    runs, latest = KeptRuns(), Attempt(7, job_id=1, run_id=3, project_id=1, number=1)
    runs.of(3)
    runs.read(3, [latest])
    assert runs.stored(latest) is latest
    runs.saved(replace(latest, latest=False))
    assert runs.stored(latest) is None
    newer = replace(latest, id=8, number=2)
    runs.saved(newer)
    assert runs.stored(newer) is newer
    runs.saved(replace(latest, latest=False))
    assert runs.stored(newer) is newer
    assert runs.stored(latest) is None
