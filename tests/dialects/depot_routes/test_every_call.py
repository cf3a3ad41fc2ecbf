"""Every call of every service in the vendor's interface files: it is served, it wants a token, and it answers
an empty and a strange request in the vendor's codes. The table is by hand from contracts/depot.md §3 and §6;
a call that is added to the files without a row here fails."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from runyard.dialects import depot
from tests.dialects.depot_routes.conftest import ROOT, House

PROTO = Path(depot.__file__).parent / "proto" / "depot"
OPEN = {"StartLogin", "FinishLogin"}  # who signs in has no token yet
OK, INVALID, GONE, STATE = "ok", "invalid_argument", "not_found", "failed_precondition"

EMPTY = {
    "depot.ci.v1.CIService": {
        "Run": GONE, "DispatchWorkflow": INVALID, "RetryJob": GONE, "RerunWorkflow": GONE, "RetryFailedJobs": GONE, "CancelJob": GONE,
        "CancelWorkflow": GONE, "GetRun": GONE, "CancelRun": GONE, "GetRunStatus": GONE, "GetWorkflow": GONE, "GetFailureDiagnosis": INVALID,
        "GetJobAttemptMetrics": GONE, "GetJobMetrics": GONE, "GetRunMetrics": GONE, "GetJobSummary": INVALID, "ListArtifacts": GONE,
        "GetArtifactDownloadURL": GONE, "GetJobAttemptLogs": GONE, "StreamJobAttemptLogs": INVALID, "ExportJobAttemptLogs": INVALID, "ListRuns": OK,
        "ListWorkflows": OK,
    },
    "depot.ci.v1.MigrationService": {"GetInstallation": INVALID, "ImportSecretsAndVars": GONE},
    "depot.ci.v1.DepotComputeService": {"OpenPtySession": INVALID, "RemoteExec": INVALID, "ExecPipe": INVALID},
    "depot.ci.v1.SecretService": {
        "AddSecret": INVALID, "RemoveSecret": GONE, "ListSecrets": OK, "UpdateSecretDescription": GONE, "BatchAddSecrets": OK,
    },
    "depot.ci.v1.VariableService": {
        "AddVariable": INVALID, "RemoveVariable": GONE, "ListVariables": OK, "GetAllVariables": OK, "UpdateVariableDescription": GONE,
        "BatchAddVariables": OK,
    },
    "depot.ci.v2.MigrationService": {
        "ListRepositories": OK, "GetRepositoryAnalysis": GONE, "StartMigration": GONE, "RetryMigration": GONE, "ReportSecretImport": STATE,
        "RegisterSecretMigrationIntent": INVALID,
    },
    "depot.ci.v2.SecretService": {
        "AddOrgSecret": INVALID, "RemoveOrgSecret": GONE, "ListOrgSecrets": OK, "UpdateOrgSecretDescription": GONE, "BatchAddOrgSecrets": OK,
        "AddRepoSecret": INVALID, "RemoveRepoSecret": INVALID, "ListRepoSecrets": INVALID, "UpdateRepoSecretDescription": INVALID,
        "BatchAddRepoSecrets": INVALID,
    },
    "depot.ci.v2.VariableService": {
        "AddOrgVariable": INVALID, "RemoveOrgVariable": GONE, "ListOrgVariables": OK, "UpdateOrgVariableDescription": GONE, "BatchAddOrgVariables": OK,
        "AddRepoVariable": INVALID, "RemoveRepoVariable": INVALID, "ListRepoVariables": INVALID, "UpdateRepoVariableDescription": INVALID,
        "BatchAddRepoVariables": INVALID, "GetOrgVariableValues": OK, "GetRepoVariableValues": INVALID,
    },
    "depot.ci.v3beta2.SecretService": {
        "ListSecrets": OK, "ListSecretAttributes": OK, "GetSecret": INVALID, "GetSecretVariant": GONE, "CreateSecretVariant": INVALID,
        "SetSecretVariant": INVALID, "UpdateSecretVariantMetadata": GONE, "UpdateSecretVariantValue": GONE, "DeleteSecretVariant": GONE,
        "DeleteSecret": INVALID,
    },
    "depot.ci.v3beta2.VariableService": {
        "ListVariables": OK, "GetVariable": INVALID, "GetVariableVariant": GONE, "CreateVariableVariant": INVALID, "SetVariableVariant": INVALID,
        "UpdateVariableVariantValue": GONE, "UpdateVariableVariantMetadata": GONE, "DeleteVariableVariant": GONE, "DeleteVariable": INVALID,
    },
    "depot.cache.v1.CacheService": {
        "CreateEntry": INVALID, "FetchMorePresignedURLs": GONE, "FinalizeEntry": GONE, "GetDownloadURL": INVALID, "GetDownloadURLByPrefix": INVALID,
        "CheckEntries": OK, "GetBundle": INVALID, "DeleteEntry": INVALID, "ListEntries": INVALID,
    },
    "depot.cli.v1beta1.LoginService": {"StartLogin": OK, "FinishLogin": GONE},
    "depot.core.v1.OrganizationService": {"ListOrganizations": OK},
}  # fmt: skip

# Every id at once is another one's, ill made or much too long: never found, or said to be wrong, never our
# fault.
IDS = (
    "repo", "runId", "run_id", "workflowId", "jobId", "attemptId", "artifactId", "targetId", "id", "variantId", "secretName", "variableName", "name",
    "entryId", "workflow", "workflowRepoId", "migrationId", "installationId", "key", "entryType",
)  # fmt: skip
STRANGE = ("'; DROP TABLE runs; --", "../../etc", "0000000000", "b" * 10, "x" * 20_000, "\U0001f331", "\x00")


class Call(NamedTuple):
    """A method, as its interface file has it."""

    service: str
    method: str
    streams: bool

    def __str__(self) -> str:
        return f"{self.service}/{self.method}"


def calls() -> Iterator[Call]:
    for file in sorted(PROTO.rglob("*.proto")):
        text = file.read_text()
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
        assert package, file
        for service, body in re.findall(r"^service (\w+) \{(.*?)\n\}", text, re.MULTILINE | re.DOTALL):
            for method, takes, gives in re.findall(
                r"rpc (\w+)\(\s*(stream )?[\w.]+\s*\)\s*returns\s*\(\s*(stream )?", body
            ):
                yield Call(f"{package[1]}.{service}", method, bool(takes or gives))


CALLS = list(calls())


def answer(house: House, call: Call, body: Any, token: str | None = ROOT) -> str:
    """Connect's code, or `ok`."""
    data = json.dumps(body).encode()
    kind = "application/connect+json" if call.streams else "application/json"
    framed = b"\0" + struct.pack(">I", len(data)) + data if call.streams else data
    found = house.request("POST", f"/{call}", token, content=framed, headers={"content-type": kind})
    if not call.streams:
        assert (found.status_code == 200) is ("code" not in found.json()), found.text
        return str(found.json().get("code", "ok"))
    assert found.status_code == 200 and found.headers["content-type"] == kind
    rest, last = found.content, b"{}"
    while rest:
        size = struct.unpack(">I", rest[1:5])[0]
        last, rest = rest[5 : 5 + size], rest[5 + size :]
    return str(json.loads(last).get("error", {}).get("code", "ok"))


