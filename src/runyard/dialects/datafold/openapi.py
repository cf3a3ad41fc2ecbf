"""The OpenAPI page of the Datafold door: what each route takes and answers, said beside the route and put
together here. Called by routes; pure.

Bodies are read by the desk under a budget, not by the framework, so their schemas are joined to the document
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from runyard.dialects.datafold import shapes
from runyard.dialects.datafold.answers import HTTPValidationError, Problem

BODIES: tuple[type[BaseModel], ...] = (
    shapes.PrDetails,
    shapes.CiDiff,
    shapes.CiConfig,
    shapes.DataSource,
    shapes.Query,
    shapes.SchemaOf,
    shapes.GuessPk,
    shapes.DataDiff,
    shapes.DiffPatch,
)
_REF = "#/components/schemas/"
_PROBLEM = {"application/problem+json": {"schema": {"$ref": _REF + "Problem"}}}
_SAID = {
    400: "Bad request",
    401: "Not authenticated",
    403: "No access",
    404: "What the URL names is not there",
    409: "Conflict",
    413: "The body is too large",
    429: "Too many requests",
    503: "Not available now; try again",
}
_SECURITY: list[dict[str, list[str]]] = [{"ApiKey": []}]


def described(
    answer: Any = None,
    *,
    body: type[BaseModel] | None = None,
    many: bool = False,
    media: Mapping[str, Any] | None = None,
    errors: Sequence[int] = (),
    page: bool = False,
) -> dict[str, Any]:
    """Arguments of `add_api_route`. `body` (an array of it with `many`) or `media` (other content types) is
    taken; `page`: an HTML page or redirect."""
    responses: dict[int | str, dict[str, Any]] = {
        code: {"description": _SAID[code], "content": _PROBLEM}
        for code in (401, 404, *((400, 413) if body or media else ()), *errors)
    }
    refused = {"application/json": {"schema": {"$ref": _REF + "HTTPValidationError"}}, **_PROBLEM}
    responses[422] = {
        "description": "The schema refuses it, or the payload names what is not there",
        "content": refused,
    }
    extra: dict[str, Any] = {"security": _SECURITY}
    if body is not None:
        schema: dict[str, Any] = {"$ref": _REF + body.__name__}
        schema = {"type": "array", "items": schema} if many else schema
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif media is not None:
        extra["requestBody"] = {"required": True, "content": dict(media)}
    if page:
        html = {"text/html": {"schema": {"type": "string"}}}
        responses[200] = {"description": "A page", "content": html}
        responses[404] = {"description": _SAID[404], "content": {**html, **_PROBLEM}}
        responses[302] = {"description": "The page"}
        return {"responses": responses, "openapi_extra": {"security": []}, "response_model": None}
    return {"responses": responses, "openapi_extra": extra, "response_model": answer}


def document(api: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if api.openapi_schema is None:
        found = get_openapi(title=api.title, version=api.version, routes=api.routes, openapi_version="3.1.0")
        parts = found.setdefault("components", {})
        _, bodies = models_json_schema([(m, "validation") for m in BODIES], ref_template=_REF + "{model}")
        errors = TypeAdapter(HTTPValidationError).json_schema(ref_template=_REF + "{model}")
        schemas = {**parts.get("schemas", {}), **bodies["$defs"], **errors.pop("$defs")}
        parts["schemas"] = {**schemas, "HTTPValidationError": errors, "Problem": Problem.model_json_schema()}
        parts["securitySchemes"] = {
            "ApiKey": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "Key <api-key>",
            }
        }
        api.openapi_schema = found
    return api.openapi_schema
