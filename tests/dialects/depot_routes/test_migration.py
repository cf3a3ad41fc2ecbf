"""MigrationService: repositories, analyses, migrations that make a branch, secrets that must come from the
forge."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.depot_routes.conftest import House
from tests.services import PLAIN

GOOD = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{uses: ./.github/actions/x}, {run: 'true'}]\n"
BAD = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{ruun: 'true'}]\n"
SHA = "a" * 40


def call(house: House, method: str, body: Any, version: str = "v2", token: str | None = None) -> Any:
    more = {} if token is None else {"token": token}
    answer = house.request("POST", f"/depot.ci.{version}.MigrationService/{method}", **more, json=body)
    return answer.json()


def hub(house: House) -> str:
    """A repository with two workflows of GitHub's; its id."""
    number = house.project("hub/demo")
    source = house.services.source
    from runyard.engine.ports import Edit

    edits = [
        Edit("create", f".github/workflows/{name}.yml", text.encode())
        for name, text in (("good", GOOD), ("bad", BAD))
    ]
    source.commit_edits(number, "main", "main", edits, "workflows", "A", "a@b", house.time[0])
    return str(number)


def test_repositories_are_those_that_one_may_see(house: House) -> None:
    for name in "abc":
        house.project(f"group/{name}")
    first = call(house, "ListRepositories", {"pageSize": 2})
    assert [r["fullName"] for r in first["repositories"]] == ["group/a", "group/b"] and first["repositories"][
        0
    ]["name"] == "a"
    rest = call(house, "ListRepositories", {"pageSize": 2, "pageToken": first["nextPageToken"]})
    assert [r["fullName"] for r in rest["repositories"]] == ["group/c"] and "nextPageToken" not in rest
    assert call(house, "ListRepositories", {}, token=PLAIN) == {}
    assert call(house, "ListRepositories", {"pageToken": "x"})["code"] == "invalid_argument"


def test_workflows_are_analysed_by_our_own_check(house: House) -> None:
    number = hub(house)
    found = call(house, "GetRepositoryAnalysis", {"workflowRepoId": number})
    assert found["repository"]["fullName"] == "hub/demo" and "migrations" not in found
    bad, good = found["workflows"]
    assert bad["analysis"]["migrationReadiness"] == "MIGRATION_READINESS_NOT_READY"
    (blocker,) = bad["analysis"]["blockers"][:1]
    assert (
        "bad.yml:5:13" in blocker["message"] and blocker["severity"] == "MIGRATION_DIAGNOSTIC_SEVERITY_FAILS"
    )
    assert (
        good["path"] == ".github/workflows/good.yml"
        and good["migrationStatus"] == "WORKFLOW_MIGRATION_STATUS_NOT_STARTED"
    )
    sent = {
        "workflows": [
            {
                "path": ".github/workflows/x.yml",
                "content": "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}",
            }
        ]
    }
    alone = call(
        house,
        "GetRepositoryAnalysis",
        {"repositoryUrl": "https://origin.example/no/where", "workflowFiles": sent},
    )
    assert (
        alone["workflows"][0]["analysis"]["migrationReadiness"] == "MIGRATION_READINESS_READY"
        and "repository" not in alone
    )
    assert (
        call(house, "GetRepositoryAnalysis", {"repositoryUrl": "https://origin.example/no/where"})["code"]
        == "not_found"
    )
    assert (
        call(house, "GetRepositoryAnalysis", {"workflowRepoId": number}, token=PLAIN)["code"] == "not_found"
    )


