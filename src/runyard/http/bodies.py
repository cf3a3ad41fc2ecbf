"""Request bodies under a budget: whole (small) or streamed (uploads), inflated with a cap, decoded as strict
JSON or as the fields of a form.

Every dialect and page reads bodies through here; frameworks' own readers have no limit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from starlette.requests import Request

from runyard.model.errors import Invalid, TooLarge

MOST_FIELDS = 300
FORM = "application/x-www-form-urlencoded"


async def stream(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body in pieces, TooLarge beyond the limit whatever Content-Length promised, Invalid when it was cut
    short.

    It ends with the last promised byte: the server tells the end by itself only in an empty message more,
    which costs every request one more hop between two threads.
    """
    text = request.headers.get("content-length", "")
    promised = int(text[:18]) if text.isascii() and text.isdigit() else None
    if promised is not None and promised > limit_bytes:
        raise TooLarge(f"The body may have at most {limit_bytes} bytes.")
    size, goes_on = 0, True
    while goes_on and size != promised:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Invalid("The body ended before its end.")
        piece, goes_on = message.get("body", b""), message.get("more_body", False)
        size += len(piece)
        if size > limit_bytes:
            raise TooLarge(f"The body may have at most {limit_bytes} bytes.")
        if piece:
            yield piece


async def left(request: Request) -> None:
    """Returns once the client has gone. For requests whose body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def whole(request: Request, limit_bytes: int) -> bytes:
    """The whole body; `Content-Encoding: gzip` is undone under the same limit."""
    pieces = [piece async for piece in stream(request, limit_bytes)]
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    match request.headers.get("content-encoding", "identity").lower():
        case "identity" | "":
            return data
        case "gzip":
            return inflate(data, limit_bytes)
        case other:
            raise Invalid(f"Content-Encoding {other[:40]!r} is not known here; send gzip or identity.")


async def form(request: Request, limit_bytes: int) -> dict[str, str]:
    """The fields of a page's form; of equal names the last. Our pages upload nothing, so there is one
    encoding: Starlette's reader would also take files, of any size, onto the disk."""
    kind = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
    if kind != FORM:
        raise Invalid(f"A form is sent as {FORM}.")
    try:
        text = (await whole(request, limit_bytes)).decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise Invalid(
            f"The form cannot be read: it has UTF-8 text in at most {MOST_FIELDS} fields."
        ) from None


def inflate(data: bytes, limit_bytes: int) -> bytes:
    """gunzip, stopping at the limit (a kilobyte may hold a gigabyte)."""
    machine = zlib.decompressobj(wbits=31)
    try:
        out = machine.decompress(data, limit_bytes + 1)
    except zlib.error as error:
        raise Invalid(f"The body is not gzip: {error}.") from None
    if len(out) > limit_bytes:
        raise TooLarge(f"The body may have at most {limit_bytes} bytes once inflated.")
    if not machine.eof or machine.unused_data:
        raise Invalid("The body is not gzip: it is cut short, or goes on after its end.")
    return out


def decode_json(data: bytes) -> Any:
    """Strict JSON: no NaN, no endless nesting, no invalid UTF-8; Invalid says where."""
    try:
        text = data.decode()
        found = json.loads(text, parse_constant=_refuse_constant)
        if (
            "\\u" in text
        ):  # an escaped half of a surrogate pair is JSON, but no text that a database or a hash could take
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise Invalid(message) from None
    except UnicodeEncodeError:
        raise Invalid("The body has half of a surrogate pair, which is no text.") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"The body is not UTF-8 at byte {error.start}.") from None
    except RecursionError:
        raise Invalid("The body is nested too deeply.") from None
    except ValueError as error:
        raise Invalid(f"The body is not JSON: {error}.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
