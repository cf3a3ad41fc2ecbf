"""Finds the line of a request and runs it: an ASGI application over the table of lines. Made by routes.mount,
wrapped by `paths.SegmentPaths`.

The table is a tree of segments instead of a framework's list of patterns: a hundred patterns tried in turn,
and the layers around them, took longer than most answers (docs/decisions/0010). Fixed segments come before
named ones, those before the rest of a path: `jobs/artifacts/…` is no job id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runyard.dialects.gitlab.asking import credentials_in
from runyard.dialects.gitlab.desk import Desk, Line
from runyard.dialects.gitlab.refusals import answer_json, problem
from runyard.http.auth import is_live
from runyard.model.errors import RunyardError
from runyard.model.work import Token

REST = ":path"  # a name that takes one segment or many
Named = dict[str, str]
Plain = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Node:
    """What may follow a segment. `lines` by method when a path may end here."""

    fixed: dict[str, Node] = field(default_factory=dict)
    named: dict[str, Node] = field(default_factory=dict)
    rest: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)

    def grow(self, segment: str) -> Node:
        """The node of the next segment of a template, made when it is new."""
        if not segment.startswith("{"):
            return self.fixed.setdefault(segment, Node())
        name = segment[1:-1]
        if name.endswith(REST):
            return self.rest.setdefault(name.removesuffix(REST), Node())
        return self.named.setdefault(name, Node())

    def find(self, segments: list[str], at: int = 0) -> Iterator[tuple[Mapping[str, Line], Named]]:
        """Every template that fits, the most fixed one first; of a rest, the longest first."""
        if at == len(segments):
            if self.lines:
                yield self.lines, {}
            return
        segment = segments[at]
        if (node := self.fixed.get(segment)) is not None:
            yield from node.find(segments, at + 1)
        if segment:
            for name, node in self.named.items():
                for lines, found in node.find(segments, at + 1):
                    yield lines, {name: segment, **found}
        for name, node in self.rest.items():
            for end in range(len(segments), at, -1):
                for lines, found in node.find(segments, end):
                    yield lines, {name: "/".join(segments[at:end]), **found}


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, and whose token asked for it; None without one."""

    response: Response
    token: Token | None


class Dispatcher:
    """The application. `plain`: GET handlers of fixed paths outside the prefix, open to everyone."""

    def __init__(self, desk: Desk, prefix: str, lines: Iterable[Line], plain: Mapping[str, Plain]) -> None:
        self._desk = desk
        self._plain = plain
        self._prefix = prefix + "/"
        self._root = Node()
        for line in lines:
            node = self._root
            for segment in line.path.strip("/").split("/"):
                node = node.grow(segment)
            node.lines[line.method] = line
            if (
                line.method == "GET"
            ):  # whoever may read may ask for the headers alone; the HTTP server sends no body
                node.lines.setdefault("HEAD", line)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(scope, receive, send)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Response:
        method, path = scope["method"], scope["path"]
        try:
            if path in self._plain:
                if method not in ("GET", "HEAD"):
                    raise HTTPException(405, headers={"Allow": "GET, HEAD"})
                return await self._plain[path](Request(scope, receive, send))
            line, named = self.find(method, path)
            request = Request({**scope, "path_params": named}, receive, send)
            if line.is_kept:
                return await self._recalled(line, request)
            return await line.handler(await self._desk.enter(line, request))
        except RunyardError as error:
            return problem(error)
        except HTTPException as error:
            return _unrouted(error)

    async def _recalled(self, line: Line, request: Request) -> Response:
        """The answer to the same question in the same moment, or a new one. Who asks a page again and again
        costs little until something is written."""
        scope, moment = request.scope, self._desk.moment()
        key = scope["method"], scope["runyard.path"], scope["query_string"], credentials_in(scope)
        known = moment.known(key)
        if isinstance(known, Kept) and (
            known.token is None or is_live(known.token, self._desk.services.now())
        ):
            return known.response
        entry = await self._desk.enter(line, request)
        response = await line.handler(entry)
        if response.status_code == 200:
            moment.keep(key, Kept(response, entry.who.token), len(response.body))
        return response

    def find(self, method: str, path: str) -> tuple[Line, Named]:
        """The line and the named segments. HTTPException 404, or 405 when the path is known to other
        methods."""
        if not path.startswith(self._prefix):
            raise HTTPException(404)
        known: dict[str, None] = {}
        for lines, named in self._root.find(path[len(self._prefix) :].split("/")):
            if method in lines:
                return lines[method], named
            known |= dict.fromkeys(lines)
        if known:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(known))})
        raise HTTPException(404)


def _unrouted(error: HTTPException) -> Response:
    if error.status_code == 405:
        return answer_json({"message": "405 Method Not Allowed"}, 405, error.headers)
    return answer_json({"error": "404 Not Found"}, 404)
