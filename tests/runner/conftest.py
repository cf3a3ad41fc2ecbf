"""A runner over the real engine, store, blobs and sources: `yard` runs hand-made jobs through the in-process
line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygit2
import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from runyard.app.compose import build
from runyard.app.first_start import prepare
from runyard.app.serving import address
from runyard.blobs import open_blobs
from runyard.engine import trigger as engine_trigger
from runyard.engine.ports import ArtifactFilter, AttemptFilter, Page
from runyard.engine.terms import Terms
from runyard.http.auth import hash_token, job_token, new_token
from runyard.model.plan import JobPlan, Network, Plan, StepPlan, WorkflowPlan
from runyard.model.state import State
from runyard.model.trigger import Trigger
from runyard.model.work import Artifact, Attempt, Project, Runner, Step, User
from runyard.runner.link import Link
from runyard.runner.local import LocalLink, Ports, enroll
from runyard.runner.loop import RunnerLoop
from runyard.runner.outfit import outfit
from runyard.runner.remote import RemoteLink
from runyard.runner.sandbox import Level, Limits, Sandbox, SandboxError, choose
from runyard.settings import Settings
from runyard.sources.repositories import GitSource
from runyard.store import open_database
from runyard.store.vault import AesVault

ALL = Page(limit=1000, descending=False)
SHELL = ("sh", "-e", "{script}")


def clock() -> int:
    return time.time_ns() // 1_000_000


def sh(script: str, key: str = "script", **more: Any) -> StepPlan:
    """A plain shell step."""
    return StepPlan(key, key, argv=SHELL, script=script, **more)


def actions(script: str, key: str = "one", **more: Any) -> StepPlan:
    """A step that speaks workflow commands."""
    return StepPlan(
        key, key, argv=("bash", "-e", "{script}"), script=script, templated=True, commands=True, **more
    )


@dataclass
class Yard:
    """A server's insides with one runner."""

    ports: Ports
    project: Project
    user: User
    sha: str
    link: Link
    loop: RunnerLoop | None = None
    level: Level = Level.PLAIN
    runs: list[int] = field(default_factory=list)

    def submit(self, *jobs: JobPlan, **more: Any) -> list[int]:
        """Accepts a run of these jobs; answers attempt ids in their order."""
        plan = Plan((WorkflowPlan("w", "w", jobs=tuple(jobs)),))
        trigger = Trigger(self.project, "gitlab", "api", "main", self.sha, self.user, clock(), **more)
        run = self.ports.db.submit_write(
            lambda tx: engine_trigger.accept(tx, trigger, plan, clock(), self.ports.terms)
        ).result()
        self.runs.append(run.id)
        found = self.ports.db.submit_read(lambda tx: tx.attempts(AttemptFilter(run_id=run.id), ALL)).result()
        return [attempt.id for _, attempt in found]

    def attempt(self, attempt_id: int) -> Attempt:
        found = self.ports.db.submit_read(lambda tx: tx.get(Attempt, attempt_id)).result()
        assert found is not None
        return found

    def wait(self, attempt_id: int, state: State = State.DONE, timeout_s: float = 60.0) -> Attempt:
        """Until the attempt is in that state (or done)."""
        until = time.monotonic() + timeout_s
        topic = f"attempt:{attempt_id}"
        while True:
            seen = self.ports.bell.version(topic)
            attempt = self.attempt(attempt_id)
            if attempt.state in (state, State.DONE):
                return attempt
            assert time.monotonic() < until, f"still {attempt.state}: {self.log(attempt_id)!r}"
            self.ports.bell.wait(topic, seen, 1.0)

    def run(self, *steps: StepPlan, timeout_s: float = 60.0, **job: Any) -> tuple[Attempt, str]:
        """One job to its end, and its log."""
        job.setdefault("network", Network.NONE)
        (attempt_id,) = self.submit(JobPlan("job", "job", steps=steps, **job))
        return self.wait(attempt_id, timeout_s=timeout_s), self.log(attempt_id)

    def log_bytes(self, attempt_id: int) -> bytes:
        attempt = self.attempt(attempt_id)
        return self.ports.db.submit_read(
            lambda tx: b"".join(data for _, data in tx.log_chunks(attempt.id, 0, 1 << 30))
        ).result()

    def log(self, attempt_id: int) -> str:
        return self.log_bytes(attempt_id).decode("utf-8", "replace")

    def steps(self, attempt_id: int) -> list[Step]:
        return self.ports.db.submit_read(lambda tx: tx.steps(attempt_id)).result()

    def artifacts(self, attempt_id: int) -> list[Artifact]:
        return self.ports.db.submit_read(
            lambda tx: tx.artifacts(ArtifactFilter(attempt_id=attempt_id), ALL)
        ).result()

    def bytes_of(self, artifact: Artifact) -> io.BytesIO:
        return io.BytesIO(b"".join(self.ports.blobs.open(artifact.blob)))