def test_a_migration_copies_workflows_on_a_branch(house: House) -> None:
    number = hub(house)
    body = {"workflowRepoId": number, "workflowPaths": [".github/workflows/good.yml"]}
    done = call(house, "StartMigration", body)["migration"]
    assert done["status"] == "MIGRATION_STATUS_SUCCEEDED" and done["finishedAt"] and "retryable" not in done
    source = house.services.source
    sha = source.resolve(int(number), f"depot-migrate-{done['id']}")[0].sha
    text = source.files(int(number), sha).read(".depot/workflows/good.yml")
    assert text == GOOD.replace(".github/actions", ".depot/actions").encode()
    found = call(house, "GetRepositoryAnalysis", {"workflowRepoId": number})
    assert found["migrations"] == [done]
    assert found["workflows"][1]["migrationStatus"] == "WORKFLOW_MIGRATION_STATUS_IN_PROGRESS"
    assert found["workflows"][1]["latestMigrationId"] == done["id"]
    retried = call(house, "RetryMigration", {"workflowRepoId": number, "migrationId": done["id"]})
    assert retried["code"] == "failed_precondition"
    assert (
        call(house, "RetryMigration", {"workflowRepoId": number, "migrationId": "0000000000"})["code"]
        == "not_found"
    )
    assert (
        call(house, "StartMigration", {"workflowRepoId": number, "workflowPaths": ["README.md"]})["code"]
        == "not_found"
    )
    assert call(house, "StartMigration", body, token=PLAIN)["code"] == "not_found"


def test_a_workflow_that_is_there_already_is_a_conflict_with_its_reason(house: House) -> None:
    number = hub(house)
    from runyard.engine.ports import Edit

    edit = Edit("create", ".github/workflows/ci.yml", GOOD.encode())
    house.services.source.commit_edits(int(number), "main", "main", [edit], "m", "A", "a@b", house.time[0])
    refused = call(
        house, "StartMigration", {"workflowRepoId": number, "workflowPaths": [".github/workflows/ci.yml"]}
    )
    assert refused["code"] == "already_exists"
    assert (
        refused["details"][0]["type"] == "depot.ci.v2.MigrationErrorDetail"
        and refused["details"][0]["value"] == "CAE"
    )


def test_a_failed_migration_can_be_retried(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from runyard.model.errors import Unavailable
    from runyard.sources.repositories import GitSource

    number = hub(house)
    real = GitSource.commit_edits

    def broken(*_: Any) -> Any:
        raise Unavailable("git is away")

    monkeypatch.setattr(GitSource, "commit_edits", broken)
    failed = call(
        house, "StartMigration", {"workflowRepoId": number, "workflowPaths": [".github/workflows/good.yml"]}
    )["migration"]
    assert failed["status"] == "MIGRATION_STATUS_WORKFLOW_MIGRATION_FAILED" and failed["retryable"]
    monkeypatch.setattr(GitSource, "commit_edits", real)
    again = call(house, "RetryMigration", {"workflowRepoId": number, "migrationId": failed["id"]})[
        "migration"
    ]
    assert again["id"] == failed["id"] and again["status"] == "MIGRATION_STATUS_SUCCEEDED"


def test_secrets_come_by_an_intent_and_a_workflow_at_the_forge(house: House) -> None:
    house.project("hub/demo")
    url = "https://github.com/hub/demo"
    intent = call(house, "RegisterSecretMigrationIntent", {"sha": SHA, "repositoryUrl": url})
    assert (
        len(intent["id"]) == 10
        and set(intent["id"]) <= set("0123456789bcdfghjklmnpqrstvwxz")
        and intent["expiresAt"]
    )
    assert (
        call(house, "RegisterSecretMigrationIntent", {"sha": "x", "repositoryUrl": url})["code"]
        == "invalid_argument"
    )
    report = {"succeeded": True, "jobs": [{"name": "import", "conclusion": "success"}]}
    assert call(house, "ReportSecretImport", report) == {}
    assert call(house, "ReportSecretImport", report)["code"] == "failed_precondition"
    dry = {
        "repo": "hub/demo",
        "dryRun": True,
        "branchName": "b",
        "includeSecrets": ["KEY"],
        "includeVars": ["WHO"],
    }
    made = call(house, "ImportSecretsAndVars", dry, "v1")["dryRunResult"]
    assert (
        made["branchName"] == "b"
        and "secrets.KEY" in made["workflowContent"]
        and "vars.WHO" in made["workflowContent"]
    )
    assert (
        call(house, "ImportSecretsAndVars", {**dry, "dryRun": False}, "v1")["code"] == "failed_precondition"
    )
    for bad in (
        {"includeSecrets": ["A B"]},
        {"branchName": "a b"},
        {"includeSecrets": [], "includeVars": []},
    ):
        assert call(house, "ImportSecretsAndVars", {**dry, **bad}, "v1")["code"] == "invalid_argument"
