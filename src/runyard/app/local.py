"""A house for one run in a working copy: the same engine, store, runner and sandbox as a server's, in memory,
without doors. Made by `runyard run`.

Everything is imported when it is needed: a start takes longer than most small pipelines. Upkeep is only what
one run can need (delays, time limits).
"""

from __future__ import annotations

import asyncio
import importlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from runyard.app.local_settings import LocalSettings
from runyard.blobs.folder import FolderBlobs
from runyard.dialects import Dialect
from runyard.engine import upkeep
from runyard.engine.ports import Bell, Blobs, Database, Tx
from runyard.engine.terms import Terms
from runyard.http.auth import hash_token, job_token, new_token
from runyard.http.identity import Identity
from runyard.http.launch import Launcher
from runyard.http.services import RunRequest
from runyard.model.plan import Network, Plan
from runyard.model.trigger import Reach, ServerFacts
from runyard.model.work import Project, Run, SecretVariable, User
from runyard.runner.job import Means
from runyard.runner.local import LocalLink, Ports, enroll
from runyard.runner.loop import RunnerLoop
from runyard.runner.outfit import outfit
from runyard.runner.sandbox import BoxPlan, Limits
from runyard.sources.actions import ActionTrees
from runyard.sources.repositories import GitSource
from runyard.store import open_database
from runyard.store.vault import AesVault

if TYPE_CHECKING:
    from runyard.app.rounds import Rounds

PROJECT = "local/project"
SWEEP_S = 0.5
# What a folder holds when a dialect has something to do on a push of it; the others would need a server's
# database to know.
SIGNS = {"gitlab": (".gitlab-ci.yml",), "depot": (".depot/workflows", ".github/workflows")}


def clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def has_signs(folder: Path) -> bool:
    """Whether a push of this folder would start something."""
    return any((folder / sign).exists() for signs in SIGNS.values() for sign in signs)


def dialects_of(folder: Path, file: str, wanted: str = "") -> dict[str, Dialect]:
    """The wanted one; else those that may have something to run here; all that run files when a file is
    named, and when there is nothing, so that they can say so."""
    names = [name for name, signs in SIGNS.items() if any((folder / sign).exists() for sign in signs)]
    chosen = (wanted,) if wanted else tuple(SIGNS) if file or not names else names
    return {name: importlib.import_module(f"runyard.dialects.{name}").DIALECT for name in chosen}


