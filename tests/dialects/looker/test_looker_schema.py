"""Schemathesis over the door's own OpenAPI page: no 5xx, documented statuses and shapes only, and a line that
wants a token never answers without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from runyard.dialects.looker.openapi import document
from runyard.dialects.looker.routes import PREFIX, table
from tests.services import ROOT

from .conftest import House, bakery

SCHEMA = schemathesis.openapi.from_dict(document(table(), PREFIX, "test"))
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
OPEN = {("POST", "/login"), ("GET", "/versions")}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A door with a project, a suite, a connection and a run in it, shared by all cases."""
    from runyard.dialects.looker import DIALECT
    from tests.services import services_of

    folder: Path = tmp_path_factory.mktemp("fuzz")
    services, time = services_of(DIALECT, folder)
    house = House(services, DIALECT.mount(services), folder, time=time)
    house.push(bakery())
    house.ok(
        "POST", "/connections", json={"name": "bakery", "dialect_name": "duckdb", "database": "/nope.duckdb"}
    )
    house.ok("POST", "/projects/1/continuous_integration/runs", json={"suite_id": house.suite()})
    yield house
    house.loop.run_until_complete(house.loop.shutdown_default_executor())
    house.loop.close()
    services.db.close()


def send(house: House, case: Any, token: str | None) -> httpx.Response:
    """The case as a request; half of the path parameters mean something that is there."""
    arguments = case.as_transport_kwargs(base_url="http://ci.test")
    headers = {k: v for k, v in dict(arguments["headers"]).items() if k.lower() != "authorization"}
    if token:
        headers["Authorization"] = f"token {token}"
    body = {"json": arguments["json"]} if "json" in arguments else {}
    if arguments.get("data") is not None:
        data = arguments["data"]
        body = {"content": data if isinstance(data, bytes) else str(data).encode()}

    async def work() -> httpx.Response:
        transport = httpx.ASGITransport(app=house.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(
                arguments["method"], arguments["url"], params=arguments.get("params"), headers=headers, **body
            )

    return house.run(work())


def quickly(examples: int) -> settings:
    """The same cases every time."""
    return settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )


def answered_as_documented(case: Any, house: House) -> None:
    """Half of the path parameters mean something that is there."""
    known = {
        "project_id": "1",
        "suite_id": "1",
        "run_id": "1",
        "connection_name": "bakery",
        "user_id": "1",
        "branch_name": "main",
        "model_name": "bakery",
        "explore_name": "customers",
    }
    for name in case.path_parameters or {}:
        if len(str(case.path_parameters[name])) % 2 == 0:
            case.path_parameters[name] = known.get(name, "1")
    case.validate_response(send(house, case, ROOT), checks=CHECKS)


@SCHEMA.parametrize()
@quickly(5)
def test_any_request_is_answered_as_documented(case: Any, fuzzed: House) -> None:
    answered_as_documented(case, fuzzed)


@pytest.mark.slow
@SCHEMA.parametrize()
@quickly(40)
def test_many_requests_are_answered_as_documented(case: Any, fuzzed: House) -> None:
    answered_as_documented(case, fuzzed)


@pytest.mark.parametrize(
    "line", [x for x in table() if (x.method, x.path) not in OPEN], ids=lambda x: f"{x.method} {x.path}"
)
def test_without_a_token_nothing_is_told(line: Any, fuzzed: House) -> None:
    path = line.path.format_map(
        dict.fromkeys(
            ("project_id", "suite_id", "run_id", "user_id", "query_id", "query_task_id", "credentials_id"),
            "1",
        )
        | dict.fromkeys(
            (
                "connection_name",
                "branch_name",
                "model_name",
                "explore_name",
                "result_format",
                "file",
                "file_path",
            ),
            "x",
        )
    )
    for token in (None, "glpat-wrong"):
        answer = fuzzed.call(line.method, path, token=token, json={})
        assert answer.status_code in ((401, 404) if line.public else (401,)), answer.text
