"""What a person may start by hand from the files of a branch, as data: dialects make offers, the web page turns them into forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a field takes. `LIST` is an array, written as JSON."""

    TEXT = "text"
    NUMBER = "number"
    SWITCH = "switch"
    CHOICE = "choice"
    LIST = "list"


@dataclass(frozen=True, slots=True)
class Field:
    """One question. `default` is as people write it (a switch: `true` or `false`, a list: JSON)."""

    name: str
    kind: Kind = Kind.TEXT
    default: str = ""
    description: str = ""
    options: tuple[str, ...] = ()
    required: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing to start. `path` is the file that makes it; `source` and `options` go into the run's trigger. `takes_variables`: any more than those
    that are asked for."""

    path: str
    source: str
    title: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Field, ...] = ()
    variables: tuple[Field, ...] = ()
    takes_variables: bool = False
