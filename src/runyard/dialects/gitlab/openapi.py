"""The OpenAPI page of the GitLab door, made from the table of lines. Called by routes; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from runyard.dialects.gitlab.desk import Door, Line

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
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _NAMED.findall(line.path)
    ]
    plain = _NAMED.sub(r"\1", line.path).strip("/").replace("/", "_")
    return {
        "operationId": f"{line.method.lower()}_{plain}",
        "summary": line.summary,
        "parameters": named,
        "security": SECURITY[line.door],
        "responses": {
            "default": {"description": "JSON, a file or nothing; errors have `message` or `error`"}
        },
    }
