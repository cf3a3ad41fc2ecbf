"""A whole Looker door in memory: real store, blobs, git, compiler and engine. `work` stands for the runner:
it executes what the plan says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from runyard.dialects.looker import DIALECT
from runyard.engine import dispatch
from runyard.engine.ports import Tx
from runyard.http.auth import job_token, new_token
from runyard.http.services import Services
from runyard.model.plan import StepKind
from runyard.model.state import Outcome, Reason
from runyard.model.trigger import Push
from runyard.model.work import Artifact, Project, Runner
from tests.services import ROOT, services_of

BAKERY = Path(__file__).parents[2] / "projects" / "bakery"
T = TypeVar("T")


@dataclass
class House:
    """Everything a test talks to."""

    services: Services
    app: Any
    folder: Path
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    project_id: int = 0
    time: list[int] = field(default_factory=list)
    works: dict[str, Path] = field(default_factory=dict)

    def run(self, work: Awaitable[T]) -> T:
        async def all_of_it() -> T:
            return await work

        return self.loop.run_until_complete(all_of_it())

    def call(self, method: str, path: str, token: str | None = ROOT, **more: Any) -> httpx.Response:
        """One request; the path is sent as written."""
        headers = {**({"Authorization": f"token {token}"} if token else {}), **more.pop("headers", {})}
        full = path if path.startswith(("/api", "//")) else f"/api/4.0{path}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
                return await client.request(method, f"http://ci.test{full}", headers=headers, **more)

        return self.run(send())

    def ok(self, method: str, path: str, **more: Any) -> Any:
        answer = self.call(method, path, **more)
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.content else None

    def push(self, files: dict[str, str], path: str = "group/bakery") -> str:
        """A project whose main branch has exactly these files; returns the commit's sha."""
        work = self.folder / "work" / f"{path}-{len(list(self.folder.glob('work/*/*')))}"
        work.mkdir(parents=True)
        for name, text in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        for argv in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *argv], cwd=work, check=True)
        row = self.write(lambda tx: tx.add(Project(0, path, path.rpartition("/")[2])))
        self.services.source.create(row.id, "main")
        self.services.source.mirror(row.id, str(work))
        self.project_id = row.id
        self.works[path] = work
        return self._head(work)

    def commit(self, branch: str, changes: dict[str, str], path: str = "group/bakery") -> str:
        """One more commit on a branch (from main when it is new); returns its sha. Nothing hears of it."""
        work = self.works[path]
        known = subprocess.run(["git", "rev-parse", "-q", "--verify", branch], cwd=work, capture_output=True)
        argv = (
            ["git", "checkout", "-q", branch]
            if known.returncode == 0
            else ["git", "checkout", "-qb", branch, "main"]
        )
        subprocess.run(argv, cwd=work, check=True)
        for name, text in changes.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        for more in (["add", "-A"], ["commit", "-qm", "more"]):
            subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *more], cwd=work, check=True)
        row = self.read(lambda tx: tx.project_by_path(path))
        assert row is not None
        self.services.source.mirror(row.id, str(work))
        return self._head(work)

    def _head(self, work: Path) -> str:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=work, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def pushed(self, branch: str, sha: str, path: str = "group/bakery") -> list[int]:
        """As if this commit had just been pushed; returns the runs that it started."""
        row = self.read(lambda tx: tx.project_by_path(path))
        user = self.read(lambda tx: tx.user_by_name("root"))
        assert row is not None
        assert user is not None
        push = Push(row, user, branch, False, "0" * 40, sha)
        return [run.id for run in self.run(DIALECT.pushed(self.services, push))]

    def read(self, work: Callable[[Tx], T]) -> T:
        return self.services.db.submit_read(work).result()

    def write(self, work: Callable[[Tx], T]) -> T:
        return self.services.db.submit_write(work).result()

    def suite(self, **fields: Any) -> str:
        body = {"name": "nightly", **fields}
        return str(
            self.ok("POST", f"/projects/{self.project_id}/continuous_integration/suites", json=body)["id"]
        )

    def work(self, *, rewrite: Callable[[dict[str, Any]], Any] | None = None) -> list[str]:
        """Claims and executes every queued job as the plan says, without a sandbox; returns the jobs'
        logs."""
        services, terms, logs = self.services, self.services.terms, []
        runner = self.write(lambda tx: tx.add(Runner(0, new_token("h"), stock=False)))
        while True:
            claim = self.write(
                lambda tx: dispatch.claim(tx, runner, job_token, services.now(), terms, services.vault)
            )
            if claim is None:
                return logs
            folder = self.folder / f"attempt-{claim.attempt_id}"
            folder.mkdir()
            env = {**os.environ, **{v.key: v.value for v in claim.variables}}
            code = 0
            for step in claim.job.steps:
                if step.kind is StepKind.CHECKOUT:
                    into = folder / str(step.params.get("path") or "")
                    into.mkdir(parents=True, exist_ok=True)
                    home = int(step.params.get("project_id") or claim.project_id)
                    services.source.checkout(home, step.params["sha"], "", 1, into)
                elif step.kind is StepKind.RUN and code == 0:
                    done = subprocess.run(
                        list(step.argv), cwd=folder, env=env, capture_output=True, text=True
                    )
                    code = done.returncode
                    logs.append(done.stdout + done.stderr)
                elif step.kind is StepKind.UPLOAD:
                    self._upload(claim, step.params, folder, rewrite)
            outcome = Outcome.PASSED if code == 0 else Outcome.FAILED
            finish = dispatch.Finish(outcome, Reason.NONE if code == 0 else Reason.SCRIPT, exit_code=code)
            self.write(
                lambda tx, a=claim, f=finish: dispatch.finish(tx, a.attempt_id, a.token, f, services.now())
            )

    def _upload(self, claim: Any, params: Any, folder: Path, rewrite: Any) -> None:
        path = folder / params["paths"][0]
        if not path.exists():
            return
        if rewrite and path.suffix == ".json":
            path.write_text(json.dumps(rewrite(json.loads(path.read_text()))))
        ref = self.services.blobs.put_file(path)
        row = Artifact(
            0, claim.attempt_id, claim.run_id, claim.project_id, params["name"], params["type"], "raw", path.name,
            ref.size_bytes, ref.sha256, ref.key,
        )  # fmt: skip
        self.write(lambda tx: tx.add(row))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    services, time = services_of(DIALECT, tmp_path)
    made = House(services, DIALECT.mount(services), tmp_path, time=time)
    yield made
    made.loop.run_until_complete(made.loop.shutdown_default_executor())
    made.loop.close()
    services.db.close()


def bakery() -> dict[str, str]:
    """The example project's LookML."""
    return {p.relative_to(BAKERY).as_posix(): p.read_text() for p in BAKERY.rglob("*.lkml")}


@pytest.fixture(scope="session")
def bakery_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bakery as a DuckDB file."""
    spec = importlib.util.spec_from_file_location("make_database", BAKERY / "make_database.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_database"] = module
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("bakery") / "bakery.duckdb"
    module.main(str(path))
    return path
