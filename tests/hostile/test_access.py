"""Who may do what: every route of every door, asked by everybody who may not (contracts/reliability.md §5 F1
to F5).

The table of routes comes from the applications themselves, so a new route is in it by being there. All in
memory: the whole server but its socket.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from runyard.app.compose import House, build
from runyard.app.first_start import prepare
from runyard.dialects.depot.gen.depot.cache.v1 import cache_connect
from runyard.dialects.depot.gen.depot.ci.v1 import api_connect, ci_connect
from runyard.dialects.depot.gen.depot.ci.v1 import secrets_connect as secrets_v1
from runyard.dialects.depot.gen.depot.ci.v1 import variables_connect as variables_v1
from runyard.dialects.depot.gen.depot.ci.v2 import migration_connect
from runyard.dialects.depot.gen.depot.ci.v2 import secrets_connect as secrets_v2
from runyard.dialects.depot.gen.depot.ci.v2 import variables_connect as variables_v2
from runyard.dialects.depot.gen.depot.ci.v3beta2 import secrets_connect as secrets_v3
from runyard.dialects.depot.gen.depot.ci.v3beta2 import variables_connect as variables_v3
from runyard.dialects.depot.gen.depot.core.v1 import org_connect
from runyard.dialects.depot.gen.runner.v1 import services_connect as fleet_connect
from runyard.dialects.depot.results import door as depot_results
from runyard.dialects.gitlab.desk import Desk as GitlabDesk
from runyard.dialects.gitlab.desk import Door
from runyard.dialects.gitlab.routes import table as gitlab_table
from runyard.dialects.looker.routes import PREFIX as LOOKER
from runyard.dialects.looker.routes import table as looker_table
from runyard.engine import dispatch, trigger
from runyard.engine.access import add_member
from runyard.engine.dispatch import Finish
from runyard.engine.ports import Tx
from runyard.http.auth import hash_token, job_token
from runyard.model.access import Role
from runyard.model.plan import JobPlan, Plan, WorkflowPlan
from runyard.model.state import Outcome
from runyard.model.trigger import Trigger
from runyard.model.work import Member, Project, Record, Runner, Token, User
from runyard.settings import Settings

ROOT, PLAIN = "glpat-root-of-the-test", "glpat-plain-person"
PUBLIC = {  # what anyone may ask; everything else needs a token
    ("GET", "/api/4.0/versions"),
    ("GET", "/api/4.0/openapi.json"),
    ("GET", "/api/v1/openapi.json"),
    ("GET", "/api/v4/openapi.json"),
    ("GET", "/"),
    ("GET", "/sign-in"),
    ("GET", "/favicon.ico"),
    ("GET", "/-/events/runs"),  # rings a bell without a word
}
STREAMED = re.compile(
    r"/((Stream|Export)\w+|OpenPtySession|RemoteExec|ExecPipe)$"
)  # Connect answers these 200 and says in the stream what is wrong
ADMIN_ONLY = [  # beside the lines that GitLab's table marks
    ("POST", "/api/4.0/connections"),
    ("PATCH", "/api/4.0/connections/x"),
    ("DELETE", "/api/4.0/connections/x"),
    ("PUT", "/api/4.0/connections/x/test"),
    ("POST", "/api/4.0/login/1"),
    ("POST", "/api/4.0/users/1/credentials_api3"),
    ("POST", "/api/v1/data_sources"),
    ("POST", "/api/v1/ci"),
]


@dataclass(frozen=True)
class World:
    """A server with a private project in which a job runs, a second project with a job of its own, and every
    kind of token."""

    house: House
    ids: dict[str, str]
    tokens: dict[str, str]

    def ask(self, method: str, path: str, token: str = "") -> httpx.Response:
        """One request with the token wherever that door looks for one."""
        headers: dict[str, str] = {"Content-Type": "application/json"}
        body: dict[str, Any] = {"ref": "main", "token": token, "name": "n", "path": "p/q", "state": "running"}
        if token and path.startswith("/api/v4"):
            headers |= {"JOB-TOKEN": token} if token.startswith("glcbt-") else {"PRIVATE-TOKEN": token}
        elif token and path.startswith("/api/v1"):
            headers["Authorization"] = f"Key {token}"
        elif token and path.startswith(("/api/4.0", "/depot.", "/api/logout", *depot_results.PREFIXES)):
            headers["Authorization"] = f"Bearer {token}"
        elif token and path.startswith("/api/actions"):
            headers |= {"x-runner-token": token, "x-runner-uuid": "None"}
        elif token:
            headers["Cookie"] = f"runyard_session={token}"
        if path.endswith("/trace"):
            headers["Content-Range"] = "0-1"

        content = json.dumps(body).encode()
        if path == "/sign-in":
            headers["Content-Type"], content = "application/x-www-form-urlencoded", urlencode(body).encode()
        if STREAMED.search(path):
            headers["Content-Type"], content = "application/connect+json", b"\0\0\0\0\2{}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.house.front, raise_app_exceptions=True)  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
                return await client.request(
                    method, path, headers=headers, content=content if method != "GET" else None
                )

        return asyncio.run(send())


def running(tx: Tx, house: House, project: Project, user: User) -> tuple[int, int, str]:
    """(run, attempt, job token) of a job that runs in the project."""
    now = house.services.now()
    plan = Plan((WorkflowPlan("w", jobs=(JobPlan("a", "a", stock=True),)),))
    source = Trigger(project, "gitlab", "api", "main", "a" * 40, user, now)
    run = trigger.accept(tx, source, plan, now, house.services.terms)
    runner = tx.add(Runner(0, hash_token(f"glrt-{run.id}"), project_id=project.id, stock=False))
    given = dispatch.claim(tx, runner, job_token, now, house.services.terms, house.services.vault)
    assert given is not None
    return run.id, given.attempt_id, given.token


def fill(tx: Tx, house: House) -> tuple[dict[str, str], dict[str, str]]:
    now = house.services.now()
    person = tx.add(User(0, "plain"))
    own, other = (tx.add(Project(0, path, path)) for path in ("own/one", "other/two"))
    for project in (own, other):
        add_member(tx, Member(0, person.id, Role.MAINTAINER, project.id))
    run, attempt, _ = running(tx, house, own, person)
    _, _, foreign = running(tx, house, other, person)
    _, ended_attempt, ended = running(tx, house, own, person)
    dispatch.finish(tx, ended_attempt, ended, Finish(Outcome.PASSED), now)

    def token(text: str, kind: str = "personal", **more: Any) -> str:
        tx.add(replace(Token(0, kind, hash_token(text), person.id, created_at=now), **more))
        return text

    token(PLAIN)
    tokens = {
        "none": "",
        "garbage": "glpat-garbage",
        "looks like a job": f"glcbt-{attempt}-garbage",
        "expired": token("glpat-expired", expires_at=now - 1),
        "revoked": token("glpat-revoked", revoked_at=now - 1),
        "revoked session": token("rys-revoked", "session", revoked_at=now - 1),
        "a trigger's": token("glptt-trigger", "trigger", project_id=other.id),
        "an API3 secret": token("lks-secret", "api3", name="client"),
        "a registration's": token("GR-other", "registration", project_id=other.id),
        "an ended job's": ended,
    }
    record = tx.add(Record(0, "looker.suite", own.id, "1", {}, now, now))
    ids = {
        "id": "own%2Fone", "project_id": "own%2Fone", "path:path": "own/one", "job_id": str(attempt), "pipeline_id": str(run), "run_id": str(run),
        "id:row": str(attempt), "runner_id": "1", "user_id": str(person.id), "suite_id": str(record.id), "position": "1", "key": "K",
    }  # fmt: skip
    return ids, tokens | {"foreign job": foreign, "runner": "glrt-2"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = Settings(
        data=tmp_path_factory.mktemp("access"), root_token=ROOT, registration_token="GRinstance"
    )
    house = build(settings, prepare(settings), "http://ci.test")
    ids, tokens = house.services.db.submit_write(lambda tx: fill(tx, house)).result()
    assert house.front is not None
    house.front.guesses._burst = 10**9  # this test is nothing but bad tokens
    yield World(house, ids, tokens)
    house.close()


DEPOT_SERVICES = (
    api_connect, ci_connect, migration_connect, org_connect, cache_connect, secrets_v1, secrets_v2, secrets_v3, variables_v1, variables_v2, variables_v3,
)  # fmt: skip
"""All but the login, which is for strangers."""


def routes(world: World) -> list[tuple[str, str]]:
    """(method, path with real ids) of every door and the pages."""
    found = [(line.method, "/api/v4" + line.path) for line in gitlab_table(GitlabDesk(world.house.services))]
    found += [
        (line.method, line.path if line.path.startswith("/api/") else LOOKER + line.path)
        for line in looker_table()
    ]
    by_name = dict(zip([*world.house.dialects, "web", "health"], world.house.late, strict=True))
    document: dict[str, Any] = by_name["datafold"].made().openapi()  # type: ignore[attr-defined]
    found += [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    for generated in DEPOT_SERVICES:
        text = Path(generated.__file__).read_text(encoding="utf-8")
        found += [("POST", path) for path in sorted(set(re.findall(r'"(/depot\.[\w.]+/\w+)"', text)))]
    text = Path(fleet_connect.__file__).read_text(encoding="utf-8")
    found += [
        ("POST", f"/api/actions{path}") for path in sorted(set(re.findall(r'"(/runner\.[\w.]+/\w+)"', text)))
    ]
    found += depot_results.routes()
    found += [("PUT", "/_results/uploads/1"), ("GET", "/_results/caches/1")]  # by signature only
    for route in by_name["web"].made().routes:  # type: ignore[attr-defined]
        found += [(method, route.path) for method in getattr(route, "methods", None) or ()]
    fill_in = lambda m: world.ids.get(m[1], "1")  # noqa: E731 - used once
    return [(method, re.sub(r"\{([^}]+)\}", fill_in, path)) for method, path in found if method != "HEAD"]


def judged(method: str, path: str, answer: httpx.Response) -> str:
    """What is wrong with the answer to a stranger, or nothing."""
    if (method, path) in PUBLIC and answer.status_code == 200:
        return ""
    if answer.status_code in (401, 403, 404):
        return ""
    if answer.status_code == 303 and (
        path == "/sign-out" or answer.headers["location"].startswith("/sign-in?next=")
    ):
        return ""
    if STREAMED.search(path) and '"code":"unauthenticated"' in answer.text.replace(" ", ""):
        return ""
    if answer.status_code == 400 and "token is empty" in answer.text:
        return ""  # an open door that was shown no token at all
    return f"{method} {path}: {answer.status_code} {answer.text[:120]}"


def test_the_table_is_whole(world: World) -> None:
    table = routes(world)
    assert len(table) > 120
    for prefix in (
        "/api/v4/",
        "/api/4.0/",
        "/api/v1/",
        "/depot.ci.",
        "/depot.core.",
        "/api/actions/runner.v1.RunnerService/",
        "/own/one/-/",
        "/twirp/",
        "/_apis/",
    ):
        assert sum(path.startswith(prefix) for _, path in table) > 0


OF_RUNNERS = ("runner", "a registration's")
STRANGERS = [
    "none", "garbage", "looks like a job", "expired", "revoked", "revoked session", "a trigger's", "an API3 secret", "a registration's",
    "an ended job's", "runner",
]  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("who", STRANGERS)
def test_no_stranger_gets_anything_anywhere(world: World, who: str) -> None:
    token = world.tokens[who]
    wrong = []
    for method, path in routes(world):
        if (
            path == "/-/events/runs"
            or (who in OF_RUNNERS and "/runners" in path)
            or path.endswith("/jobs/request")
        ):
            continue  # an endless answer; runners' own routes; a runner that waits for work
        wrong += [problem] if (problem := judged(method, path, world.ask(method, path, token))) else []
    assert wrong == []


@pytest.mark.timeout(120)
def test_a_jobs_token_opens_nothing_of_another_private_project(world: World) -> None:
    token = world.tokens["foreign job"]
    wrong = []
    for method, path in routes(world):
        if "own" in path or "/jobs/" in path or path.startswith("/depot.ci."):
            answer = world.ask(method, path, token)
            if answer.status_code < 400 and not (path.startswith("/depot.") and "own/one" not in answer.text):
                wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:120]}")
    assert wrong == []


def test_an_id_of_one_project_is_unknown_in_another(world: World) -> None:
    """Even to those who may see both (F2)."""
    wrong, asked = [], 0
    for method, path in routes(world):
        if re.search(r"own(%2F|/)one/.*(jobs|pipelines|runs|suites|artifacts)/\d+", path):
            elsewhere = path.replace("own%2Fone", "other%2Ftwo").replace("own/one", "other/two")
            answer = world.ask(method, elsewhere, ROOT)
            asked += 1
            if answer.status_code < 400:
                wrong.append(f"{method} {elsewhere}: {answer.status_code} {answer.text[:120]}")
    assert wrong == []
    assert asked > 25


def test_what_is_the_administrators_is_refused_to_a_person(world: World) -> None:
    lines = gitlab_table(GitlabDesk(world.house.services))
    admins = [(line.method, "/api/v4" + line.path) for line in lines if line.door is Door.ADMIN]
    assert ("GET", "/api/v4/runners/all") in admins
    got = {}
    for method, path in [*admins, *ADMIN_ONLY]:
        filled = re.sub(r"\{([^}]+)\}", lambda m: world.ids.get(m[1], "1"), path)
        got[method, path] = world.ask(method, filled, PLAIN).status_code
    assert {where: status for where, status in got.items() if status != 403} == {}


def test_the_person_and_the_administrator_are_let_in(world: World) -> None:
    """Else the tests above would pass on a server that refuses everybody."""
    for token in (PLAIN, ROOT):
        assert world.ask("GET", "/api/v4/projects/own%2Fone/jobs", token).status_code == 200
        assert world.ask("GET", "/api/4.0/user", token).status_code == 200
        assert world.ask("GET", "/api/v1/data_sources", token).status_code == 200
        assert world.ask("POST", "/depot.ci.v1.CIService/ListRuns", token).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v4/projects/own%2Fone/variables;.jsp",
        "/api/v4/user;x=1",
        "//api/v4/user",
        "/api/v4//user",
        "/api/v4/./user",
        "/api/%76%34/user",
        "/API/V4/user",
        "/api/v4/user/",
        "/api/v4/x/../user",
        "/api/v4/%2e%2e/v4/user",
        "/api/4.0/connections/",
        "/api//4.0/connections",
        "/api/4.0/login/../connections",
        "/api/v1/data_sources/?x=/openapi.json",
        "/api/v4/version/RPC2",
    ],
)
def test_no_spelling_of_a_path_goes_round_the_door(world: World, path: str) -> None:
    assert world.ask("GET", path).status_code in (301, 307, 308, 401, 404)


@pytest.mark.parametrize(
    "header", ["X-HTTP-Method-Override", "X-Original-URL", "X-Forwarded-User", "X-Rewrite-URL"]
)
def test_no_header_changes_the_method_the_path_or_the_person(world: World, header: str) -> None:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=world.house.front, raise_app_exceptions=True)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test") as client:
            return await client.get("/api/v4/user", headers={header: "root"})

    assert asyncio.run(send()).status_code == 401
