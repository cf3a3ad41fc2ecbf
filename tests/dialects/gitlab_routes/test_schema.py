"""Schemathesis over the door's own OpenAPI page: no 5xx, documented statuses and shapes only; a line that
wants a token never answers without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from runyard.dialects.gitlab import DIALECT
from runyard.dialects.gitlab.desk import Desk, Door
from runyard.dialects.gitlab.documented import PARAMETERS, SUCCESS
from runyard.dialects.gitlab.openapi import document
from runyard.dialects.gitlab.routes import PREFIX, table
from tests.services import ROOT, services_of

from .conftest import CONFIG, House

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
LINES = table(Desk(SimpleNamespace(vault=None)))  # type: ignore[arg-type]  # nothing is asked of the services here
# A long poll would hold each case for its whole time.
TESTED = [line for line in LINES if line.path != "/jobs/request" and line.method != "HEAD"]
SCHEMA = schemathesis.openapi.from_dict(document(TESTED, PREFIX, "test"))
KNOWN = {
    "ref": "main",
    "name": "main",
    "path": "README.md",
    "rest": "main/download",
    "key": "K",
    "user": "1",
    "position": "1",
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A door with one of each noun in it, shared by all cases."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    services, time = services_of(DIALECT, folder, registration_token="GRsecret")
    house = House(services, DIALECT.mount(services), folder, time)
    project = house.project(config=CONFIG)
    house.pipeline(project)
    p = f"/projects/{project}"
    for path, body in (
        (f"{p}/variables", {"key": "K", "value": "v"}),
        (f"{p}/triggers", {"description": "d"}),
        (f"{p}/environments", {"name": "prod"}),
        (f"{p}/pipeline_schedules", {"description": "d", "ref": "main", "cron": "0 4 * * *"}),
        (f"{p}/repository/branches", {"branch": "f", "ref": "main"}),
        (f"{p}/merge_requests", {"source_branch": "f", "target_branch": "main", "title": "t"}),
        (f"{p}/statuses/main", {"state": "pending"}),
        ("/user/runners", {"runner_type": "instance_type"}),
    ):
        assert house.call("POST", path, json=body).status_code == 201, path
    yield house
    house.loop.run_until_complete(house.loop.shutdown_default_executor())
    house.loop.close()
    services.db.close()


def send(house: House, case: Any, token: str | None) -> httpx.Response:
    """The case as a request, with this token and no other."""
    arguments = case.as_transport_kwargs(base_url="http://ci.test")
    headers = {k: v for k, v in dict(arguments["headers"]).items() if k.lower() not in CREDENTIALS}
    if token:
        headers["PRIVATE-TOKEN"] = token
    body = {"json": arguments["json"]} if "json" in arguments else {}

    async def work() -> httpx.Response:
        transport = httpx.ASGITransport(app=house.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(
                arguments["method"], arguments["url"], params=arguments.get("params"), headers=headers, **body
            )

    return house.run(work())


CREDENTIALS = ("authorization", "private-token", "job-token")


@SCHEMA.parametrize()
@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_any_request_is_answered_as_documented(case: Any, fuzzed: House) -> None:
    """Two thirds of the path parameters mean something that is there; what would end the shared world is
    asked of things that are not."""
    deadly = case.method == "DELETE" and case.path in (
        f"{PREFIX}/projects/{{id}}",
        f"{PREFIX}/personal_access_tokens/self",
    )
    for name in case.path_parameters or {}:
        if len(str(case.path_parameters[name])) % 3 and not deadly:
            case.path_parameters[name] = KNOWN.get(name, "1")
    if deadly and not case.path_parameters:
        return
    answer = send(fuzzed, case, ROOT)
    case.validate_response(answer, checks=CHECKS)


def test_no_parameter_opens_a_line_without_a_token(fuzzed: House) -> None:
    """Auth is never ignored: whatever else a request says, a line that wants a token answers 401 without a
    good one."""
    for line in LINES:
        if line.door in (Door.OPEN,):
            continue
        path = re.sub(r"\{(\w+)(?::path)?\}", lambda m: KNOWN.get(m[1], "1"), line.path)
        for token in (None, "glpat-wrong"):
            body = (
                {}
                if line.method in ("GET", "HEAD")
                else {"json": {"ref": "main", "user_id": 1, "username": "root"}}
            )
            answer = fuzzed.call(
                line.method, path, token=token, params={"user_id": "1", "admin": "true"}, **body
            )
            assert answer.status_code == 401, (line.method, line.path, answer.text)


def test_what_is_documented_is_there(fuzzed: House) -> None:
    templates = {(line.method, re.sub(r"\{(\w+)(?::path)?\}", r"{\1}", line.path)) for line in LINES}
    assert set(PARAMETERS) <= templates and set(SUCCESS) <= templates
