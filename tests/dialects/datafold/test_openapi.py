"""Schemathesis over the door's own OpenAPI: no 5xx but a plain "not now", only documented statuses and
bodies, and no call that forgets to ask who is there."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from runyard.dialects.datafold import DIALECT, routes_sources
from runyard.model.work import Project
from tests.services import ROOT, services_of

CHECKS = (
    not_a_server_error,
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    ignored_auth,
)
KEY = {"Authorization": f"Key {ROOT}"}
RULES = settings(
    max_examples=6,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application on an empty store, with one of everything that an id may name."""
    folder: Path = tmp_path_factory.mktemp("door")
    services, _ = services_of(DIALECT, folder)
    services.db.submit_write(lambda tx: tx.add(Project(0, "data/shop", "shop"))).result()
    with duckdb.connect(str(folder / "wh.duckdb")) as c:
        c.execute("CREATE TABLE t AS SELECT 1 AS id")
    patience, routes_sources.PATIENCE_S = routes_sources.PATIENCE_S, 0.01
    app = DIALECT.mount(services)
    asyncio.run(_fill(app, str(folder / "wh.duckdb")))
    yield app
    routes_sources.PATIENCE_S = patience
    services.db.close()


async def _fill(app: Any, file: str) -> None:
    import httpx

    pr = {"pr_number": 1, "pr_branch": "f", "base_branch": "main", "pr_sha": "b" * 40, "base_sha": "a" * 40}
    sides = {
        "data_source1_id": 1,
        "data_source2_id": 1,
        "table1": ["t"],
        "table2": ["t"],
        "pk_columns": ["id"],
    }
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://ci.test") as client:
        for path, body in (
            ("data_sources", {"name": "wh", "type": "duckdb", "options": {"path": file}}),
            ("ci", {"name": "shop", "repository": "data/shop", "data_source_id": 1}),
            ("ci/1/trigger", pr),
            ("ci/1/1", [{"prod": "t", "pr": "t", "pk": ["id"]}]),
            ("datadiffs", sides),
            ("data_sources/1/test", {}),
        ):
            answer = await client.post(f"/api/v1/{path}", json=body, headers=KEY)
            assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def api(door: Any) -> Any:
    """The schema as the door serves it."""
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", door)


def tried(api: Any, rules: settings, judge: Callable[[Any], None]) -> list[str]:
    """Judges generated calls of every operation; says which operations failed and how (all of them, not the
    first)."""
    wrong = []
    for found, mode in itertools.product(api.get_all_operations(), GenerationMode):
        operation = found.ok()

        @rules
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case: Any) -> None:
            judge(case)

        try:
            call()
        except Exception as error:
            wrong.append(f"{operation.label} ({mode}): {error}")
    return wrong


def test_every_call_keeps_its_word(api: Any) -> None:
    def judge(case: Any) -> None:
        answer = case.call(headers=KEY)
        excluded = [not_a_server_error] if answer.status_code == 503 else []  # nobody runs jobs here
        case.validate_response(answer, checks=CHECKS, excluded_checks=excluded, headers=KEY)

    wrong = tried(api, RULES, judge)
    assert not wrong, "\n\n".join(wrong)


def test_without_a_key_every_call_is_401_or_a_page(api: Any) -> None:
    def judge(case: Any) -> None:
        answer = case.call(headers={"Authorization": "Key wrong"})
        is_page = case.path.startswith("/datadiffs/")
        assert answer.status_code in ((302, 404, 422) if is_page else (401, 422)), answer.status_code

    wrong = tried(api, settings(RULES, max_examples=2), judge)
    assert not wrong, "\n\n".join(wrong)


def test_the_document_names_every_call_of_the_contract(api: Any) -> None:
    paths = api.raw_schema["paths"]
    for path, method in (
        ("/api/v1/ci/{ci_config_id}/trigger", "post"),
        ("/api/v1/ci/{ci_config_id}/{pr_num}", "post"),
        ("/api/v1/ci/{ci_config_id}/runs", "get"),
        ("/api/v1/dbt/submit_artifacts/{ci_config_id}", "post"),
        ("/api/v1/datadiffs", "post"),
        ("/api/v1/datadiffs/{id}/summary_results", "get"),
        ("/api/v1/data_sources/{data_source_id}/query", "post"),
        ("/api/internal/sdk/log", "post"),
    ):
        assert method in paths[path], path
    body = paths["/api/v1/ci/{ci_config_id}/trigger"]["post"]["requestBody"]["content"]["application/json"]
    details = api.raw_schema["components"]["schemas"][body["schema"]["$ref"].rsplit("/", 1)[-1]]
    assert set(details["required"]) == {"pr_number", "pr_branch", "base_branch", "pr_sha", "base_sha"}
