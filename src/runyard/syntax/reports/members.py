"""A report's bytes as documents: what gitlab-runner compressed and concatenated, apart again, under a
budget."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar
from xml.parsers.expat import ParserCreate

import msgspec

PACKED_BYTES = 30 << 20
PLAIN_BYTES = 30 << 20
MEMBERS = 10_000
JSON_NODES = 400_000
XML_DEPTH = 200
T = TypeVar("T")


def members(data: bytes) -> list[bytes]:
    """Every member by itself: gitlab-runner concatenates one per matching file (contracts/gitlab.md §2.6),
    each a document of its own."""
    if not data.startswith(b"\x1f\x8b"):
        return [data]
    found: list[bytes] = []
    left = PLAIN_BYTES
    while data.startswith(b"\x1f\x8b"):
        machine = zlib.decompressobj(31)
        found.append(machine.decompress(data, left + 1))
        left -= len(found[-1])
        if left < 0 or machine.unconsumed_tail or len(found) > MEMBERS:
            raise ValueError("the report is too large")
        if not machine.eof:
            raise ValueError("the file is cut off")
        data = machine.unused_data
    return found


def documents(data: bytes) -> list[bytes]:
    """Concatenated XML files, apart again: each begins with a declaration or is the only one."""
    parts = data.split(b"<?xml")
    head = [parts[0]] if parts[0].strip() else []
    return head + [b"<?xml" + part for part in parts[1:]]


def parse_xml(
    document: bytes,
    begin: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None],
    text: Callable[[str], None] | None = None,
) -> None:
    """Feeds a document's elements. A document type may be named (Cobertura and JaCoCo do), never define
    anything, and is not fetched."""
    parser = ParserCreate()
    depth = 0

    def doctype(_: str, __: str | None, ___: str | None, has_internal_subset: int) -> None:
        if has_internal_subset:
            raise ValueError("a document type that defines something is not allowed")

    def down(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > XML_DEPTH:
            raise ValueError(f"elements nest deeper than {XML_DEPTH}")
        begin(tag, attributes)

    def up(tag: str) -> None:
        nonlocal depth
        depth -= 1
        end(tag)

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler, parser.EndElementHandler = down, up
    if text is not None:
        parser.CharacterDataHandler = text
    parser.buffer_text = True
    parser.Parse(document, True)


def read_json(data: bytes, shape: type[T]) -> T:
    """A document of that shape. What the shape does not name is skipped unread, and the number of nodes is
    bounded before the first is made."""
    if sum(data.count(sign) for sign in (b",", b"{", b"[")) > JSON_NODES:
        raise ValueError(f"it holds more than {JSON_NODES} values")
    found: T = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=shape)
    return found
