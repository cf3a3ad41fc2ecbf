"""Bodies end where they promised to, and not before."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest
from starlette.requests import Request

from runyard.http.bodies import MOST_FIELDS, form, left, whole
from runyard.model.errors import Invalid, TooLarge


def request(messages: list[dict[str, Any]], **headers: str) -> Request:
    """One whose messages come in turn; asking for one more than there are is an error."""
    rest = iter(messages)

    async def receive() -> Any:
        return next(rest)

    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def part(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("messages", "headers", "said"),
    [
        (
            [part(b"ab"), part(b"cd")],
            {"content_length": "4"},
            b"abcd",
        ),  # the empty last message is not awaited
        ([], {"content_length": "0"}, b""),
        ([part(b"ab"), part(b""), part(b"cd", False)], {}, b"abcd"),
        (
            [part(b"ab"), part(b"", False)],
            {"content_length": "9"},
            b"ab",
        ),  # the server itself said that it ended
        ([part(b"abcd", False)], {"content_length": "x"}, b"abcd"),
    ],
)
def test_a_body_is_read_to_its_end_and_no_further(
    messages: list[dict[str, Any]], headers: dict[str, str], said: bytes
) -> None:
    assert asyncio.run(whole(request(messages, **headers), 10)) == said


def test_a_body_that_is_cut_or_too_large_is_refused() -> None:
    with pytest.raises(Invalid):
        asyncio.run(whole(request([part(b"ab"), GONE], content_length="4"), 10))
    with pytest.raises(TooLarge):
        asyncio.run(whole(request([], content_length="11"), 10))
    with pytest.raises(TooLarge):
        asyncio.run(whole(request([part(b"x" * 6), part(b"x" * 6)]), 10))


def test_who_left_is_noticed_behind_what_was_left_of_the_body() -> None:
    asyncio.run(left(request([part(b"", False), GONE])))


def test_a_gzip_body_is_whole_and_nothing_else() -> None:
    packed = gzip.compress(b"abc")
    assert asyncio.run(whole(request([part(packed, False)], content_encoding="gzip"), 99)) == b"abc"
    for broken in (packed[:-4], packed + packed, packed + b"x"):
        with pytest.raises(Invalid, match="gzip"):
            asyncio.run(whole(request([part(broken, False)], content_encoding="gzip"), 99))
    with pytest.raises(TooLarge):
        asyncio.run(whole(request([part(gzip.compress(b"x" * 100), False)], content_encoding="gzip"), 99))


def test_a_form_has_its_fields_and_bounds() -> None:
    urlencoded = "application/x-www-form-urlencoded; charset=UTF-8"
    asked = request([part(b"a=1&b=&a=%C3%BC+2", False)], content_type=urlencoded)
    assert asyncio.run(form(asked, 99)) == {"a": "ü 2", "b": ""}
    assert asyncio.run(form(request([part(b"", False)]), 99)) == {}, "a bare button"
    for wrong in (b"a=1&" * (MOST_FIELDS + 1), b"\xff"):
        with pytest.raises(Invalid, match="fields"):
            asyncio.run(form(request([part(wrong, False)], content_type=urlencoded), 1 << 20))
    with pytest.raises(TooLarge):
        asyncio.run(form(request([part(b"a=" + b"x" * 99, False)], content_type=urlencoded), 99))


def test_a_form_with_files_is_refused_before_a_byte_of_it_is_read() -> None:
    """Whoever may see the sign-in page may send a form: its files would fill the disk."""
    with pytest.raises(Invalid, match="urlencoded"):
        asyncio.run(form(request([], content_type="multipart/form-data; boundary=x"), 99))
