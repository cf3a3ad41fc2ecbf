"""Reading a stranger's JSON without trusting its shape: what is odd reads as empty. Used by all that looks
into dbt manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def table(value: Any) -> Json:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts; a single text is a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def text(value: Any) -> str:
    """A text, or an empty one."""
    return value if isinstance(value, str) else ""


def meta(part: Json) -> Json:
    """`meta` of a node or column: dbt keeps it beside `config` and, in newer versions, inside it."""
    return {**table(table(part.get("config")).get("meta")), **table(part.get("meta"))}


def tags(part: Json) -> tuple[str, ...]:
    """`tags` of a node or column, from both places."""
    return (*texts(part.get("tags")), *texts(table(part.get("config")).get("tags")))
