"""A house with people in it: the real engine and store in memory, the pages on top, no runner and no
doors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runyard.app.first_start import ensure_root
from runyard.blobs import open_blobs
from runyard.dialects.gitlab.words import WORDS
from runyard.engine import dispatch
from runyard.engine.ports import Tx
from runyard.engine.terms import Terms
from runyard.engine.trigger import accept
from runyard.http.auth import new_token, resolver, signer
from runyard.http.services import Services
from runyard.model.plan import Gate, JobPlan, Need, Order, Plan, StepPlan, When, WorkflowPlan
from runyard.model.state import Outcome, Reason
from runyard.model.trigger import Trigger
from runyard.model.work import Project, Run, Runner, User
from runyard.settings import Settings
from runyard.sources.repositories import GitSource
from runyard.store import open_database
from runyard.store.vault import AesVault

TOKEN = "glpat-pages"
HOSTILE = "<img src=x onerror=alert(1)>"
LOG = (
    b"\x1b[32;1m$ make\x1b[0;m\nsection_start:1700000000:step_script\r\x1b[0K\x1b[36;1mRunning\x1b[0;m\n"
    b"<script>alert('log')</script>\n\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\\nsection_end:1700000009:step_script\r\x1b[0K\ndone\n"
)


@dataclass
class World:
    """What the tests look at."""

    services: Services
    run: Run
    attempts: dict[str, int]

    def write(self, work: Any) -> Any:
        return self.services.db.submit_write(work).result()

    def read(self, work: Any) -> Any:
        return self.services.db.submit_read(work).result()


def job(name: str, stage: int, *needs: str, **more: Any) -> JobPlan:
    titles = ("build", "test", "deploy")
    step = StepPlan(key="script", name="script", argv=("true",))
    wanted = tuple(Need(n) for n in needs)
    order = Order.NEEDS if needs else Order.STAGE
    gate = Gate(when=more.pop("when", When.ON_SUCCESS), order=order, question=more.pop("question", ""))
    return JobPlan(
        key=name,
        name=name,
        stage=titles[stage],
        stage_index=stage,
        steps=(step,),
        needs=wanted,
        gate=gate,
        **more,
    )


PLAN = Plan(
    workflows=(
        WorkflowPlan(
            key="main",
            jobs=(
                job("compile", 0),
                job(HOSTILE, 0, allow_failure=True),
                job("unit: [3.11]", 1, "compile"),
                job("unit: [3.12]", 1, "compile"),
                job("lint", 1),
                job("deploy", 2, when=When.MANUAL, question=f"Really? {HOSTILE}"),
            ),
        ),
    ),
    name=f"Night build {HOSTILE}",
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One project with one run: one job passed, one failed but may, two run, one waits, one needs a hand."""
    db, bell = open_database("sqlite://", tmp_path)
    clock = iter(range(1_700_000_000_000, 1_900_000_000_000, 1000))
    vault, terms = AesVault("key"), Terms()
    services = Services(
        settings=Settings(data=tmp_path),
        terms=terms,
        server=terms.server,
        db=db,
        bell=bell,
        blobs=open_blobs(tmp_path / "blobs"),
        source=GitSource(tmp_path / "repositories"),
        vault=vault,
        now=lambda: next(clock),
        new_token=new_token,
        principal=resolver(db, lambda: 1_700_000_000_000),
        start=None,  # type: ignore[arg-type]  # pages start nothing
        draft=None,  # type: ignore[arg-type]
        pushed=None,  # type: ignore[arg-type]
        words=lambda name: WORDS,
        sign=signer(b"key"),
    )

    def build(tx: Tx) -> tuple[Run, dict[str, int]]:
        root = ensure_root(tx, TOKEN, 1)
        project = tx.add(Project(id=0, path="team/app", name="app", created_at=1))
        trigger = Trigger(project, "gitlab", "push", "main", "a" * 40, root, services.now())
        run = accept(tx, trigger, PLAN, services.now(), terms)
        runner = tx.add(Runner(id=0, token_hash="x", description="built-in", stock=False))
        for number, outcome in enumerate((Outcome.PASSED, Outcome.FAILED, None, None)):
            token = f"t{number}"
            got = dispatch.claim(tx, runner, lambda _, t=token: t, services.now(), terms, vault)  # type: ignore[misc]
            assert got is not None
            dispatch.log(tx, got.attempt_id, token, 0, LOG, services.now(), terms)
            if outcome is not None:
                reason = Reason.SCRIPT if outcome is Outcome.FAILED else Reason.NONE
                end = dispatch.Finish(outcome, reason, message=HOSTILE if outcome is Outcome.FAILED else "")
                dispatch.finish(tx, got.attempt_id, token, end, services.now())
        fresh = tx.get(Run, run.id)
        assert fresh is not None
        return fresh, {j.name: a.id for j, a in tx.graph(run.id)}

    run, attempts = db.submit_write(build).result()
    yield World(services, run, attempts)
    db.close()


@pytest.fixture
def root(world: World) -> User:
    """The administrator."""
    found = world.read(lambda tx: tx.user_by_name("root"))
    assert isinstance(found, User)
    return found