class Local:
    """Ports first; `equip` readies the sandbox, `mount` takes dialects, `begin` runs what was started.
    `close` lets everything go."""

    def __init__(self, folder: Path, settings: LocalSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.network = Network(settings.network)
        self.terms = Terms(
            server=ServerFacts(
                "http://localhost",
                builtin_actions=settings.actions_builtin,
                needs_per_job=settings.needs_per_job,
            ),
            job_timeout_s=settings.job_timeout_s,
            log_limit_bytes=settings.log_limit_bytes,
            artifact_limit_bytes=settings.artifact_limit_bytes,
            jobs_per_run=settings.jobs_per_run,
        )
        self.dialects: Mapping[str, Dialect] = {}
        self.runner: RunnerLoop | None = None
        self._means: Future[Means] | None = None
        self._rounds: Rounds | None = None
        self.db: Database
        self.bell: Bell
        self.db, self.bell = open_database("sqlite://", self.folder)
        self.source = GitSource(self.folder / "repositories", allow_local=True)
        self.blobs: Blobs = FolderBlobs(self.folder / "blobs")
        self.vault = AesVault(secrets.token_hex(16))
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.actions = ActionTrees(kept / "runyard" / "actions", settings.actions_url)
        self._stopping = threading.Event()
        self._sweeper: threading.Thread | None = None
        self.user, self.project = self.db.submit_write(self._people).result()
        self.source.create(self.project.id, "main")

    def mount(self, dialects: Mapping[str, Dialect]) -> None:
        """What may be started here."""
        self.dialects = dialects
        self.launcher = Launcher(self.terms, self.db, self.source, self.vault, clock, dialects, self._reach)

    @staticmethod
    def _people(tx: Tx) -> tuple[User, Project]:
        user = tx.add(User(0, "root", "Administrator", "root@localhost", is_admin=True, created_at=clock()))
        return user, tx.add(Project(0, PROJECT, "project", created_at=clock()))

    def keep(self, variables: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        """What `vars` and `secrets` of a workflow hold."""
        kinds = [("var", key, value) for key, value in variables.items()]
        kinds += [("secret", key, value) for key, value in secrets.items()]
        rows = [
            SecretVariable(
                0, key, self.vault.seal(value), self.project.id, masked=kind == "secret", kind=kind
            )
            for kind, key, value in kinds
        ]
        if rows:
            self.db.submit_write(lambda tx: tx.add_all(rows)).result()

    def _reach(self, user: User, archives: Mapping[str, str]) -> Reach:
        from runyard.http.reach import Elsewhere

        return Elsewhere(self.db, self.source, self.blobs, True, clock).for_user(user, archives)

    def compiled(self, request: RunRequest) -> Plan:
        """What a request would run."""
        return asyncio.run(self.launcher.compiled(request))

    def start(self, request: RunRequest, edit: Callable[[Plan], Plan]) -> Run:
        """Accepts it."""
        return asyncio.run(self.launcher.start(request, edit=edit))

    def equip(self, *, warm_slots: int = 0) -> None:
        """Makes the sandbox ready on a thread, while this one reads and compiles. Once; `begin` raises what
        went wrong. `warm_slots`: how many slots get the box of their first job ahead of it."""
        if self._means is not None:
            return
        found: Future[Means] = Future()
        self._means = found

        def make() -> None:
            try:
                means = self._outfit()
                for slot in range(1, warm_slots + 1):
                    means.sandbox.ahead(BoxPlan(slot, PROJECT, network=self.network))
                found.set_result(means)
            except Exception as error:  # noqa: BLE001 - `begin` raises it
                found.set_exception(error)

        threading.Thread(target=make, name="outfit", daemon=True).start()

    def _outfit(self) -> Means:
        wanted = self.settings
        limits = Limits(wanted.job_memory_bytes, wanted.job_processes, wanted.job_cpus)
        return outfit(
            self.link(), self.folder / "runner", limits, self.network, allow_plain=wanted.allow_plain, grace_s=wanted.cancel_grace_s
        )  # fmt: skip

    def link(self) -> LocalLink:
        """The line of a runner of this house."""
        ports = Ports(
            self.db, self.bell, self.blobs, self.source, self.vault, self.terms, clock, job_token, Identity(self.vault).sign,
            self.actions,
        )  # fmt: skip
        return LocalLink(ports, enroll(ports, "this machine", (), hash_token(new_token("glrt-"))))

    def begin(self, slots: int, *, bridges: bool) -> Sequence[str]:
        """Jobs run from now on, and child pipelines start where there are `bridges`; answers sentences about
        the sandbox. SandboxError when there is none."""
        self.equip()
        assert self._means is not None  # noqa: S101 - equip made it
        means = self._means.result()
        self.runner = RunnerLoop(means, slots)
        self.runner.start()
        if bridges:
            self._build_bridges()
        self._sweeper = threading.Thread(target=self._sweeps, name="sweeps", daemon=True)
        self._sweeper.start()
        return means.sandbox.notes

    def _build_bridges(self) -> None:
        from runyard.app.rounds import Rounds
        from runyard.dialects import Round
        from runyard.http.bridging import Bridging

        self._rounds = Rounds(self.bell, [Round("bridges", Bridging(self.launcher).round, 1.0, "outside")])
        self._rounds.start()

    def _sweeps(self) -> None:
        while not self._stopping.wait(SWEEP_S):
            due_at = self.db.submit_read(lambda tx: tx.next_due_at()).result()
            if due_at is not None and due_at <= clock():
                self.db.submit_write(lambda tx: upkeep.sweep(tx, clock(), self.terms)).result()

    def close(self) -> None:
        """Ends the runner and forgets everything."""
        self._stopping.set()
        if self._rounds is not None:
            self._rounds.stop()
        if self.runner is not None:
            self.runner.stop()
        elif self._means is not None and self._means.exception() is None:
            self._means.result().sandbox.close()
        if self._sweeper is not None:
            self._sweeper.join()  # it asks the database
        self.db.close()
