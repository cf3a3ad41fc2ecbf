"""The door of `results`: paths to methods, bodies under a limit, errors in Twirp's shape. Mounted by
`depot.routes`."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from runyard.dialects.depot.results import caches, uploads
from runyard.dialects.depot.results.artifacts import Artifacts
from runyard.dialects.depot.results.callers import Caller, caller, refusal
from runyard.dialects.depot.results.identity import Identities
from runyard.http.bodies import decode_json, whole
from runyard.http.front import Receive, Scope, Send, plain
from runyard.http.identity import Identity
from runyard.http.services import Services
from runyard.model.errors import Invalid, NotFound, RunyardError

TWIRP, CACHE_V1, IDENTITY, BYTES = "/twirp/", "/_apis/artifactcache/", "/_apis/identity/token", "/_results/"
PREFIXES = (TWIRP, CACHE_V1, IDENTITY, BYTES)
BODY_BYTES = 1 << 20
CHUNK_BYTES = 64 << 20
ARTIFACTS = "github.actions.results.api.v1.ArtifactService"
CACHES = "github.actions.results.api.v1.CacheService"
METHODS: Mapping[str, tuple[str, ...]] = {
    ARTIFACTS: (
        "CreateArtifact",
        "FinalizeArtifact",
        "ListArtifacts",
        "GetSignedArtifactURL",
        "DeleteArtifact",
    ),
    CACHES: ("GetCacheEntryDownloadURL", "CreateCacheEntry", "FinalizeCacheEntryUpload"),
}
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(?:\*|\d+)\Z")
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
Method = Callable[[Caller, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
log = logging.getLogger("runyard.depot")


def routes() -> list[tuple[str, str]]:
    """(method, path) of every call, for the table of doors."""
    twirp = [
        ("POST", f"{TWIRP}{service}/{method}") for service, methods in METHODS.items() for method in methods
    ]
    v1 = [
        ("GET", f"{CACHE_V1}cache"),
        ("POST", f"{CACHE_V1}caches"),
        ("PATCH", f"{CACHE_V1}caches/1"),
        ("POST", f"{CACHE_V1}caches/1"),
    ]
    return [*twirp, *v1, ("GET", IDENTITY)]


@dataclass
class Results:
    """An ASGI application for everything under PREFIXES."""

    services: Services

    def __post_init__(self) -> None:
        artifacts, self._caches = Artifacts(self.services), caches.Caches(self.services)
        self._methods: dict[str, Method] = {
            f"{service}/{name}": getattr(artifacts if service == ARTIFACTS else self._caches, _snake(name))
            for service, names in METHODS.items()
            for name in names
        }
        self._uploads, self._downloads = uploads.Uploads(self.services), caches.Downloads(self.services)
        self._identities = Identities(self.services, Identity(self.services.vault))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Signed links first: they carry no token."""
        path = scope["path"]
        if path.startswith(uploads.PATH):
            return await self._uploads(scope, receive, send)
        if path.startswith(caches.PATH):
            return await self._downloads(scope, receive, send)
        try:
            status, body = await self._answer(path, Request(scope, receive))
        except RunyardError as error:
            status, body = refusal(error)
        except Exception:
            log.exception("request failed")
            status, body = 500, {"code": "internal", "msg": "internal error"}
        if status == 204:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            return await send({"type": "http.response.body", "body": b""})
        return await plain(send, status, body)

    async def _answer(self, path: str, request: Request) -> tuple[int, Any]:
        who = await caller(self.services, request)
        if path.startswith(TWIRP):
            method = self._methods.get(path.removeprefix(TWIRP))
            if method is None or request.method != "POST":
                return 404, {"code": "bad_route", "msg": f"no handler for path {path[:200]!r}"}
            return 200, await method(who, await _body(request))
        if path == IDENTITY and request.method == "GET":
            return 200, await self._identities.token(who, request.query_params.get("audience", ""))
        return await self._v1(path.removeprefix(CACHE_V1), who, request)

    async def _v1(self, path: str, who: Caller, request: Request) -> tuple[int, Any]:
        match request.method, path:
            case "GET", "cache":
                query = parse_qs(request.url.query, max_num_fields=10)
                keys = [key for key in query.get("keys", [""])[0].split(",") if key]
                found = await self._caches.v1_find(who, keys, query.get("version", [""])[0])
                return (200, found) if found else (204, None)
            case "POST", "caches":
                body = await _body(request)
                upload = await self._caches.reserve(
                    who, str(body.get("key") or ""), str(body.get("version") or "")
                )
                return 201, {"cacheId": upload.id}
            case "PATCH", _ if number := _number(path):
                match = _RANGE.match(request.headers.get("content-range", ""))
                if match is None or not 0 <= int(match[2]) - int(match[1]) < CHUNK_BYTES:
                    raise Invalid("Content-Range must be bytes START-END/* of a chunk of at most 64 MiB")
                await self.services.db.read(lambda tx: uploads.offsets(tx, who.attempt, number))
                await self._uploads.block(number, uploads.offset_name(int(match[1])), request)
                return 204, None
            case "POST", _ if number := _number(path):
                size = (await _body(request)).get("size")
                if not isinstance(size, int) or size < 0:
                    raise Invalid("size must be a number of bytes")
                await self._caches.v1_commit(who, number, size)
                return 204, None
        raise NotFound("there is nothing at this path")


async def _body(request: Request) -> Mapping[str, Any]:
    """A JSON object; protobuf's other spelling of names is the same."""
    found = decode_json(await whole(request, BODY_BYTES))
    if not isinstance(found, dict):
        raise Invalid("the body must be a JSON object")
    return {_snake(name): value for name, value in found.items()}


def _snake(name: str) -> str:
    return _WORD.sub("_", name).lower()


def _number(path: str) -> int:
    name = path.removeprefix("caches/")
    return (
        int(name)
        if path.startswith("caches/") and name.isascii() and name.isdigit() and len(name) < 19
        else 0
    )
