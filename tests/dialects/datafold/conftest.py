"""A Datafold door in memory: real store, blobs and engine; jobs are run right here, without a sandbox, by
calling their program."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import httpx
import pytest

from runyard.dialects.datafold import DIALECT
from runyard.dialects.datafold.rounds import look_after
from runyard.engine import dispatch
from runyard.engine.ports import Tx
from runyard.http.auth import job_token
from runyard.http.services import Services
from runyard.model.plan import StepKind
from runyard.model.state import Outcome, Reason
from runyard.model.work import Artifact, Project, Runner
from runyard.tasks.datadiff import ask
from runyard.tasks.datadiff.__main__ import main
from tests.services import ROOT, services_of

T = TypeVar("T")
PROGRAMS = {"runyard.tasks.datadiff": main, "runyard.tasks.datadiff.ask": ask.main}


@dataclass
class House:
    """Everything a test talks to."""

    services: Services
    app: Any
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    time: list[int]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def run(self, work: Awaitable[T]) -> T:
        async def all_of_it() -> T:
            return await work

        return self.loop.run_until_complete(all_of_it())

    def call(
        self, method: str, path: str, body: Any = None, key: str = f"Key {ROOT}", **more: Any
    ) -> httpx.Response:
        headers = {"Authorization": key} if key else {}
        if body is not None:
            more["content"] = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
                return await client.request(method, path, headers=headers, **more)

        return self.run(send())

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, f"/api/v1/{path}", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def warehouse(self, *statements: str, name: str = "warehouse") -> int:
        """A DuckDB file as a data source."""
        file = self.folder / f"{name}.duckdb"
        with duckdb.connect(str(file)) as c:
            for statement in statements:
                c.execute(statement)
        body = {"name": name, "type": "duckdb", "options": {"path": str(file)}}
        return int(self.ok("POST", "data_sources", body)["id"])

    def config(self, source: int, **more: Any) -> int:
        body = {"name": "shop", "repository": "data/shop", "data_source_id": source, **more}
        return int(self.ok("POST", "ci", body)["id"])

    def trigger(self, config: int, sha: str = "b" * 40, pr: int = 7) -> int:
        body = {"pr_number": pr, "pr_branch": "f", "base_branch": "main", "pr_sha": sha, "base_sha": "a" * 40}
        answer = self.ok("POST", f"ci/{config}/trigger", body)
        assert answer["ci_run_id"] == answer["run_id"]
        return int(answer["run_id"])

    def status(self, config: int, run: int) -> str:
        return next(r["status"] for r in self.ok("GET", f"ci/{config}/runs") if r["id"] == run)

    def work(self) -> int:
        """Runs every queued job to its end; returns how many."""
        done = 0
        while self._one_job():
            done += 1
        return done

    def _one_job(self) -> bool:
        services, now = self.services, self.services.now()
        runner = Runner(0, "", stock=False)
        given = services.db.submit_write(
            lambda tx: dispatch.claim(tx, runner, job_token, now, services.terms, services.vault)
        ).result()
        if given is None:
            return False
        folder = self.folder / f"job{given.attempt_id}"
        folder.mkdir()
        for variable in given.variables:
            self.monkeypatch.setenv(variable.key, variable.value)
        code = 0
        for step in given.job.steps:
            if step.kind is StepKind.RUN and not code:
                (folder / "spec.json").write_text(step.script or "")
                code = PROGRAMS[step.argv[3]](
                    ["--spec", str(folder / "spec.json"), "--out", str(folder / "datadiff")]
                )
        for step in given.job.steps:
            if step.kind is StepKind.UPLOAD:
                self._upload(given, step.params, folder)
        end = dispatch.Finish(
            Outcome.FAILED if code else Outcome.PASSED, Reason.SCRIPT if code else Reason.NONE, code
        )
        services.db.submit_write(
            lambda tx: dispatch.finish(tx, given.attempt_id, given.token, end, now)
        ).result()
        return True

    def _upload(self, given: Any, params: Any, folder: Path) -> None:
        path = folder / params["paths"][0]
        if not path.exists():
            return
        data = path.read_bytes()
        ref = self.services.blobs.put([data])
        row = Artifact(
            0, 0, 0, 0, params["name"], params["type"], params["format"], params["filename"], len(data), sha256(data).hexdigest(), ref.key
        )  # fmt: skip
        now = self.services.now()
        self.services.db.submit_write(
            lambda tx: dispatch.artifact(tx, given.attempt_id, given.token, row, now)
        ).result()

    def round(self) -> None:
        """What the door does without being asked."""
        self.run(look_after(self.services))

    def write(self, work: Callable[[Tx], T]) -> T:
        return self.services.db.submit_write(work).result()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    services, time = services_of(DIALECT, tmp_path)
    services.db.submit_write(lambda tx: tx.add(Project(0, "data/shop", "shop"))).result()
    made = House(services, DIALECT.mount(services), tmp_path, monkeypatch, time)
    yield made
    made.loop.run_until_complete(made.loop.shutdown_default_executor())
    made.loop.close()
    services.db.close()
