"""Secrets and variables through all three versions of the services, and which value a job then sees."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.http.auth import hash_token
from runyard.model.work import SecretVariable, Token, User
from tests.dialects.depot_routes.conftest import House
from tests.services import ROOT

USES = """
on: push
env: {WHO: "${{ vars.WHO }}"}
jobs:
  build:
    runs-on: ubuntu-latest
    env: {KEY: "${{ secrets.KEY }}", LOWER: "${{ secrets.key }}"}
    steps: [{run: "true"}]
"""


def call(house: House, service: str, method: str, body: Any = None, token: str = ROOT) -> Any:
    return house.request("POST", f"/depot.ci.{service}/{method}", token, json=body or {})


def ok(house: House, service: str, method: str, body: Any = None) -> Any:
    answer = call(house, service, method, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def put(house: House, name: str, value: str, **attributes: str) -> Any:
    pairs = [{"key": key, "value": text} for key, text in attributes.items()]
    body = {"secretName": name, "variantName": "default", "value": value, "attributes": pairs}
    return ok(house, "v3beta2.SecretService", "SetSecretVariant", body)


def test_the_most_specific_variant_reaches_the_job(house: House) -> None:
    house.project(workflow=USES)
    put(house, "KEY", "of everyone")
    put(house, "KEY", "of demo", repository="GROUP/demo")
    put(house, "KEY", "of demo's other branch", repository="group/demo", branch="other")
    put(house, "KEY", "of another workflow", repository="group/demo", workflow="other.yml")
    ok(house, "v2.VariableService", "AddOrgVariable", {"name": "WHO", "value": "everyone"})
    ok(house, "v2.VariableService", "AddRepoVariable", {"repo": "group/demo", "name": "WHO", "value": "demo"})
    house.start()
    job = house.claim()
    assert {v.key: v.value for v in job.variables}.items() >= {
        "KEY": "of demo",
        "LOWER": "of demo",
        "WHO": "demo",
    }.items()
    assert "of demo" in job.masks and "of everyone" not in job.masks
    put(house, "KEY", "of demo's ci.yml on main", repository="group/demo", branch="main", workflow="ci.yml")
    house.start()
    assert "of demo's ci.yml on main" in house.claim().masks


def test_values_are_sealed_and_secrets_never_come_back(house: House) -> None:
    put(house, "KEY", "hunter-two")
    rows = house.write(lambda tx: tx.secret_variables(None))
    assert all("hunter-two" not in row.value for row in rows)
    for service, method, body in (
        ("v3beta2.SecretService", "ListSecrets", {}),
        ("v3beta2.SecretService", "GetSecret", {"name": "KEY"}),
        ("v2.SecretService", "ListOrgSecrets", {}),
        ("v1.SecretService", "ListSecrets", {}),
    ):
        answer = call(house, service, method, body)
        assert answer.status_code == 200 and "KEY" in answer.text and "hunter-two" not in answer.text


def test_a_secret_through_its_life(house: House) -> None:
    first = put(house, "KEY", "1")
    assert first["createdSecret"] and first["createdVariant"]
    second = put(house, "KEY", "2", repository="a/b")
    assert "createdSecret" not in second and second["createdVariant"]
    again = put(house, "KEY", "3", repository="A/B")
    assert "createdVariant" not in again and again["variant"]["id"] == second["variant"]["id"]
    secret = ok(house, "v3beta2.SecretService", "GetSecret", {"name": "KEY"})["secret"]
    assert (
        secret["variantCount"] == 2
        and ok(house, "v3beta2.SecretService", "GetSecret", {"id": secret["id"]})["secret"] == secret
    )
    assert [v["attributes"] for v in secret["variants"][1:]] == [[{"key": "repository", "value": "A/B"}]]
    variant = secret["variants"][1]["id"]
    told = {
        "variantId": variant,
        "name": "mine",
        "description": "why",
        "attributes": [{"key": "branch", "value": "main"}],
    }
    changed = ok(house, "v3beta2.SecretService", "UpdateSecretVariantMetadata", told)["variant"]
    assert (changed["name"], changed["description"]) == ("mine", "why")
    ok(house, "v3beta2.SecretService", "UpdateSecretVariantValue", {"variantId": variant, "value": "4"})
    rows = {r.id: r for r in house.write(lambda tx: tx.secret_variables(None))}
    assert sorted(house.services.vault.open(r.value) for r in rows.values()) == ["1", "4"]
    assert ok(house, "v3beta2.SecretService", "DeleteSecretVariant", {"variantId": variant}) == {}
    assert ok(house, "v3beta2.SecretService", "DeleteSecret", {"name": "KEY"}) == {}
    assert house.write(lambda tx: tx.secret_variables(None)) == []


def test_what_a_context_would_get(house: House) -> None:
    put(house, "KEY", "1")
    put(house, "KEY", "2", repository="a/b")
    put(house, "KEY", "3", repository="a/b", branch="main")
    put(house, "KEY", "4", repository="x/y")
    context = [{"key": "repository", "value": "A/b"}]
    (secret,) = ok(house, "v3beta2.SecretService", "ListSecrets", {"context": context})["secrets"]
    said = [v.get("resolution", "").removeprefix("VARIANT_RESOLUTION_") for v in secret["variants"]]
    assert said == ["LOWER_PRIORITY", "RESOLVED", "INDETERMINATE", ""]


def test_pages_queries_and_attributes(house: House) -> None:
    for number in range(5):
        put(house, f"KEY_{number}", "v", repository="a/b")
    put(house, "OTHER", "v")
    page = ok(
        house, "v3beta2.SecretService", "ListSecrets", {"query": "key", "page": {"page": 2, "pageSize": 2}}
    )
    assert [s["name"] for s in page["secrets"]] == ["KEY_2", "KEY_3"]
    assert page["page"] == {"page": 2, "pageSize": 2, "hasMore": True}
    only = {"attributes": [{"key": "repository", "value": "a/b"}]}
    assert len(ok(house, "v3beta2.SecretService", "ListSecrets", only)["secrets"]) == 5
    counts = ok(house, "v3beta2.SecretService", "ListSecretAttributes")["attributes"]
    assert counts == [{"attribute": {"key": "repository", "value": "a/b"}, "linkCount": 5}]


def test_older_versions_are_views_of_the_same(house: House) -> None:
    many = [{"name": "A", "value": "1"}, {"name": "B", "value": "2", "description": "b"}]
    ok(house, "v1.VariableService", "BatchAddVariables", {"variables": many})
    ok(
        house,
        "v2.VariableService",
        "BatchAddRepoVariables",
        {"repo": "a/b", "variables": [{"name": "A", "value": "3"}]},
    )
    assert ok(house, "v1.VariableService", "GetAllVariables")["variables"] == {"A": "1", "B": "2"}
    assert ok(house, "v2.VariableService", "GetOrgVariableValues")["variables"] == {"A": "1", "B": "2"}
    assert ok(house, "v2.VariableService", "GetRepoVariableValues", {"repo": "A/B"})["variables"] == {
        "A": "3"
    }
    shown = ok(house, "v3beta2.VariableService", "ListVariables")["variables"]
    assert [[v["value"] for v in one["variants"]] for one in shown] == [["1", "3"], ["2"]]
    ok(house, "v1.VariableService", "UpdateVariableDescription", {"name": "A", "description": "new"})
    ok(house, "v2.VariableService", "RemoveRepoVariable", {"repo": "a/b", "name": "A"})
    listed = ok(house, "v1.VariableService", "ListVariables")["variables"]
    assert [(v["name"], v["description"]) for v in listed] == [("A", "new"), ("B", "b")]


@pytest.mark.parametrize(
    ("service", "method", "body", "code"),
    [
        ("v1.SecretService", "AddSecret", {"name": "1X", "value": "v"}, "invalid_argument"),
        ("v1.SecretService", "AddSecret", {"name": "GITHUB_X", "value": "v"}, "invalid_argument"),
        ("v1.SecretService", "AddSecret", {"name": "X", "value": "v" * 70_000}, "invalid_argument"),
        ("v1.SecretService", "RemoveSecret", {"name": "X"}, "not_found"),
        ("v2.SecretService", "ListRepoSecrets", {}, "invalid_argument"),
        ("v3beta2.SecretService", "GetSecret", {}, "invalid_argument"),
        ("v3beta2.SecretService", "GetSecretVariant", {"id": "0000000000"}, "not_found"),
        ("v3beta2.SecretService", "SetSecretVariant", {"secretName": "X", "value": "v", "attributes": [{"key": "moon", "value": "x"}]}, "invalid_argument"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(house: House, service: str, method: str, body: Any, code: str) -> None:
    assert call(house, service, method, body).json()["code"] == code
    assert house.write(lambda tx: tx.secret_variables(None)) == []


def test_a_batch_is_all_or_nothing_and_create_does_not_replace(house: House) -> None:
    bad = [{"name": "A", "value": "1"}, {"name": "2", "value": "2"}]
    assert call(house, "v1.SecretService", "BatchAddSecrets", {"secrets": bad}).status_code == 400
    assert house.write(lambda tx: tx.secret_variables(None)) == []
    body = {"secretName": "A", "variantName": "default", "value": "1"}
    ok(house, "v3beta2.SecretService", "CreateSecretVariant", body)
    assert (
        call(house, "v3beta2.SecretService", "CreateSecretVariant", body).json()["code"] == "already_exists"
    )


def test_maintainers_manage_their_own_and_strangers_nothing(house: House) -> None:
    house.project("ann/app")
    house.project("group/demo")

    def ann(tx: Any) -> None:
        user = tx.add(User(0, "ann"))
        tx.add(Token(0, "personal", hash_token("anns"), user_id=user.id))

    house.write(ann)
    put(house, "KEY", "org")
    put(house, "KEY", "theirs", repository="group/demo")
    add = {"name": "KEY", "value": "hers"}
    mine = call(house, "v2.SecretService", "AddRepoSecret", {**add, "repo": "ann/app"}, "anns")
    assert mine.status_code == 200, mine.text
    for body in ({**add, "repo": "group/demo"}, {**add, "repo": "none/none"}):
        assert (
            call(house, "v2.SecretService", "AddRepoSecret", body, "anns").json()["code"]
            == "permission_denied"
        )
    assert call(house, "v1.SecretService", "AddSecret", add, "anns").json()["code"] == "permission_denied"
    (secret,) = call(house, "v3beta2.SecretService", "ListSecrets", {}, "anns").json()["secrets"]
    assert secret["variantCount"] == 1
    theirs = house.write(lambda tx: [r for r in tx.secret_variables(None) if "group/demo" in str(r.extra)])
    assert len(theirs) == 1 and isinstance(theirs[0], SecretVariable)
