"""Every Depot service over gRPC, by Google's client made from the interface files; the same over Connect
(JSON and binary) and gRPC-Web by connectrpc's generated client on the main port. The codes are the same
everywhere."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.codec import proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType

from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.gen.depot.ci.v1.ci_connect import CIServiceClientSync
from tests.live_server import ROOT, TOKEN, LiveServer

pytestmark = pytest.mark.client

QUICK = """
name: Quick
on: workflow_dispatch
jobs:
  one:
    runs-on: ubuntu-latest
    steps: [{run: echo first; echo second}]
"""
LONG = """
name: Long
on: workflow_dispatch
jobs:
  wait:
    runs-on: ubuntu-latest
    steps: [{run: echo made > made.txt; for n in $(seq 900); do sleep 0.1; done}]
"""


class Api:
    """JSON over Connect by hand, for setting up."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server

    def __call__(self, method: str, **body: Any) -> Any:
        import urllib.request

        request = urllib.request.Request(
            f"{self.server.url}/depot.ci.v1.CIService/{method}", json.dumps(body).encode()
        )
        request.add_header("Authorization", f"Bearer {TOKEN}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def started(self, workflow: str) -> str:
        return str(self("Run", repo="depot/grpc", workflowContent=[workflow])["runId"])

    def job(self, run: str, status: str) -> Any:
        """The run's only job, once it has that status."""
        until = time.monotonic() + 60
        while True:
            job = self("GetRunStatus", runId=run)["workflows"][0]["jobs"][0]
            if job["status"] == status:
                return job
            assert time.monotonic() < until, job
            time.sleep(0.1)


@pytest.fixture(scope="module")
def api(server: LiveServer) -> Iterator[Api]:
    server.push("depot/grpc", {"README.md": "x"})
    yield Api(server)


def test_google_s_grpc_client_drives_every_service(api: Api, client_python: Path, tmp_path: Path) -> None:
    run = api.started(QUICK)
    done = api.job(run, "finished")
    long = api.started(LONG)
    waiting = api.job(long, "running")
    sandbox = waiting["attempts"][0]["sandboxId"]
    until = time.monotonic() + 20
    attempt = waiting["attempts"][0]["attemptId"]
    while not any(
        "made.txt" in row.get("body", "")
        for row in api("GetJobAttemptLogs", attemptId=attempt).get("lines", ())
    ):
        assert time.monotonic() < until
        time.sleep(0.1)
    address = api.server.grpc_url.removeprefix("http://")
    protos = ROOT / "src/runyard/dialects/depot/proto"
    argv = [
        str(client_python),
        str(Path(__file__).with_name("grpc_client.py")),
        str(protos),
        str(tmp_path),
        address,
        TOKEN,
    ]
    out = subprocess.run(
        [*argv, run, done["jobId"], done["attempts"][0]["attemptId"], sandbox], capture_output=True, text=True, timeout=120
    )  # fmt: skip
    api("CancelRun", runId=long)
    assert out.returncode == 0, out.stderr[-3000:] + api.server.log.read_text()[-2000:]
    said = json.loads(out.stdout)
    assert said["status"] == api("GetRunStatus", runId=run)
    assert said["metrics"]["job"]["jobKey"] == done["jobKey"]
    assert said["missing"] == {"code": "NOT_FOUND", "details": "run not found"}
    assert said["stranger"]["code"] == "UNAUTHENTICATED" and said["invalid"]["code"] == "INVALID_ARGUMENT"
    assert said["conflict"]["code"] == "FAILED_PRECONDITION" and said["unknown"]["code"] == "NOT_FOUND"
    assert said["organizations"]["organizations"][0]["name"] == "Runyard" and "page" in said["secrets"]
    assert said["export"]["filename"].endswith(".txt") and said["export"]["text"].endswith(" second\n")
    assert said["lines"][-2:] == ["first", "second"] and said["broken stream"] == "INVALID_ARGUMENT"
    assert said["exec"] == {"out": "made\n", "err": "oh\n", "code": 4} and said["timeout"] == 124
    assert said["pipe"] == {"out": "THROUGH A PIPE", "code": 0}
    assert said["terminal"]["code"] == 9 and "33 77" in said["terminal"]["shown"]
    assert "given-42" in said["terminal"]["shown"] and "/builds/depot/grpc" in said["terminal"]["shown"]
    assert (
        said["no init"] == "INVALID_ARGUMENT"
        and said["no token"] == "UNAUTHENTICATED"
        and said["no sandbox"] == "NOT_FOUND"
    )


WAYS = {
    "Connect JSON": {"protocol": ProtocolType.CONNECT, "codec": proto_json_codec()},
    "Connect binary": {"protocol": ProtocolType.CONNECT, "codec": proto_binary_codec()},
    "gRPC-Web": {"protocol": ProtocolType.GRPC_WEB, "codec": proto_binary_codec()},
    "gRPC-Web JSON": {"protocol": ProtocolType.GRPC_WEB, "codec": proto_json_codec()},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_generated_client_on_the_main_port(api: Api, way: str) -> None:
    run = api.started(QUICK)
    done = api.job(run, "finished")
    with CIServiceClientSync(api.server.url, **WAYS[way]) as client:
        headers = {"authorization": f"Bearer {TOKEN}"}
        status = client.get_run_status(pb.GetRunStatusRequest(run_id=run), headers=headers)
        assert status.status == "finished" and status.workflows[0].jobs[0].job_id == done["jobId"]
        stream = pb.StreamJobAttemptLogsRequest(job_id=done["jobId"])
        lines = [m.line.body for m in client.stream_job_attempt_logs(stream, headers=headers) if m.line]
        assert lines[-2:] == ["first", "second"]
        for code, call in {
            Code.NOT_FOUND: lambda: client.get_run(pb.GetRunRequest(run_id="0000000000"), headers=headers),
            Code.UNAUTHENTICATED: lambda: client.get_run(pb.GetRunRequest(run_id=run)),
            Code.INVALID_ARGUMENT: lambda: client.list_runs(
                pb.ListRunsRequest(status=["odd"]), headers=headers
            ),
            Code.FAILED_PRECONDITION: lambda: client.cancel_run(
                pb.CancelRunRequest(run_id=run), headers=headers
            ),
        }.items():
            with pytest.raises(ConnectError) as refused:
                call()
            assert refused.value.code is code
        with pytest.raises(ConnectError) as refused:
            list(client.stream_job_attempt_logs(pb.StreamJobAttemptLogsRequest(), headers=headers))
        assert refused.value.code is Code.INVALID_ARGUMENT
