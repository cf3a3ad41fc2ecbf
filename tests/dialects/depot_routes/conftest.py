"""A whole Depot door in memory: real store, blobs, git, compiler and engine; a runner that a test moves by
hand."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from runyard.dialects.depot import DIALECT
from runyard.engine import dispatch
from runyard.engine.ports import Tx
from runyard.http.auth import job_token
from runyard.http.projects import create_project
from runyard.http.services import Services
from runyard.model.plan import Assignment
from runyard.model.state import Outcome, State
from runyard.model.work import Artifact, Runner, Step
from tests.services import ROOT, services_of

T = TypeVar("T")

WORKFLOW = """
name: CI
on: [push, workflow_dispatch]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - {id: first, name: First, run: echo 1}
      - {name: Second, run: echo 2}
  test:
    needs: build
    runs-on: ubuntu-latest
    steps: [{run: echo 3}]
"""


@dataclass
class House:
    """Everything a test talks to."""

    services: Services
    app: Any
    folder: Path
    runner: Runner
    time: list[int]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def run(self, work: Awaitable[T]) -> T:
        async def all_of_it() -> T:
            return await work

        return self.loop.run_until_complete(all_of_it())

    def request(self, method: str, path: str, token: str | None = ROOT, **more: Any) -> httpx.Response:
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
                return await client.request(method, path, headers=headers, **more)

        return self.run(send())

    def call(self, method: str, body: Any = None, token: str | None = ROOT) -> httpx.Response:
        """One unary JSON call."""
        return self.request("POST", f"/depot.ci.v1.CIService/{method}", token, json=body or {})

    def get(self, method: str, body: Any = None) -> Any:
        answer = self.call(method, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, method: str, body: Any = None) -> tuple[int, str, str]:
        """(status, code, message) of a refused call."""
        answer = self.call(method, body)
        assert answer.headers["content-type"].startswith("application/json")
        return answer.status_code, answer.json()["code"], answer.json().get("message", "")

    def stream(self, method: str, body: Any) -> tuple[list[Any], Any]:
        """(messages, end-of-stream object) of a server stream over Connect JSON."""
        data = json.dumps(body).encode()
        answer = self.request(
            "POST",
            f"/depot.ci.v1.CIService/{method}",
            content=b"\0" + struct.pack(">I", len(data)) + data,
            headers={"content-type": "application/connect+json"},
        )
        assert answer.status_code == 200
        messages, rest = [], answer.content
        while rest:
            flags, size = rest[0], struct.unpack(">I", rest[1:5])[0]
            frame = json.loads(rest[5 : 5 + size])
            if flags & 2:
                return messages, frame
            messages.append(frame)
            rest = rest[5 + size :]
        raise AssertionError("the stream has no end")

    def write(self, work: Callable[[Tx], T]) -> T:
        return self.services.db.submit_write(work).result()

    def project(self, path: str = "group/demo", workflow: str = WORKFLOW) -> int:
        work = self.folder / "work" / path
        (work / ".depot/workflows").mkdir(parents=True)
        (work / ".depot/workflows/ci.yml").write_text(workflow)
        for argv in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "first"]):
            subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b", *argv], cwd=work, check=True)
        services = self.services
        made = create_project(services.db, services.source, services.now, path, import_url=str(work))
        return self.run(made).id

    def start(self, **body: Any) -> str:
        return str(
            self.get("Run", {"repo": "group/demo", "workflow": ".depot/workflows/ci.yml", **body})["runId"]
        )

    def jobs(self, run: str) -> dict[str, Any]:
        """The run's jobs by key."""
        tree = self.get("GetRunStatus", {"runId": run})
        return {job["jobKey"]: job for flow in tree["workflows"] for job in flow["jobs"]}

    def claim(self) -> Assignment:
        services = self.services
        found = self.write(
            lambda tx: dispatch.claim(
                tx, self.runner, job_token, services.now(), services.terms, services.vault
            )
        )
        assert found is not None
        return found

    def say(self, job: Assignment, text: bytes, offset: int) -> None:
        now, terms = self.services.now(), self.services.terms
        self.write(lambda tx: dispatch.log(tx, job.attempt_id, job.token, offset, text, now, terms))

    def step(
        self, job: Assignment, position: int, key: str, start: int, end: int | None, **more: Any
    ) -> None:
        row = Step(
            job.attempt_id, position, key, key.title(), State.DONE if end else State.RUNNING,
            Outcome.PASSED if end else None, started_at=self.time[0] + position, log_start=start, log_end=end, **more,
        )  # fmt: skip
        now, terms = self.services.now(), self.services.terms
        self.write(lambda tx: dispatch.steps(tx, job.attempt_id, job.token, [row], now, terms))

    def leave(self, job: Assignment, name: str, data: bytes) -> None:
        blob = self.services.blobs.put([data])
        row = Artifact(
            0, job.attempt_id, job.run_id, job.project_id, name, "archive", "zip", "", blob.size_bytes, blob.sha256, blob.key
        )  # fmt: skip
        self.write(lambda tx: dispatch.artifact(tx, job.attempt_id, job.token, row, self.services.now()))

    def finish(self, job: Assignment, outcome: Outcome = Outcome.PASSED) -> None:
        end = dispatch.Finish(outcome)
        self.write(lambda tx: dispatch.finish(tx, job.attempt_id, job.token, end, self.services.now()))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    services, time = services_of(DIALECT, tmp_path)
    runner = services.db.submit_write(lambda tx: tx.add(Runner(0, "hash", "by hand", stock=False))).result()
    made = House(services, DIALECT.mount(services), tmp_path, runner, time)
    yield made
    made.loop.run_until_complete(made.loop.shutdown_default_executor())
    made.loop.close()
    services.db.close()