def test_the_table_is_whole() -> None:
    assert {(call.service, call.method) for call in CALLS} == {
        (service, method) for service, methods in EMPTY.items() for method in methods
    }
    assert len(EMPTY["depot.ci.v1.CIService"]) == 23


def test_every_call_answers_an_empty_request_and_wants_a_token(house: House) -> None:
    house.project()
    for call in CALLS:
        assert answer(house, call, {}) == EMPTY[call.service][call.method], call
        if call.method not in OPEN:
            for token in (None, "nonsense"):
                assert answer(house, call, {}, token) == "unauthenticated", call


@pytest.mark.parametrize("strange", STRANGE, ids=lambda text: repr(text[:12]))
def test_strange_ids_are_never_our_fault(house: House, strange: str) -> None:
    house.project()
    house.start()
    body = dict.fromkeys(IDS, strange)
    for call in CALLS:
        code = answer(house, call, body)
        assert code in (
            OK,
            INVALID,
            GONE,
            STATE,
            "resource_exhausted",
            "already_exists",
            "permission_denied",
        ), (call, code)
    assert len(house.get("ListRuns", {})["runs"]) == 1


PAGED = {
    "depot.ci.v1.CIService/ListRuns": ({}, "runs"),
    "depot.ci.v1.CIService/ListArtifacts": ({"runId": "RUN"}, "artifacts"),
    "depot.ci.v2.MigrationService/ListRepositories": ({"forge": "MIGRATION_FORGE_GITHUB"}, "repositories"),
}


@pytest.mark.parametrize("path", PAGED)
def test_pages_join_to_the_whole_and_foreign_tokens_are_refused(house: House, path: str) -> None:
    for number in range(3):
        house.project(f"group/p{number}")
    runs = [house.get("Run", {"repo": "group/p0", "workflow": "ci.yml"})["runId"] for _ in range(3)]
    job = house.claim()
    for name in ("a", "b", "c"):
        house.leave(job, name, b"x")
    body, rows = PAGED[path]
    body = {key: runs[0] if value == "RUN" else value for key, value in body.items()}

    def page(**more: Any) -> Any:
        return house.request("POST", f"/{path}", json={**body, **more}).json()

    whole = page()[rows]
    assert len(whole) == 3
    found: list[Any] = []
    token = ""
    for _ in range(5):
        one = page(pageSize=1, **({"pageToken": token} if token else {}))
        assert len(one[rows]) == 1
        found += one[rows]
        token = one.get("nextPageToken", "")
        if not token:
            break
    assert found == whole
    assert page(pageSize=2_000_000)[rows] == whole
    assert page(pageToken="not one of ours")["code"] == "invalid_argument"


def test_pages_of_one_who_sees_little_are_full(house: House) -> None:
    """Runs of others between one's own make no page short."""
    from runyard.model.access import Role
    from tests.services import PLAIN, join

    house.project("group/mine")
    house.project("group/theirs")
    house.write(lambda tx: join(tx, "plain", "group/mine", Role.DEVELOPER))
    for repo in ("mine", "theirs", "theirs", "mine", "theirs", "mine"):
        house.get("Run", {"repo": f"group/{repo}", "workflow": "ci.yml"})
    seen = house.call("ListRuns", {"pageSize": 2}, PLAIN).json()
    assert [row["repo"] for row in seen["runs"]] == ["group/mine"] * 2
    rest = house.call("ListRuns", {"pageSize": 2, "pageToken": seen["nextPageToken"]}, PLAIN).json()
    assert [row["repo"] for row in rest["runs"]] == ["group/mine"] and "nextPageToken" not in rest