def make_ports(folder: Path, **terms: Any) -> Ports:
    db, bell = open_database("sqlite://", folder)
    source = GitSource(folder / "repositories")
    blobs = open_blobs(folder / "blobs")
    return Ports(db, bell, blobs, source, AesVault("k"), Terms(**terms), clock, job_token)


def seed(ports: Ports) -> tuple[Project, User, str]:
    """A project with one commit on main."""
    user = ports.db.submit_write(lambda tx: tx.add(User(0, "alice"))).result()
    project = ports.db.submit_write(
        lambda tx: tx.add(Project(0, "group/app", "app", created_at=clock()))
    ).result()
    ports.source.create(project.id, "main")
    repository = pygit2.Repository(str(ports.source.git_dir(project.id)))
    blob = repository.create_blob(b"hello from git\n")
    tree = repository.TreeBuilder()
    tree.insert("hello.txt", blob, pygit2.enums.FileMode.BLOB)
    who = pygit2.Signature("a", "a@example.invalid", 1, 0)
    sha = str(repository.create_commit("refs/heads/main", who, who, "first", tree.write(), []))
    return project, user, sha


@pytest.fixture
def make_yard(tmp_path: Path) -> Iterator[Callable[..., Yard]]:
    """Yards with a running loop; stopped at the end."""
    made: list[Yard] = []

    def make(
        slots: int = 1,
        grace_s: float = 1.0,
        limits: Limits | None = None,
        network: Network = Network.NONE,
        **terms: Any,
    ) -> Yard:
        folder = tmp_path / f"yard{len(made)}"
        folder.mkdir()
        ports = make_ports(folder, **terms)
        project, user, sha = seed(ports)
        runner = enroll(ports, "test", (), hash_token("x"))
        link = LocalLink(ports, runner)
        means = outfit(
            link, folder / "runner", limits or Limits(), network, allow_plain=True, grace_s=grace_s
        )
        loop = RunnerLoop(means, slots)
        loop.start()
        yard = Yard(ports, project, user, sha, link, loop, means.sandbox.level)
        made.append(yard)
        return yard

    yield make
    for yard in made:
        if yard.loop is not None:
            yard.loop.stop(5)
        yard.ports.db.close()


class RemoteServer:
    """The whole server in this process, on a port of its own, so that tests can look inside while the runner
    speaks HTTP."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(data=folder / "data", listen="127.0.0.1:0", runner_slots=0)
        host, port = address(settings.listen)
        self.url = f"http://{host}:{port}"
        self.house = build(settings, prepare(settings), self.url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, args=(host, port), daemon=True)
        self._thread.start()
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
                break
            time.sleep(0.02)
        services = self.house.services
        self.ports = Ports(
            services.db, services.bell, services.blobs, services.source, services.vault, services.terms, services.now, job_token
        )  # fmt: skip
        self.project, self.user, self.sha = seed(self.ports)

    def _serve(self, host: str, port: int) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = Server(
            self.house.front,
            address=host,
            port=port,
            interface=Interfaces.ASGI,
            websockets=False,
            log_enabled=False,
        )
        self._loop.run_until_complete(self._server.serve())
        self._loop.close()

    def runner_token(self) -> str:
        token = new_token("glrt-")
        row = Runner(0, hash_token(token), "remote", stock=False, created_at=clock())
        self.ports.db.submit_write(lambda tx: tx.add(row)).result()
        return token

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.stop)
        self._thread.join(10)
        self.house.close()


@pytest.fixture(scope="session")
def remote_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteServer]:
    server = RemoteServer(tmp_path_factory.mktemp("remote"))
    yield server
    server.close()


@pytest.fixture(params=["in-process", "over HTTP"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    """One slot, no network; every test that asks for it runs on both implementations of the runner
    protocol."""
    if request.param == "in-process":
        yield request.getfixturevalue("make_yard")()
        return
    server: RemoteServer = request.getfixturevalue("remote_server")
    link = RemoteLink(server.url, server.runner_token(), tmp_path / "spool")
    link.verify()
    means = outfit(link, tmp_path / "runner", Limits(), Network.NONE, allow_plain=True, grace_s=1.0)
    loop = RunnerLoop(means, 1)
    loop.start()
    yield Yard(server.ports, server.project, server.user, server.sha, link, loop, means.sandbox.level)
    loop.stop(5)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Sandbox]:
    """The best level; skipped loudly where it is not there."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: the full sandbox level needs root")
    try:
        sandbox = choose(
            tmp_path / "work", limits=Limits(memory_bytes=256 << 20, processes=100), network=Network.INTERNET
        )
    except SandboxError as error:
        pytest.skip(f"NOT TESTED: no sandbox here: {error.message}")
    if sandbox.level is not Level.FULL:
        sandbox.close()
        pytest.skip(f"NOT TESTED: the full sandbox level is not available: {sandbox.notes}")
    yield sandbox
    sandbox.close()
