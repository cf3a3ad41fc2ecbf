"""Identity tokens: what a job gets for `id_tokens`, checked as a stranger would check it, through discovery
and the public keys."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest

from runyard.dialects.gitlab.config.identity import identity_tokens
from runyard.engine import trigger as triggers
from runyard.model.plan import JobPlan, Plan, Variable, WorkflowPlan
from runyard.model.trigger import Trigger
from runyard.model.work import Project, User

AT = 1_800_000_000


def fetched(house: Any, path: str) -> dict[str, Any]:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
            return await client.get(path)

    answer: httpx.Response = house.run(send())
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def started(house: Any, ref: str = "main", **wanted: Any) -> dict[str, Any]:
    """The payload of a job with these id_tokens and `AUD` among its variables."""

    def accept(tx: Any) -> None:
        project = tx.add(Project(0, "group/app", "app"))
        user: User = tx.user_by_name("root")
        asked = Trigger(project, "gitlab", "push", ref, "a" * 40, user, AT * 1000)
        environment = {"name": "prod/eu", "deployment_tier": "production", "action": "start"}
        job = JobPlan(
            "deploy", "deploy", stock=True, timeout_s=600, variables=(Variable("AUD", "https://vault.test"), Variable("OWN", "mine")),
            identity_tokens=identity_tokens(wanted, asked, environment, ".gitlab-ci.yml"),
        )  # fmt: skip
        plan = Plan((WorkflowPlan("w", jobs=(job,)),))
        triggers.accept(tx, asked, plan, AT * 1000, house.services.terms)

    house.write(accept)
    answer = house.claim(house.runner())
    assert answer.status_code == 201, answer.text
    payload: dict[str, Any] = answer.json()
    return payload


def judged(house: Any, text: str, audience: str) -> dict[str, Any]:
    """What a service that trusts this server reads in a token."""
    about = fetched(house, "/.well-known/openid-configuration")
    assert about["issuer"] == "http://ci.test" and about["jwks_uri"] == "http://ci.test/oauth/discovery/keys"
    keys = jwt.PyJWKSet.from_dict(fetched(house, "/oauth/discovery/keys"))
    key = keys[jwt.get_unverified_header(text)["kid"]]
    unjudged_times = {
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
    }  # the house's clock stands still
    claims: dict[str, Any] = jwt.decode(
        text, key, ["RS256"], audience=audience, issuer=about["issuer"], options=unjudged_times  # type: ignore[arg-type]
    )  # fmt: skip
    return claims


def test_a_token_says_who_the_job_is_to_whoever_trusts_the_keys(house: Any) -> None:
    job = started(house, VAULT_TOKEN=("$AUD",), TWO=("https://a.test", "https://b.test"))
    sent = {v["key"]: v for v in job["variables"]}
    assert sent["VAULT_TOKEN"]["masked"] and sent["VAULT_TOKEN"]["raw"] and not sent["VAULT_TOKEN"]["public"]
    claims = judged(house, sent["VAULT_TOKEN"]["value"], "https://vault.test")
    assert claims["sub"] == "project_path:group/app:ref_type:branch:ref:main"
    assert claims["job_id"] == str(job["id"]) and claims["pipeline_id"] == str(job["job_info"]["pipeline_id"])
    assert (
        claims["ref_protected"] == "true"
        and claims["environment"] == "prod/eu"
        and claims["user_login"] == "root"
    )
    assert (claims["iat"], claims["exp"]) == (AT, AT + 600)
    assert judged(house, sent["TWO"]["value"], "https://b.test")["aud"] == [
        "https://a.test",
        "https://b.test",
    ]
    with pytest.raises(jwt.InvalidAudienceError):
        judged(house, sent["TWO"]["value"], "https://vault.test")


def test_a_variable_of_the_same_name_wins_and_a_branch_cannot_speak_in_templates(house: Any) -> None:
    job = started(house, "${{ attempt.token }}", OWN=("x",), ID=("x",))
    sent = {v["key"]: v["value"] for v in job["variables"]}
    assert sent["OWN"] == "mine"
    claims = judged(house, sent["ID"], "x")
    assert claims["ref"] == "${{ attempt.token }}" and claims["ref_protected"] == "false"


def test_the_key_is_sealed_and_survives_a_restart(house: Any) -> None:
    shown = fetched(house, "/oauth/discovery/keys")
    kept = house.write(lambda tx: tx.records("server.signing_key", None, None, _page()))
    assert len(kept) == 1 and "PRIVATE" not in json.dumps(kept[0].data["sealed"])
    assert {"d", "p", "q"}.isdisjoint(shown["keys"][0])
    again = replace(house, app=_mounted_again(house))
    assert fetched(again, "/oauth/discovery/keys") == shown


def test_twenty_who_ask_at_once_for_the_first_key_get_the_same(house: Any) -> None:
    async def all_at_once() -> list[str]:
        transport = httpx.ASGITransport(app=house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
            asked = [client.get("/oauth/discovery/keys") for _ in range(20)]
            return [answer.text for answer in await asyncio.gather(*asked)]

    assert len(set(house.run(all_at_once()))) == 1


def _page() -> Any:
    from runyard.engine.ports import Page

    return Page(limit=10)


def _mounted_again(house: Any) -> Any:
    from runyard.dialects.gitlab import DIALECT

    return DIALECT.mount(house.services)
