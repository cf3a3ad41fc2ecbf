"""What a client asked: parameters from query, form, multipart and JSON as one nested mapping, page windows,
tokens. Called by desk and routes.

GitLab treats all encodings alike and mixes query into POST (contracts/gitlab.md §1.0); `a[]=1`, `a[b]=2` and
`a[][k]=v` nest as in Rails. Where a key comes twice the body wins over the query (reliability.md §5 F9).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Scope

from runyard.dialects.gitlab.refusals import BadParameter, FieldErrors, NoSuchPage
from runyard.engine.ports import Page
from runyard.http.bodies import decode_json, whole
from runyard.model.errors import Invalid

MOST_FIELDS = 1000
DEEPEST = 5
PER_PAGE, MOST_PER_PAGE = 20, 100
TEXT_CHARS = 255  # of most texts that GitLab keeps
MOST_OFFSET = 50_000
MOST_ID = 2**63 - 1
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")
_TRUE, _FALSE = frozenset({"true", "1", "t", "yes", "on"}), frozenset({"false", "0", "f", "no", "off", ""})


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything a request says besides its path."""

    values: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        """A text, or None when it is not given. Numbers and booleans count as their text."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        raise BadParameter(f"{name} is invalid")

    def required(self, name: str, most: int | None = None) -> str:
        """A text that must be there, of at most so many characters."""
        value = self.text(name) if most is None else self.limited(name, most)
        if not value:
            raise BadParameter(f"{name} is missing" if value is None else f"{name} is empty")
        return value

    def limited(self, name: str, most: int = TEXT_CHARS) -> str | None:
        """A text that a model keeps: a longer one is refused, never cut."""
        value = self.text(name)
        if value is not None and len(value) > most:
            raise FieldErrors(name, [f"is too long (maximum is {most} characters)"])
        return value

    def texts(self, name: str) -> list[str]:
        """A list: `name[]`, repeated, plain, a JSON list, or a hash whose values count."""
        value = self.values.get(name)
        if value is None:
            return []
        items = (
            list(value.values())
            if isinstance(value, Mapping)
            else value
            if isinstance(value, list)
            else [value]
        )
        if not all(isinstance(item, str | int | float) for item in items):
            raise BadParameter(f"{name} is invalid")
        return [str(item) for item in items]

    def flag(self, name: str) -> bool | None:
        """A boolean in any of the spellings that clients use (python-gitlab: True)."""
        value = self.text(name)
        if value is None:
            return None
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
        raise BadParameter(f"{name} is invalid")

    def number(self, name: str) -> int | None:
        """A whole number."""
        value = self.text(name)
        if value is None or value == "":
            return None
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise BadParameter(f"{name} is invalid")
        return int(value)

    def choice(self, name: str, allowed: frozenset[str], default: str) -> str:
        """One of some words; an empty one counts as not given (gitlab-runner 14 sends `access_level: ""`)."""
        value = self.text(name)
        if not value:
            return default
        if value not in allowed:
            raise BadParameter(f"{name} does not have a valid value")
        return value

    def time(self, name: str) -> int | None:
        """An ISO 8601 time in milliseconds."""
        value = self.text(name)
        if not value:
            return None
        try:
            return _milliseconds(datetime.fromisoformat(value))
        except ValueError:
            raise BadParameter(f"{name} is invalid") from None


def time_of(text: str) -> int | None:
    """Milliseconds of a header's time, as HTTP or ISO 8601 writes it; None for anything else."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            return _milliseconds(read(text))
        except (ValueError, OverflowError):
            continue
    return None


def _milliseconds(when: datetime) -> int:
    """A time without a zone is UTC, as in GitLab."""
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


async def parameters_of(request: Request, limit_bytes: int) -> Parameters:
    """Query and body, nested."""
    query = _nest(_pairs(request.scope["query_string"].decode("latin-1")))
    if request.method in ("GET", "HEAD"):
        return Parameters(query)
    return Parameters({**query, **await _body(request, limit_bytes)})


async def _body(request: Request, limit_bytes: int) -> Mapping[str, Any]:
    data = await whole(request, limit_bytes)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not data.strip():
        return {}
    if kind == "application/x-www-form-urlencoded":
        return _nest(_pairs(data.decode("utf-8", "replace")))
    if kind == "multipart/form-data":
        return _nest(await _multipart(request, data))
    if kind not in ("application/json", "", "text/json") and not kind.endswith("+json"):
        raise BadParameter(f"The provided content-type '{kind[:80]}' is not supported.")
    given = decode_json(data)
    if not isinstance(given, dict):
        raise Invalid("the body must be a JSON object")
    return given


async def _multipart(request: Request, data: bytes) -> list[tuple[str, str]]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield data

    try:
        form = await MultiPartParser(request.headers, once(), max_files=0, max_fields=MOST_FIELDS).parse()
    except (MultiPartException, KeyError, UnicodeError):
        raise Invalid("the multipart body cannot be read") from None
    return [(key, value) for key, value in form.multi_items() if not isinstance(value, UploadFile)]


