"""The real depot CLI's terminals (`depot ci ssh`, `run --ssh`), and commands in jobs: in jobs of the server
itself, and in those of a `runyard runner`."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import select
import struct
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.test_depot_cli import BINARY, Depot, clone
from tests.live_server import TOKEN, LiveRunner, LiveServer, runner_token

pytestmark = pytest.mark.client

LONG = """
name: Long
on: workflow_dispatch
jobs:
  one:
    runs-on: ubuntu-latest
    steps: [{run: echo hi > made.txt; echo begun; for n in $(seq 900); do sleep 0.1; done}]
"""


@pytest.fixture(scope="module", params=["the server's own runner", "a runner elsewhere"])
def depot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    if not BINARY.exists():
        pytest.skip("the depot CLI is not installed: run `make clients`")
    folder = tmp_path_factory.mktemp("live")
    elsewhere = request.param == "a runner elsewhere"
    server = LiveServer(folder, RUNYARD_RUNNER_SLOTS="0" if elsewhere else "2")
    runner = LiveRunner(server, runner_token(server)) if elsewhere else None
    server.push("depot/parts", {".depot/workflows/long.yml": LONG})
    made = clone(server, "depot/parts", folder)
    made.env["DEPOT_EXEC_URL"] = server.grpc_url
    yield made
    if runner is not None:
        runner.stop()
    server.stop()


class Typist:
    """The CLI in a terminal of its own."""

    def __init__(self, depot: Depot, *arguments: str) -> None:
        env = {key: value for key, value in depot.env.items() if key != "CI"} | {"TERM": "xterm"}
        self.fd, theirs = os.openpty()
        argv = [str(BINARY), "ci", *arguments]
        self.process = subprocess.Popen(
            argv, cwd=depot.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.shown = ""

    def until(self, wanted: str, seconds: float = 60) -> str:
        end = time.monotonic() + seconds
        while wanted not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.shown

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self, seconds: float = 60) -> int:
        """The CLI's exit code."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    time.sleep(0.05)
            if time.monotonic() > until:
                self.process.kill()
                raise AssertionError(self.shown)
        os.close(self.fd)
        return self.process.returncode


def begun(depot: Depot) -> str:
    run = depot.run(".depot/workflows/long.yml")
    depot.server.until(lambda: depot("logs", run), lambda log: "\nbegun" in log)
    return run


def test_run_ssh_opens_a_terminal_in_the_job_and_ends_with_its_code(depot: Depot) -> None:
    typist = Typist(
        depot, "run", "--repo", depot.repo, "--workflow", ".depot/workflows/long.yml", "--job", "one", "--ssh"
    )
    run = typist.until("Connecting to sandbox")
    number = re.search(r"^Run: ([0-9a-z]{10})", run, re.MULTILINE)
    assert number, run
    typist.type("echo $((40+2)); cat made.txt; pwd\n")
    shown = typist.until("/builds/depot/parts")
    assert "42" in shown and "hi" in shown
    typist.type("seq 100000; echo all-$((2+3))\n")
    shown = typist.until("all-5").replace("\r", "")
    assert "".join(f"{n}\n" for n in range(1, 100_001)) in shown
    typist.type("exit 7\n")
    assert typist.end() == 7, typist.shown[-2000:]
    depot.server.until(
        lambda: depot("logs", number[1]), lambda log: "root opened a terminal in this job." in log, 20
    )
    depot("cancel", number[1])


def test_ssh_to_a_running_job_ends_with_the_job(depot: Depot) -> None:
    run = begun(depot)
    said = depot("ssh", run, "--info", "--output", "json")
    told = json.loads(said[said.index("{") :])
    assert told["sandbox_id"] and told["session_id"]
    typist = Typist(depot, "ssh", run, "--job", "one")
    typist.until("Connecting to sandbox")
    typist.type("trap '' HUP TERM INT; echo ready-$((1+1))\n")
    typist.until("ready-2")
    depot("cancel", run)
    typist.end()
    assert depot.until(run, "finished", "failed", "cancelled")["status"] == "cancelled"
    code, out = depot.try_("ssh", run, "--job", "one")
    assert code == 1 and "already completed" in out


def execute(depot: Depot, sandbox: str, **command: Any) -> list[Any]:
    """The messages of RemoteExec, the end of the stream among them."""
    connection = http.client.HTTPConnection(depot.server.listen, timeout=120)
    data = json.dumps({"sandboxId": sandbox, "command": command}).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/connect+json"}
    framed = b"\0" + struct.pack(">I", len(data)) + data
    connection.request("POST", "/depot.ci.v1.DepotComputeService/RemoteExec", framed, headers)
    rest = connection.getresponse().read()
    connection.close()
    found = []
    while rest:
        size = struct.unpack(">I", rest[1:5])[0]
        found.append(json.loads(rest[5 : 5 + size]))
        rest = rest[5 + size :]
    return found


def test_commands_in_a_running_job(depot: Depot) -> None:
    run = begun(depot)
    said = depot("ssh", run, "--info", "--output", "json")
    sandbox = json.loads(said[said.index("{") :])["sandbox_id"]

    *outputs, code, end = execute(
        depot, sandbox, commandArray=["sh", "-c", "cat made.txt; echo wrong >&2; exit 4"]
    )
    assert {(o.get("stdout", ""), o.get("stderr", "")) for o in outputs} == {("hi\n", ""), ("", "wrong\n")}
    assert (code, end) == ({"exitCode": 4}, {})
    *outputs, code, end = execute(depot, sandbox, commandArray=["head", "-c", "5000000", "/dev/zero"])
    assert sum(len(base64.b64decode(o["stdoutRaw"])) for o in outputs) == 5_000_000
    assert code == {"exitCode": 0} or code == {"exit_code": 0} or "exitCode" in code
    assert execute(depot, sandbox, commandArray=["sleep", "100"], timeoutMs=500)[-2:] == [
        {"exitCode": 124},
        {},
    ]
    (end,) = execute(depot, sandbox, commandArray=["echo", "a\0b"])
    assert end["error"]["code"] == "invalid_argument"
    depot("cancel", run)
    (end,) = execute(depot, sandbox, commandArray=["true"])
    assert end["error"]["code"] == "failed_precondition"
