"""What a person may start by hand, as data: from the files of a branch, or a job that takes inputs. Dialects
make it, the web page turns it into forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from runyard.model.plan import JobPlan


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
    """One thing to start. `path` is the file that makes it; `source` and `options` go into the run's trigger.
    `takes_variables`: any more than those that are asked for."""

    path: str
    source: str
    title: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Field, ...] = ()
    variables: tuple[Field, ...] = ()
    takes_variables: bool = False


@dataclass(frozen=True, slots=True)
class JobInputs:
    """How a dialect asks whoever starts or retries a job for the job's own inputs (`JobPlan.inputs`).
    `fields`: the questions, none for a job without inputs; `read`: the answers, texts too, as the job takes
    them (Invalid for what it does not); `takes_variables`: whether it may be given variables of any name."""

    fields: Callable[[JobPlan], Sequence[Field]]
    read: Callable[[JobPlan, Mapping[str, Any]], Mapping[str, Any]]
    takes_variables: Callable[[JobPlan], bool] = lambda plan: False