def _pairs(text: str) -> list[tuple[str, str]]:
    if "%" not in text and "+" not in text and text.count("&") < MOST_FIELDS:  # nothing to decode, as mostly
        parts = (part.partition("=") for part in text.split("&") if part)
        return [(name, value) for name, _, value in parts]
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise Invalid("too many parameters") from None


def _nest(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for key, value in pairs:
        if "[" not in key and "]" not in key:
            if key:
                _put(root, [key], value)
            continue
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        path = [match[1], *_PART.findall(match[2])]
        if len(path) > DEEPEST:
            raise Invalid("a parameter is nested too deeply")
        _put(root, path, value)
    return root


def _put(holder: dict[str, Any], path: list[str], value: str) -> None:
    name, rest = path[0], path[1:]
    if not rest:
        known = holder.get(name)
        holder[name] = (
            [*known, value] if isinstance(known, list) else value
        )  # Rails: of equal plain keys the last
        return
    if rest[0] != "":
        inner = holder.get(name)
        if not isinstance(inner, dict):
            inner = holder[name] = {}
        _put(inner, rest, value)
        return
    items = holder.get(name)
    if not isinstance(items, list):
        items = holder[name] = []
    if len(rest) == 1:
        items.append(value)
        return
    # `variables[][key]=A&variables[][value]=1`: a repeated key begins the next element.
    if not items or not isinstance(items[-1], dict) or rest[1] in items[-1]:
        items.append({})
    _put(items[-1], rest[1:], value)


def id_of(text: str) -> int | None:
    """A row's id written in a path; None for anything else, which then simply does not exist."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        return None
    number = int(text)
    return number if 0 < number <= MOST_ID else None


@dataclass(frozen=True, slots=True)
class Window:
    """What part of a list is wanted. `by_key` is GitLab's keyset pagination."""

    page: int = 1
    per_page: int = PER_PAGE
    descending: bool = True
    by_key: bool = False
    after_id: int | None = None

    def page_of(self, extra: int) -> Page:
        """For the store: `extra` more rows than asked tell whether there is a next page."""
        if self.by_key:
            return Page(limit=self.per_page + extra, after_id=self.after_id, descending=self.descending)
        offset = (self.page - 1) * self.per_page
        return Page(limit=self.per_page + extra, offset=offset, descending=self.descending)


def window_of(parameters: Parameters) -> Window:
    """page, per_page (clamped: glab sends 500), sort, pagination=keyset with cursor or id_after."""
    page, per_page = parameters.number("page"), parameters.number("per_page")
    if page is not None and page < 1:
        raise BadParameter("page does not have a valid value")
    if per_page is not None and per_page < 1:
        raise BadParameter("per_page does not have a valid value")
    descending = parameters.choice("sort", frozenset({"asc", "desc"}), "desc") == "desc"
    size = min(per_page or PER_PAGE, MOST_PER_PAGE)
    if parameters.text("pagination") == "keyset":
        return Window(1, size, descending, True, _cursor(parameters))
    if ((page or 1) - 1) * size > MOST_OFFSET:
        raise NoSuchPage(
            f"Offset pagination has a maximum allowed offset of {MOST_OFFSET} for requests that return objects of this type. "
            "Remaining records can be retrieved using keyset pagination."
        )
    return Window(page or 1, size, descending)


def _cursor(parameters: Parameters) -> int | None:
    text = parameters.text("cursor")
    if text:
        try:
            number = id_of(base64.urlsafe_b64decode(text.encode("ascii")).decode("ascii"))
        except (ValueError, binascii.Error):
            number = None
        if number is None:
            raise BadParameter("cursor is invalid")
        return number
    return parameters.number("id_after") or parameters.number("id_before")


def cursor_for(id: int) -> str:
    """An opaque text for the next page; it names a row of a list that is filtered again, so forging it gains
    nothing."""
    return base64.urlsafe_b64encode(str(id).encode()).decode()


# ASGI servers give names of headers in lower case.
_CREDENTIALS = frozenset({b"job-token", b"private-token", b"authorization"})


def credentials_in(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    """Every header that may say who asks, as it came. (Tokens in the query are part of the query.)"""
    return tuple([header for header in scope["headers"] if header[0] in _CREDENTIALS])


def token_in(request: Request, parameters: Parameters) -> tuple[str, bool]:
    """(token, was it given as a job token)."""
    shown = dict(reversed(credentials_in(request.scope)))
    job = shown.get(b"job-token", b"").decode("latin-1") or _text(parameters, "job_token")
    if job:
        return job, True
    private = (
        shown.get(b"private-token", b"").decode("latin-1")
        or _text(parameters, "private_token")
        or _text(parameters, "access_token")
    )
    if private:
        return private, False
    scheme, _, rest = shown.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    token = rest.strip() if scheme.lower() == "bearer" else ""
    return token, token.startswith("glcbt-")


def _text(parameters: Parameters, name: str) -> str:
    value = parameters.values.get(name)
    return value if isinstance(value, str) else ""
