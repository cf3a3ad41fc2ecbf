"""The OpenAPI page of the GitLab door, made from the table of lines. Called by routes; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from runyard.dialects.gitlab.desk import Door, Line
from runyard.dialects.gitlab.documented import OF_RUNNERS, PARAMETERS, REFUSALS, SUCCESS, USUAL

_NAMED = re.compile(r"\{(\w+)(?::path)?\}")
SCHEMES = {
    "token": {"type": "apiKey", "in": "header", "name": "PRIVATE-TOKEN"},
    "bearer": {"type": "http", "scheme": "bearer"},
    "job": {"type": "apiKey", "in": "header", "name": "JOB-TOKEN"},
}
SECURITY: dict[Door, list[dict[str, list[str]]]] = {
    Door.OPEN: [],
    Door.USER: [{"token": []}, {"bearer": []}],
    Door.ADMIN: [{"token": []}, {"bearer": []}],
    Door.READER: [{}, {"token": []}, {"bearer": []}],
    Door.USER_OR_JOB: [{"token": []}, {"bearer": []}, {"job": []}],
    Door.JOB_READER: [{}, {"token": []}, {"bearer": []}, {"job": []}],
}


def document(lines: Iterable[Line], prefix: str, version: str) -> dict[str, Any]:
    """OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for line in lines:
        path = prefix + _NAMED.sub(r"{\1}", line.path)
        paths.setdefault(path, {})[line.method.lower()] = _operation(line)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Runyard: GitLab API v4", "version": version},
        "paths": paths,
        "components": {"securitySchemes": SCHEMES},
    }


def _operation(line: Line) -> dict[str, Any]:
    template = _NAMED.sub(r"{\1}", line.path)
    where = (line.method, template)
    given = [_parameter(text) for text in PARAMETERS.get(where, "").split()]
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _NAMED.findall(line.path)
    ]
    in_query = line.method in ("GET", "HEAD", "DELETE")
    query = [
        {"name": name, "in": "query", "required": must, "schema": schema}
        for name, schema, must in given
        if in_query
    ]
    plain = _NAMED.sub(r"\1", line.path).strip("/").replace("/", "_")
    operation: dict[str, Any] = {
        "operationId": f"{line.method.lower()}_{plain}",
        "summary": line.summary,
        "parameters": [*named, *query],
        "security": SECURITY[line.door],
        "responses": _responses(line.method, template),
    }
    if given and not in_query:
        required = [name for name, _, must in given if must]
        schema = {
            "type": "object",
            "properties": {name: kind for name, kind, _ in given},
            "required": required,
        }
        operation["requestBody"] = {
            "required": bool(required),
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _parameter(text: str) -> tuple[str, dict[str, Any], bool]:
    """(name, schema, must it be there) of one word of `documented`."""
    must = text.endswith("!")
    text = text.removesuffix("!")
    for mark, schema in _KINDS.items():
        if text.endswith(mark):
            return text.removesuffix(mark), schema, must
    return text, {"type": "string"}, must


_KINDS: dict[str, dict[str, Any]] = {
    "#": {"type": "integer"},
    "?": {"type": "boolean"},
    "[]": {"type": "array", "items": {}},
    "{}": {"type": "object"},
}
_ERROR = {
    "description": "`message`, or `error` from the framework in front",
    "content": {"application/json": {"schema": {"type": "object", "minProperties": 1}}},
}


def _responses(method: str, template: str) -> dict[str, Any]:
    successes = SUCCESS.get((method, template), USUAL[method])
    own = template.startswith(("/runners", "/jobs/"))
    refusals = (*REFUSALS, *(OF_RUNNERS if own else ()))
    return {str(s): {"description": "JSON, a file or nothing"} for s in successes} | {
        str(s): _ERROR if s not in OF_RUNNERS else {"description": "The runner sends again"} for s in refusals
    }
