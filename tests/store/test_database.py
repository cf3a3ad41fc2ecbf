"""The Database and Bell ports: threads, group commit, crossing transactions, refusals."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest

from runyard.engine.ports import RunFilter
from runyard.engine.trigger import accept
from runyard.model.errors import Conflict, Unavailable
from runyard.model.plan import Plan, WorkflowPlan
from runyard.model.state import State
from runyard.model.trigger import Trigger
from runyard.model.work import Attempt, Project, Run, Runner, User
from runyard.store import open_database
from runyard.store.bell import LocalBell

ANY = Runner(0, "any", stock=False)


def queued(database: Any, made: Any, jobs: int, runs: int) -> None:
    def fill(tx: Any) -> None:
        for _ in range(runs):
            _, pairs = made.add_graph(tx, *[made.plan(f"j{i}") for i in range(jobs)])
            for job, attempt in pairs:
                tx.save(made.moved(attempt, State.QUEUED))
                tx.enqueue(attempt, job)

    database.submit_write(fill).result(30)


def claim(tx: Any) -> int | None:
    id: int | None = tx.next_queued(ANY)
    if id is not None:
        assert tx.get(Attempt, id).state is State.QUEUED
        tx.dequeue(id)
        tx.save(tx_running(tx, id))
    return id


def tx_running(tx: Any, id: int) -> Attempt:
    from dataclasses import replace

    return replace(tx.get(Attempt, id), state=State.RUNNING, lease_until_at=1)


@pytest.mark.parametrize(("jobs", "runs"), [(50, 1), (1, 50), (5, 10)])
def test_fifty_concurrent_claims_get_fifty_attempts(database: Any, made: Any, jobs: int, runs: int) -> None:
    db, _ = database
    queued(db, made, jobs, runs)
    claims = [db.submit_write(claim) for _ in range(60)]
    got = [c.result(60) for c in claims]
    found = [g for g in got if g is not None]
    assert len(found) == len(set(found)) == 50


def test_two_verbs_on_one_run_do_not_interleave(database: Any, made: Any) -> None:
    """Each reads a counter in the run and writes it back plus one; nothing may be lost."""
    from dataclasses import replace

    db, _ = database
    run, _ = db.submit_write(lambda tx: made.add_graph(tx, made.plan("a"))).result(30)

    def count(tx: Any) -> None:
        now = tx.get(Run, run.id)
        tx.graph(run.id)
        tx.save(replace(now, updated_at=now.updated_at + 1))

    wait([db.submit_write(count) for _ in range(100)], timeout=60)
    assert db.submit_read(lambda tx: tx.get(Run, run.id)).result(30).updated_at == 100


def test_runs_locked_in_opposite_order_both_finish(database: Any, made: Any) -> None:
    from dataclasses import replace

    db, _ = database
    ids = [db.submit_write(lambda tx: made.add_graph(tx, made.plan("a"))[0].id).result(30) for _ in range(2)]

    def both(order: list[int]) -> Any:
        def work(tx: Any) -> None:
            for id in order:
                run = tx.get(Run, id)
                time.sleep(0.02)
                tx.save(replace(run, updated_at=run.updated_at + 1))

        return work

    futures = [db.submit_write(both(ids if i % 2 else ids[::-1])) for i in range(6)]
    for future in futures:
        future.result(60)
    assert [db.submit_read(lambda tx, id=id: tx.get(Run, id)).result(30).updated_at for id in ids] == [6, 6]


def test_a_failing_work_rolls_back_only_itself(database: Any) -> None:
    db, _ = database
    gate = threading.Event()

    def slow(tx: Any) -> None:
        gate.wait(10)
        tx.add(User(0, "slow"))

    def bad(tx: Any) -> None:
        tx.add(User(0, "half"))
        raise ZeroDivisionError

    futures = [db.submit_write(w) for w in (slow, bad, lambda tx: tx.add(User(0, "good")))]
    gate.set()
    futures[0].result(10)
    with pytest.raises(ZeroDivisionError):
        futures[1].result(10)
    futures[2].result(10)
    names = db.submit_read(
        lambda tx: [tx.user_by_name(n) is not None for n in ("slow", "half", "good")]
    ).result(10)
    assert names == [True, False, True]


def test_ten_triggers_with_one_key_make_one_run(database: Any, made: Any) -> None:
    db, _ = database
    project = db.submit_write(lambda tx: made.add_project(tx)).result(10)

    def trigger(tx: Any) -> int:
        wish = Trigger(project, "gitlab", "api", "main", made.SHA, User(0, "who"), 1, idempotency_key="k")
        return accept(tx, wish, Plan((WorkflowPlan("w", "w", jobs=(made.plan("a"),)),)), 1).id

    ids = {f.result(30) for f in [db.submit_write(trigger) for _ in range(10)]}
    assert len(ids) == 1
    assert db.submit_read(lambda tx: tx.count_runs(RunFilter())).result(10) == 1


def test_numbers_are_counted_without_gap_or_double(database: Any, made: Any) -> None:
    db, _ = database
    project = db.submit_write(lambda tx: made.add_project(tx)).result(10)
    futures = [db.submit_write(lambda tx: tx.next_number(project.id)) for _ in range(40)]
    assert sorted(f.result(30) for f in futures) == list(range(1, 41))


def test_handlers_await_and_the_bell_wakes_them_after_the_commit(database: Any) -> None:
    db, bell = database

    async def main() -> None:
        seen = bell.version("runs")
        waiting = asyncio.ensure_future(bell.changed("runs", seen, 10))
        in_thread = asyncio.ensure_future(asyncio.to_thread(bell.wait, "runs", seen, 10))
        other = asyncio.ensure_future(bell.changed("queue", bell.version("queue"), 0.3))
        await asyncio.sleep(0.05)

        def work(tx: Any) -> Project:
            tx.ring("runs")
            return tx.add(Project(0, "a/b"))

        project = await db.write(work)
        assert await waiting != seen
        assert await in_thread != seen
        assert await db.read(lambda tx: tx.get(Project, project.id)) == project
        await other
        with pytest.raises(ZeroDivisionError):
            await db.write(lambda tx: 1 // 0)

    asyncio.run(main())


def test_a_glance_sees_what_was_acknowledged_and_writes_nothing(database: Any) -> None:
    db, _ = database

    async def use() -> None:
        user = await db.write(lambda tx: tx.add(User(0, "ada")))
        before = db.version()
        assert await db.glance(lambda tx: tx.get(User, user.id)) == user
        with pytest.raises(ZeroDivisionError):
            await db.glance(lambda tx: 1 // 0)
        with pytest.raises(Unavailable):
            await db.glance(lambda tx: tx.add(User(0, "eve")))
        assert await db.glance(lambda tx: tx.user_by_name("eve")) is None
        assert db.version() == before

    asyncio.run(use())


def test_a_rolled_back_work_rings_nothing(database: Any) -> None:
    db, bell = database
    time.sleep(0.3)
    seen = bell.version("runs")

    def work(tx: Any) -> None:
        tx.ring("runs")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        db.submit_write(work).result(10)
    assert bell.wait("runs", seen, 0.1) == seen


def test_after_close_work_is_refused_and_close_may_be_repeated(database_url: str, tmp_path: Path) -> None:
    db, _ = open_database(database_url, tmp_path)
    before = db.submit_write(lambda tx: tx.add(User(0, "a")))
    db.close()
    db.close()
    assert before.result(0).id
    for late in (db.submit_write(lambda tx: None), db.submit_read(lambda tx: None)):
        with pytest.raises(Unavailable):
            late.result(5)


def test_a_bell_forgets_old_topics_without_losing_a_ring() -> None:
    bell = LocalBell(topics_kept=10)
    seen = bell.version("run:1")
    bell.ring(["run:1"])
    rung = bell.version("run:1")
    assert rung != seen
    for i in range(2, 100):
        bell.ring([f"run:{i}"])
    assert bell.version("run:1") >= rung
    assert bell.wait("run:1", seen, 5) != seen
    assert bell.version("run:99") == bell.version("run:99")


def test_nobody_waits_for_a_bell_that_is_closed() -> None:
    bell = LocalBell()

    async def wait(seen: int) -> None:
        await bell.changed("queue", seen, 60)

    async def all_of_it() -> float:
        begun = time.monotonic()
        early = asyncio.create_task(wait(bell.version("queue")))
        await asyncio.sleep(0.05)
        bell.close()
        for waits in (early, wait(bell.version("queue"))):
            with pytest.raises(Unavailable):
                await waits
        return time.monotonic() - begun

    assert asyncio.run(all_of_it()) < 30


def test_a_second_server_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    import os

    db, _ = open_database("", tmp_path)
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        open_database("", tmp_path)
    db.close()
    open_database("", tmp_path)[0].close()


def test_files_that_are_no_database_and_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runyard.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(Unavailable):
        open_database("", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        open_database("", tmp_path / "file")


@pytest.mark.postgres
def test_replicas_hear_each_others_bells(fresh_postgres_url: str, tmp_path: Path) -> None:
    one, _ = open_database(fresh_postgres_url, tmp_path)
    two, heard = open_database(fresh_postgres_url, tmp_path)
    try:
        time.sleep(0.5)
        topic = "run:7"
        seen = heard.version(topic)
        one.submit_write(lambda tx: tx.ring(topic)).result(10)
        assert heard.wait(topic, seen, 10) != seen
    finally:
        one.close()
        two.close()


@pytest.mark.postgres
def test_a_database_that_goes_away_is_unavailable_and_comes_back(
    postgres_cluster: Any, fresh_postgres_url: str, tmp_path: Path
) -> None:
    db, bell = open_database(fresh_postgres_url, tmp_path)
    try:
        db.submit_write(lambda tx: tx.add(User(0, "before"))).result(10)
        seen = bell.version("never rung")
        postgres_cluster.stop()
        with pytest.raises(Unavailable) as caught:
            db.submit_write(lambda tx: tx.add(User(0, "meanwhile"))).result(30)
        assert caught.value.retry_after_s
        postgres_cluster.start()
        db.submit_write(lambda tx: tx.add(User(0, "after"))).result(30)
        found = db.submit_read(
            lambda tx: [tx.user_by_name(n) for n in ("before", "meanwhile", "after")]
        ).result(30)
        assert [u is not None for u in found] == [True, False, True]
        assert bell.wait("never rung", seen, 15) != seen
    finally:
        if postgres_cluster.process is None:
            postgres_cluster.start()
        db.close()


@pytest.mark.postgres
def test_a_postgres_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        open_database("postgresql://nobody@127.0.0.1:9/none", tmp_path)
