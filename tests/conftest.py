"""Fixtures that many folders share. The PostgreSQL cluster is private to the test session: own folder, own
port, no durability.

Without a PostgreSQL server the tests that need one are skipped, and the terminal summary says loudly which.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live_server import LiveServer

os.environ["RUNYARD_RESIDENT"] = "0"  # nothing may stay behind; tests/cli/test_resident.py has its own


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Property tests have no deadline: on a busy machine an example takes as long as it takes, and a test
    that hangs ends by its own limit. Before the module is imported, because `@settings` copies the profile
    there and then; only for modules that speak of Hypothesis, whose import takes half a second."""
    if isinstance(collector, pytest.Module) and b"hypothesis" in collector.path.read_bytes():
        from hypothesis import settings

        settings.register_profile("patient", deadline=None)
        settings.load_profile("patient")


NO_SERVER = "no PostgreSQL server: install Debian's postgresql package"


def _postgres_bin() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cluster:
    """One server process that dies with us. PostgreSQL refuses to run as root, so root hands it to the user
    `postgres`."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.folder = Path(tempfile.mkdtemp(prefix="runyard-pg-"))
        self._as_user = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user += ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups"]
        self.port = _free_port()
        self.url = f"postgresql://runyard@127.0.0.1:{self.port}/postgres"
        data = self.folder / "data"
        self._run(
            "initdb",
            "-D",
            str(data),
            "-U",
            "runyard",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, program: str, *argv: str) -> None:
        subprocess.run(
            [*self._as_user, str(self._binaries / program), *argv],
            check=True,
            capture_output=True,
            cwd=self.folder,
        )

    def start(self) -> None:
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "deadlock_timeout": "100ms",
        }
        argv = [x for key, value in options.items() for x in ("-c", f"{key}={value}")]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [*self._as_user, str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *argv],
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        log.close()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > until or (self.process and self.process.poll() is not None):
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from error
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """The session's private server; `stop` and `start` are for tests of failure."""
    binaries = _postgres_bin()
    if binaries is None:
        pytest.skip(NO_SERVER)
    cluster = Cluster(binaries)
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def postgres_url(postgres_cluster: Cluster) -> str:
    """`postgresql://…` of the private server's own database."""
    return postgres_cluster.url


@pytest.fixture
def fresh_postgres_url(postgres_url: str) -> Iterator[str]:
    """An empty database of the private server, for one test."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A running `runyard serve` with four slots, shared by the session: tests make projects of their own in
    it."""
    live = LiveServer(tmp_path_factory.mktemp("server"), RUNYARD_RUNNER_SLOTS="4")
    yield live
    live.stop()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    missed = sorted(
        {r.nodeid for r in terminalreporter.stats.get("skipped", []) if NO_SERVER in str(r.longrepr)}
    )
    if missed:
        terminalreporter.section(f"{len(missed)} TESTS DID NOT RUN: {NO_SERVER}", red=True, bold=True)
        for nodeid in missed:
            terminalreporter.line(f"did not run: {nodeid}", red=True)
