"""Drives Depot's services with Google's own gRPC: stubs made from the interface files at hand. Run by
test_depot_grpc.py in the clients' environment.

argv: folder of the .proto files, an empty folder, HOST:PORT, token, run id, job id, attempt id, sandbox id
(of a running job). Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc


def main() -> None:
    protos, out, address, token, run, job, attempt, sandbox = sys.argv[1:]
    files = [str(path.relative_to(protos)) for path in Path(protos).rglob("*.proto")]
    include = str(Path(protoc.__file__).parent / "_proto")
    code = protoc.main(
        ["protoc", f"-I{protos}", f"-I{include}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    )
    assert code == 0
    sys.path.insert(0, out)
    from depot.ci.v1 import api_pb2, api_pb2_grpc, ci_pb2, ci_pb2_grpc
    from depot.ci.v2 import migration_pb2, migration_pb2_grpc
    from depot.ci.v3beta2 import secrets_pb2, secrets_pb2_grpc
    from depot.core.v1 import org_pb2, org_pb2_grpc

    channel = grpc.insecure_channel(address)
    said: dict[str, Any] = {}
    who = (("authorization", f"Bearer {token}"),)

    def ask(method: Any, request: Any, metadata: Any = who) -> Any:
        try:
            return MessageToDict(method(request, metadata=metadata, timeout=60))
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": error.details()}  # type: ignore[attr-defined]

    ci = ci_pb2_grpc.CIServiceStub(channel)
    said["status"] = ask(ci.GetRunStatus, ci_pb2.GetRunStatusRequest(run_id=run))
    said["metrics"] = ask(ci.GetJobMetrics, ci_pb2.GetJobMetricsRequest(job_id=job))
    said["missing"] = ask(ci.GetRun, ci_pb2.GetRunRequest(run_id="0000000000"))
    said["stranger"] = ask(ci.GetRun, ci_pb2.GetRunRequest(run_id=run), (("authorization", "Bearer wrong"),))
    said["invalid"] = ask(ci.ListRuns, ci_pb2.ListRunsRequest(status=["odd"]))
    said["conflict"] = ask(
        ci.RetryFailedJobs,
        ci_pb2.RetryFailedJobsRequest(workflow_id=said["status"]["workflows"][0]["workflowId"]),
    )
    said["unknown"] = ask(
        migration_pb2_grpc.MigrationServiceStub(channel).RetryMigration,
        migration_pb2.RetryWorkflowMigrationRequest(workflow_repo_id="no/where", migration_id="0000000000"),
    )
    said["organizations"] = ask(
        org_pb2_grpc.OrganizationServiceStub(channel).ListOrganizations, org_pb2.ListOrganizationsRequest()
    )
    said["secrets"] = ask(
        secrets_pb2_grpc.SecretServiceStub(channel).ListSecrets, secrets_pb2.ListSecretsRequest()
    )
    exported = list(
        ci.ExportJobAttemptLogs(
            ci_pb2.ExportJobAttemptLogsRequest(attempt_id=attempt), metadata=who, timeout=60
        )
    )
    said["export"] = {
        "filename": exported[0].metadata.filename,
        "text": b"".join(m.chunk for m in exported[1:]).decode(),
    }
    lines = ci.StreamJobAttemptLogs(
        ci_pb2.StreamJobAttemptLogsRequest(attempt_id=attempt), metadata=who, timeout=60
    )
    said["lines"] = [m.line.body for m in lines if m.HasField("line")]
    broken = ci.StreamJobAttemptLogs(ci_pb2.StreamJobAttemptLogsRequest(), metadata=who, timeout=60)
    try:
        list(broken)
    except grpc.RpcError as error:
        said["broken stream"] = error.code().name  # type: ignore[attr-defined]

    compute = api_pb2_grpc.DepotComputeServiceStub(channel)
    command = api_pb2.Command(command_array=["sh", "-c", "cat made.txt; echo oh >&2; exit 4"])
    ended = list(
        compute.RemoteExec(
            api_pb2.ExecuteCommandRequest(sandbox_id=sandbox, command=command), metadata=who, timeout=60
        )
    )
    said["exec"] = {
        "out": b"".join(m.stdout_raw for m in ended).decode(), "err": b"".join(m.stderr_raw for m in ended).decode(), "code": ended[-1].exit_code,
    }  # fmt: skip
    slow = api_pb2.Command(command_array=["sleep", "60"], timeout_ms=1000)
    said["timeout"] = list(
        compute.RemoteExec(
            api_pb2.ExecuteCommandRequest(sandbox_id=sandbox, command=slow), metadata=who, timeout=60
        )
    )[-1].exit_code
    pipe = [
        api_pb2.ExecuteCommandPipeRequest(
            init=api_pb2.ExecuteCommandRequest(
                sandbox_id=sandbox, command=api_pb2.Command(command_array=["tr", "a-z", "A-Z"])
            )
        ),
        api_pb2.ExecuteCommandPipeRequest(stdin=b"through "),
        api_pb2.ExecuteCommandPipeRequest(stdin=b"a pipe"),
    ]
    piped = list(compute.ExecPipe(iter(pipe), metadata=who, timeout=60))
    said["pipe"] = {"out": "".join(m.stdout for m in piped), "code": piped[-1].exit_code}
    said["terminal"] = terminal(compute, api_pb2, sandbox, who)
    wrong = api_pb2.OpenPtySessionRequest(stdin=b"x")
    for name, first, metadata in (
        ("no init", wrong, who),
        ("no token", api_pb2.OpenPtySessionRequest(init=api_pb2.PtySession(sandbox_id=sandbox)), ()),
        ("no sandbox", api_pb2.OpenPtySessionRequest(init=api_pb2.PtySession(sandbox_id="0000000000")), who),
    ):
        try:
            list(compute.OpenPtySession(iter([first]), metadata=metadata, timeout=60))
        except grpc.RpcError as error:
            said[name] = error.code().name  # type: ignore[attr-defined]
    json.dump(said, sys.stdout)


def terminal(compute: Any, api_pb2: Any, sandbox: str, who: Any) -> Any:
    """A shell in which something is typed after each answer."""
    typed = [
        api_pb2.OpenPtySessionRequest(
            init=api_pb2.PtySession(sandbox_id=sandbox, rows=20, cols=60, env={"WORD": "given"})
        ),
        api_pb2.OpenPtySessionRequest(window_resize=api_pb2.WindowResize(rows=33, cols=77)),
        api_pb2.OpenPtySessionRequest(stdin=b"stty size; echo $WORD-$((6*7)); pwd; exit 9\n"),
    ]
    shown, code = b"", None
    for message in compute.OpenPtySession(iter(typed), metadata=who, timeout=60):
        if message.WhichOneof("message") == "exit_code":
            code = message.exit_code
        shown += message.stdout
    return {"shown": shown.decode(), "code": code}


main()
