"""Which line a path leads to: the fixed before the named before the rest, methods apart."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from starlette.exceptions import HTTPException

from runyard.dialects.gitlab.desk import Desk, Door, Line
from runyard.dialects.gitlab.dispatching import Dispatcher

PATHS = [
    ("GET", "/projects"),
    ("GET", "/projects/{id}"),
    ("PUT", "/projects/{id}"),
    ("GET", "/projects/{id}/jobs/{job_id}"),
    ("GET", "/projects/{id}/jobs/{job_id}/artifacts"),
    ("GET", "/projects/{id}/jobs/artifacts/{ref:path}/download"),
    ("GET", "/projects/{id}/jobs/artifacts/{ref:path}/raw/{path:path}"),
    ("GET", "/projects/{id}/pipelines/latest"),
    ("GET", "/projects/{id}/pipelines/{pipeline_id}"),
    ("DELETE", "/projects/{id}/pipelines/{other_id}"),
    ("GET", "/projects/{id}/branches/{name:path}"),
    ("POST", "/projects/{id}/branches/{name:path}/protect"),
]


async def _never(entry: Any) -> Any:
    raise AssertionError


def dispatcher(order: list[tuple[str, str]] = PATHS) -> Dispatcher:
    lines = [Line(method, path, Door.OPEN, _never) for method, path in order]
    return Dispatcher(cast(Desk, None), "/api/v4", lines, {})


@pytest.mark.parametrize(
    ("method", "path", "template", "named"),
    [
        ("GET", "projects", "/projects", {}),
        ("HEAD", "projects/7", "/projects/{id}", {"id": "7"}),
        ("PUT", "projects/7", "/projects/{id}", {"id": "7"}),
        ("GET", "projects/7/jobs/8", "/projects/{id}/jobs/{job_id}", {"id": "7", "job_id": "8"}),
        ("GET", "projects/7/jobs/artifacts/artifacts", "/projects/{id}/jobs/{job_id}/artifacts", {"id": "7", "job_id": "artifacts"}),
        ("GET", "projects/7/jobs/artifacts/feat/x/download", "/projects/{id}/jobs/artifacts/{ref:path}/download", {"id": "7", "ref": "feat/x"}),
        ("GET", "projects/7/jobs/artifacts/a/raw/b/raw/c", "/projects/{id}/jobs/artifacts/{ref:path}/raw/{path:path}", {"id": "7", "ref": "a/raw/b", "path": "c"}),
        ("GET", "projects/7/pipelines/latest", "/projects/{id}/pipelines/latest", {"id": "7"}),
        ("GET", "projects/7/pipelines/9", "/projects/{id}/pipelines/{pipeline_id}", {"id": "7", "pipeline_id": "9"}),
        ("DELETE", "projects/7/pipelines/9", "/projects/{id}/pipelines/{other_id}", {"id": "7", "other_id": "9"}),
        ("DELETE", "projects/7/pipelines/latest", "/projects/{id}/pipelines/{other_id}", {"id": "7", "other_id": "latest"}),
        ("GET", "projects/7/branches/a/b/protect", "/projects/{id}/branches/{name:path}", {"id": "7", "name": "a/b/protect"}),
        ("POST", "projects/7/branches/a/b/protect", "/projects/{id}/branches/{name:path}/protect", {"id": "7", "name": "a/b"}),
    ],
)  # fmt: skip
def test_a_path_leads_to_its_line(method: str, path: str, template: str, named: dict[str, str]) -> None:
    line, found = dispatcher().find(method, f"/api/v4/{path}")
    assert (line.path, found) == (template, named)


def test_the_order_of_the_table_means_nothing() -> None:
    for order in itertools.islice(itertools.permutations(PATHS), 0, 5_000_000, 499_979):
        line, _ = dispatcher(list(order)).find("GET", "/api/v4/projects/7/pipelines/latest")
        assert line.path == "/projects/{id}/pipelines/latest"


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/api/v4/nothing", 404, None),
        ("GET", "/api/v4", 404, None),
        ("GET", "/elsewhere", 404, None),
        ("GET", "/api/v4/projects/", 404, None),
        ("GET", "/api/v4/projects//jobs/1", 404, None),
        ("POST", "/api/v4/projects", 405, "GET, HEAD"),
        ("POST", "/api/v4/projects/7/pipelines/latest", 405, "DELETE, GET, HEAD"),
    ],
)
def test_what_is_not_there_says_so(method: str, path: str, status: int, allow: str | None) -> None:
    with pytest.raises(HTTPException) as refused:
        dispatcher().find(method, path)
    assert refused.value.status_code == status
    assert (refused.value.headers or {}).get("Allow") == allow
