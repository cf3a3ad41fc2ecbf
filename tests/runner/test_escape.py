"""The escape battery (contracts/reliability.md §7.3): at the full level every attack fails. And the limits:
memory, processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runyard.model.plan import Network
from runyard.runner.sandbox import BoxPlan, Sandbox
from runyard.runner.sandbox.network import local_addresses, own_addresses

pytestmark = pytest.mark.root
HOSTILE = Path(__file__).with_name("hostile_job.py").read_text()
ENV = {"PATH": "/usr/bin:/bin", "X": "env-secret"}


def run(
    sandbox: Sandbox, *argv: str, network: Network = Network.NONE, slot: int = 1
) -> tuple[int | None, str, bool]:
    box = sandbox.open(BoxPlan(slot, "group/app", network))
    try:
        process = box.run(argv, ENV, box.inside.workspace)
        with os.fdopen(process.output, "rb") as output:
            said = output.read().decode(errors="replace")
        return process.wait(30), said, box.out_of_memory()
    finally:
        assert box.close() == []


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[dict[str, object]]:
    """Things of the server that a job must not reach: a file, a process with a secret in its environment, a
    port, an abstract socket."""
    secret = tmp_path / "server"
    secret.mkdir(mode=0o700)
    (secret / "key").write_text("the key")
    process = subprocess.Popen(["sleep", "120"], env={"RUNYARD_CANARY": "1"})
    name = f"runyard-test-{os.getpid()}"
    with socket.create_server(("0.0.0.0", 0)) as port, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0" + name)
        abstract.listen()
        yield {
            "secret": str(secret / "key"),
            "pid": process.pid,
            "port": port.getsockname()[1],
            "abstract": name,
            "addresses": ["10.0.2.2", "10.0.2.3", *own_addresses()],
            "work": str(tmp_path / "work"),
        }
    process.kill()
    process.wait()


@pytest.mark.parametrize("network", [Network.NONE, Network.INTERNET])
def test_no_attack_works(full: Sandbox, canary: dict[str, object], network: Network) -> None:
    code, said, _ = run(full, "python3", "-c", HOSTILE, json.dumps(canary), network=network)
    assert code == 0, said
    worked = json.loads(said.splitlines()[-1])
    assert len(worked) > 35
    assert {name for name, did in worked.items() if did} == set()


def test_the_battery_itself_bites(canary: dict[str, object]) -> None:
    """As nobody but without a sandbox some attacks work: a battery that cannot succeed would prove nothing.
    Never as root: those would harm."""
    argv = [
        "unshare",
        "-m",
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
    ]
    done = subprocess.run(
        [*argv, "/usr/bin/python3", "-c", HOSTILE, json.dumps(canary)],
        env=ENV,
        capture_output=True,
        text=True,
        cwd="/",
    )
    worked = json.loads(done.stdout.splitlines()[-1])
    assert sum(worked.values()) >= 4, worked
    assert worked["list other processes"] and worked["new user namespace by unshare"]


def test_files_a_job_writes_belong_to_its_slot(full: Sandbox) -> None:
    box = full.open(BoxPlan(3, "group/app"))
    try:
        process = box.run(("sh", "-c", "touch made; ln -s /etc/shadow link"), ENV, box.inside.workspace)
        os.close(process.output)
        assert process.wait(10) == 0
        made = Path(box.outside.workspace) / "made"
        assert (made.stat().st_uid, made.stat().st_gid) == (20003, 20003)
    finally:
        box.close()


def test_the_next_job_of_a_slot_finds_nothing_of_the_last(full: Sandbox) -> None:
    run(
        full,
        "sh",
        "-c",
        "echo x > /tmp/left; echo x > ~/left; echo x > /builds/left; echo x > left; mkdir -p d/e; chmod 000 d",
    )
    code, said, _ = run(full, "sh", "-c", "ls -A /tmp /home/job /builds .")
    assert code == 0 and "left" not in said


def test_memory_has_a_limit_and_the_box_knows(full: Sandbox) -> None:
    code, _, out_of_memory = run(full, "python3", "-c", "x = bytearray(600 << 20); print(len(x))")
    assert code == 137 and out_of_memory


def test_a_fork_bomb_meets_its_limit_and_its_neighbour_lives(full: Sandbox) -> None:
    bomb = full.open(BoxPlan(1, "group/app"))
    process = bomb.run(("sh", "-c", "b() { b | b & }; b; sleep 30"), ENV, "/")
    try:
        code, said, _ = run(
            full, "sh", "-c", "for i in 1 2 3 4 5; do true | true | true; done; echo fine", slot=2
        )
        assert code == 0 and "fine" in said
    finally:
        process.kill()
        os.close(process.output)
        assert bomb.close() == []


def test_the_world_is_not_there_without_a_network(full: Sandbox) -> None:
    _, said, _ = run(full, "python3", "-c", "import socket; print([n for _, n in socket.if_nameindex()])")
    assert "tap0" not in said and "eth0" not in said


def test_secondary_addresses_of_an_interface_are_own_too() -> None:
    """In a network namespace of its own, where addresses may be added."""
    script = "ip link set lo up; ip addr add 192.0.2.7/24 dev lo; ip addr add 192.0.2.8/24 dev lo; cat /proc/net/fib_trie"
    done = subprocess.run(["unshare", "-n", "sh", "-ec", script], capture_output=True, text=True, check=True)
    assert local_addresses(done.stdout) == ["192.0.2.7", "192.0.2.8"]
    assert set(own_addresses()) <= set(local_addresses(Path("/proc/net/fib_trie").read_text()))
