"""The OpenAPI page of the Looker door, made from the table of lines: paths, what they read, the statuses they
answer. Called by routes; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from runyard.dialects.looker.desk import Line
from runyard.dialects.looker.suites import FIELDS, VALIDATORS

Json = dict[str, Any]
_NAMED = re.compile(r"\{(\w+)\}")
TEXT, FLAG, NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
TEXTS = {"type": "array", "items": TEXT}
MAYBE = {"type": ["string", "null"]}
ERRORS = (400, 401, 403, 404, 409, 413, 422, 429)
"""What any line may answer beside its success: Looker's own codes, 401 and 403 for who asks, 413 for bodies
beyond the limit."""
NO_CONTENT = frozenset({"/logout", "/api/logout", "/projects/{project_id}/reset_to_remote"})
RAW = frozenset({"/queries/{query_id}/run/{result_format}", "/queries/run/{result_format}"})


def _object(required: Sequence[str] = (), **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _suite() -> Json:
    """WriteProjectCISuite, with our own fields."""
    kinds: dict[type, Json] = {str: TEXT, bool: FLAG, int: NUMBER, list: TEXTS}
    fields = {name: kinds.get(type(default), NUMBER) for name, (default, _) in FIELDS.items()}
    return _object(("name",), **fields, webhook_secret=TEXT)


_RUN = _object(
    ("suite_id",),
    suite_id=TEXT,
    branch=MAYBE,
    commit=MAYBE,
    user_attributes={"type": ["array", "null"], "items": _object(("name",), name=TEXT, value=MAYBE)},
    project_imports={"type": ["object", "null"], "additionalProperties": TEXT},
)
_QUERY = _object(
    ("model", "view"),
    model=TEXT,
    view=TEXT,
    fields=TEXTS,
    filters={"type": ["object", "null"], "additionalProperties": TEXT},
    filter_expression=MAYBE,
    sorts=TEXTS,
    limit={"type": ["string", "integer", "null"]},
)
_CONNECTION = _object(
    (),
    name=TEXT,
    dialect_name=TEXT,
    host=TEXT,
    port=TEXT,
    database=TEXT,
    username=TEXT,
    password=TEXT,
    schema=TEXT,
    ssl=FLAG,
    verify_ssl=FLAG,
)
_CI = "/projects/{project_id}/continuous_integration"
BODIES: dict[tuple[str, str], Json] = {
    ("POST", "/login"): _object(("client_id", "client_secret"), client_id=TEXT, client_secret=TEXT),
    ("PATCH", "/session"): _object(("workspace_id",), workspace_id=TEXT),
    ("POST", "/connections"): _CONNECTION,
    ("PATCH", "/connections/{connection_name}"): _CONNECTION,
    ("POST", f"{_CI}/suites"): _suite(),
    ("PATCH", f"{_CI}/suites/{{suite_id}}"): {**_suite(), "required": []},
    ("POST", f"{_CI}/runs"): _RUN,
    ("POST", "/projects/{project_id}/ci/run"): _object(
        ("suite_id",), suite_id=TEXT, branch=MAYBE, commit=MAYBE
    ),
    ("POST", f"{_CI}/change_requests"): _object(
        ("number", "branch", "target_branch"),
        number=NUMBER,
        branch=TEXT,
        target_branch=TEXT,
        commit=TEXT,
        url=TEXT,
        name=TEXT,
        commits_url=TEXT,
        state=TEXT,
    ),
    ("POST", f"{_CI}/suites/{{suite_id}}/hook"): _object(eventType=TEXT, schema=TEXT, number=NUMBER),
    ("POST", "/projects/{project_id}/git_branch"): _object(("name",), name=TEXT, ref=MAYBE),
    ("PUT", "/projects/{project_id}/git_branch"): _object(("name",), name=TEXT, ref=MAYBE),
    ("POST", "/queries"): _QUERY,
    ("POST", "/queries/run/{result_format}"): _QUERY,
    ("POST", "/query_tasks"): _object(("query_id",), query_id=TEXT, result_format=TEXT),
}
_PAGE: dict[str, Json] = {"limit": NUMBER, "offset": NUMBER}
PARAMS: dict[str, dict[str, Json]] = {
    f"{_CI}/runs/search": {
        "suite_id": TEXT,
        "status": TEXT,
        "user_id": TEXT,
        "trigger_type": TEXT,
        "sorts": TEXT,
        **_PAGE,
    },
    f"{_CI}/suites": {"created_at": TEXT, **_PAGE},
    "/lookml_models": _PAGE,
    "/query_tasks/multi_results": {"query_task_ids": TEXT},
    "/projects/{project_id}/files/file": {"file_id": TEXT},
    "/projects/{project_id}/lookml_tests": {"file_id": TEXT},
    "/projects/{project_id}/lookml_tests/run": {"file_id": TEXT, "model": TEXT, "test": TEXT},
    "/content_validation": {"project_names": TEXT, "space_ids": TEXT},
}


def document(lines: Iterable[Line], prefix: str, version: str) -> Json:
    """OpenAPI 3.1 of the JSON lines; pages for people are left out."""
    paths: dict[str, Json] = {}
    for line in lines:
        if not line.path.startswith("/-/"):
            full = line.path if line.path.startswith("/api/") else prefix + line.path
            paths.setdefault(full, {})[line.method.lower()] = _operation(line)
    schemas = {
        "Error": _object(("message", "documentation_url"), message=TEXT, documentation_url=TEXT),
        "ValidationError": _object(
            ("message", "documentation_url"),
            message=TEXT,
            documentation_url=TEXT,
            errors={
                "type": "array",
                "items": _object(
                    ("documentation_url",), field=TEXT, code=TEXT, message=TEXT, documentation_url=TEXT
                ),
            },
        ),
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Runyard: Looker API 4.0",
            "version": version,
            "description": f"CI of LookML projects: {', '.join(VALIDATORS)}.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "Authorization"}},
        },
    }


def _operation(line: Line) -> Json:
    plain = _NAMED.sub(r"\1", line.path).strip("/").replace("/", "_")
    params = [{"name": n, "in": "path", "required": True, "schema": TEXT} for n in _NAMED.findall(line.path)]
    asked = {"fields": TEXT, **(PARAMS.get(line.path, {}) if line.method == "GET" else {})}
    params += [{"name": n, "in": "query", "required": False, "schema": s} for n, s in asked.items()]
    summary = " ".join((line.endpoint.__doc__ or "").partition("\n\n")[0].split())
    operation: Json = {
        "operationId": f"{line.method.lower()}_{plain}",
        "summary": summary,
        "parameters": params,
        "security": [] if line.public else [{"token": []}],
        "responses": _responses(line),
    }
    body = BODIES.get((line.method, line.path))
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _responses(line: Line) -> Json:
    found: Json = {}
    if not (line.method == "DELETE" or line.path in NO_CONTENT or line.path.endswith("reset_to_production")):
        found["200"] = {"description": "The answer"}
        if line.path not in RAW:
            found["200"]["content"] = {"application/json": {"schema": {}}}
    if "200" not in found or line.path.endswith("/validate"):
        found["204"] = {"description": "Nothing to say"}
    for status in ERRORS:
        schema = "ValidationError" if status == 422 else "Error"
        found[str(status)] = {
            "description": schema,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
    return found
