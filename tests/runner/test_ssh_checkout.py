"""The checkout's `ssh-key`, against an sshd on this machine: the host is known or refused, the key is the
job's alone and gone at its end."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runyard.model.errors import NotFound
from runyard.model.plan import Network, StepKind, StepPlan
from runyard.model.state import Outcome
from runyard.runner.actions import ssh
from runyard.runner.actions.fetching import Fetching
from runyard.runner.room import Room
from runyard.syntax.actions import ActionError

from .conftest import Yard, actions

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="NOT TESTED: needs openssh-server and openssh-client"
)


@dataclass(frozen=True)
class Host:
    port: int
    key: str
    known: str
    repositories: str  # their folder, from / on


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """An sshd that lets one key in, and a repository `app.git`."""
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    git = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "safe.directory=*"]
    work = tmp_path / "work"
    subprocess.run([*git, "init", "-q", "-b", "main", str(work)], check=True)
    (work / "far.txt").write_text("from afar\n")
    subprocess.run([*git, "add", "-A"], cwd=work, check=True)
    subprocess.run([*git, "commit", "-qm", "one"], cwd=work, check=True)
    subprocess.run([*git, "clone", "-q", "--bare", str(work), str(tmp_path / "far/app.git")], check=True)
    config = tmp_path / "config"
    config.write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\nStrictModes no\nUsePAM no\n"
        f"PidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD is not None
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert server.poll() is None and time.monotonic() < until, "sshd did not start"
            time.sleep(0.05)
    public = " ".join((tmp_path / "host.pub").read_text().split()[:2])
    yield Host(port, (tmp_path / "user").read_text(), f"[127.0.0.1]:{port} {public}", f"{tmp_path}/far")
    server.terminate()
    server.wait(20)


def checkout(host: Host, **more: str) -> StepPlan:
    given = {
        "ssh-key": host.key, "ssh-user": getpass.getuser(), "repository": f"{host.repositories.lstrip('/')}/app",
        "github-server-url": f"ssh://127.0.0.1:{host.port}", "path": "far", "ref": "main", **more,
    }  # fmt: skip
    params = {"action": "actions/checkout", "with": given}
    return StepPlan(
        "out", "Run actions/checkout@v4", StepKind.CHECKOUT, params=params, templated=True, commands=True
    )


def test_a_repository_comes_by_ssh_and_later_steps_can_fetch(yard: Yard, host: Host) -> None:
    script = 'cat far/far.txt; cd far; git fetch -q origin main && echo fetched-again; ls -l "${{ runner.temp }}" | grep -- ssh-key; git config core.sshCommand'
    attempt, log = yard.run(
        checkout(host, **{"ssh-known-hosts": host.known}), actions(script), network=Network.HOST
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "from afar" in log and "\nfetched-again" in log and "-rw------- " in log
    assert "StrictHostKeyChecking=yes" in log
    assert host.key.splitlines()[1] not in log


@pytest.mark.parametrize(("strict", "passes"), [("true", False), ("false", True)])
def test_a_host_that_nobody_knows_is_asked_only_where_that_is_wanted(
    yard: Yard, host: Host, strict: str, passes: bool
) -> None:
    attempt, log = yard.run(
        checkout(host, **{"ssh-strict": strict}),
        actions('ls "${{ runner.temp }}"', condition="always()"),
        network=Network.HOST,
    )
    assert (attempt.outcome is Outcome.PASSED) is passes, log
    assert passes or ("Host key verification failed" in log and "\nssh-key-" not in log)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that jobs still had in their temporary folders when those were taken away."""
    found: list[str] = []
    close = Room.close

    def looked(room: Room) -> None:
        found.extend(name for name in os.listdir(room._fd) if name.startswith("ssh-"))
        close(room)

    monkeypatch.setattr(Room, "close", looked)
    return found


def test_the_key_of_a_checkout_that_passed_goes_after_the_last_step(
    yard: Yard, host: Host, left: list[str]
) -> None:
    for last in ("true", "false"):
        attempt, log = yard.run(
            checkout(host, **{"ssh-known-hosts": host.known}),
            actions(
                f'ls "$RUNNER_TEMP" | grep -c ^ssh-key; {last}', env={"RUNNER_TEMP": "${{ runner.temp }}"}
            ),
            network=Network.HOST,
        )
        assert attempt.outcome is (Outcome.PASSED if last == "true" else Outcome.FAILED), log
        assert "\n1\n" in log and left == []


@pytest.mark.parametrize("error", [ActionError("no"), OSError("no"), NotFound("no")])
def test_whatever_ends_a_checkout_takes_its_key_along(
    yard: Yard, host: Host, left: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def breaks(*_: object) -> None:
        raise error

    monkeypatch.setattr(Fetching, "other", breaks)
    forgotten: list[str] = []
    forget = ssh.forget
    monkeypatch.setattr(ssh, "forget", lambda scene, name: (forgotten.append(name), forget(scene, name)))
    attempt, log = yard.run(checkout(host), network=Network.HOST)
    assert attempt.outcome is not Outcome.PASSED, log
    assert left == [] and len(forgotten) == 1


def test_persist_credentials_false_leaves_no_command_behind(yard: Yard, host: Host) -> None:
    attempt, log = yard.run(
        checkout(host, **{"ssh-known-hosts": host.known, "persist-credentials": "false"}),
        actions(
            'git -C far config core.sshCommand || echo none-left; ls "${{ runner.temp }}" | grep ^ssh- || echo no-key'
        ),
        network=Network.HOST,
    )
    assert attempt.outcome is Outcome.PASSED and "\nnone-left" in log and "\nno-key" in log, log


def test_names_that_could_be_options_are_refused(yard: Yard, host: Host) -> None:
    for more in ({"ssh-user": "-oProxyCommand=x"}, {"github-server-url": "ssh://-oProxyCommand=x/"}):
        attempt, log = yard.run(checkout(host, **more), network=Network.HOST)
        assert attempt.outcome is Outcome.FAILED and "must be an address and a name" in log
