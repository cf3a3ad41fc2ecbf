"""Dataclass ↔ tuple of columns, and the statements that add, get and save any row. Called by transaction.py
and queries/.

Everything is worked out once per dataclass from its type hints: which columns hold JSON, enums or flags, and
the SQL text.
"""
# ruff: noqa: S608 - only names of columns and marks are pasted into SQL; every value is bound

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from runyard.engine.ports import Row
from runyard.model.work import (
    Artifact,
    Attempt,
    Connection,
    Deployment,
    Environment,
    Group,
    Job,
    Member,
    Project,
    Record,
    Run,
    Runner,
    SecretVariable,
    Step,
    Token,
    User,
    Workflow,
)
from runyard.store.plans import unpacked

R = TypeVar("R", bound=Row)
Value = Any
Convert = Callable[[Any], Any]

_json = msgspec.json.Encoder()


def _to_json(value: Any) -> str:
    if value:
        return _json.encode(value).decode()
    return "{}" if isinstance(value, Mapping) else "[]"


def _from_json(hint: Any) -> Convert:
    decode = msgspec.json.Decoder(hint).decode
    if get_origin(hint) is tuple:
        return lambda text: () if text == "[]" else decode(text)
    return lambda text: {} if text == "{}" else decode(text)


def _plain(hint: Any) -> Any:
    """The hint without `| None`."""
    if get_origin(hint) in (Union, types.UnionType):
        (rest,) = (a for a in get_args(hint) if a is not type(None))
        return rest
    return hint


def _conversions(hint: Any) -> tuple[Convert, Convert] | None:
    """(to column, from column), or None where the database keeps the value as it is."""
    kind = _plain(hint)
    if kind in (int, str, float):
        return None
    if kind is bool:
        return int, bool
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        say: dict[Any, Any] = {member: str(member.value) for member in kind}
        hear: dict[Any, Any] = {text: member for member, text in say.items()}
        say[None] = hear[None] = None
        return say.__getitem__, hear.__getitem__
    return _to_json, _from_json(kind)


class Shape(Generic[R]):
    """How one dataclass lies in its table. `beside` are columns that are no fields: whoever inserts gives
    their values after the row's own."""

    def __init__(
        self,
        kind: type[R],
        table: str,
        *,
        fixed: Sequence[str] = (),
        key: Sequence[str] = ("id",),
        beside: Sequence[str] = (),
    ):
        hints = get_type_hints(kind)
        self.kind = kind
        self.table = table
        self.names = tuple(f.name for f in fields(kind))
        self.columns = ", ".join(self.names)
        self._values = attrgetter(*self.names)
        pairs = [(i, _conversions(hints[name])) for i, name in enumerate(self.names)]
        self._encode = [(i, pair[0]) for i, pair in pairs if pair]
        self._decode = [(i, pair[1]) for i, pair in pairs if pair]
        inserted = (*self.names, *beside)
        marks = ", ".join("?" * len(inserted))
        self.insert = f"INSERT INTO {table} ({', '.join(inserted)}) VALUES ({marks})"
        self.insert_new = self.insert.replace("(id, ", "(").replace("(?, ", "(", 1)
        self._saved = [i for i, name in enumerate(self.names) if name not in key and name not in fixed]
        self._key = [self.names.index(k) for k in key]
        self._updates: dict[tuple[int, ...], str] = {}
        where = " AND ".join(f"{k} = ?" for k in key)
        self._where = where
        self.select = f"SELECT {self.columns} FROM {table}"
        self.select_one = f"{self.select} WHERE {where}"
        self.delete = f"DELETE FROM {table} WHERE {where}"

    def prefixed(self, alias: str) -> str:
        """The column list for a join."""
        return ", ".join(f"{alias}.{name}" for name in self.names)

    def encode(self, row: R) -> list[Value]:
        values = list(self._values(row))
        for i, convert in self._encode:
            values[i] = convert(values[i])
        return values

    def update(
        self, before: Sequence[Value] | None, after: Sequence[Value]
    ) -> tuple[str, list[Value]] | None:
        """The statement that turns one encoded row into the other, or None when they are equal.

        Columns that stay are not named, so that their indexes are not written again. Without `before` every
        column is.
        """
        columns = tuple(i for i in self._saved if before is None or before[i] != after[i])
        if not columns:
            return None
        sql = self._updates.get(columns)
        if sql is None:
            sql = self._updates[columns] = self.update_of([self.names[i] for i in columns])
        return sql, [after[i] for i in (*columns, *self._key)]

    def update_of(self, names: Iterable[str]) -> str:
        """The statement that writes these columns, in their order here."""
        assignments = ", ".join(f"{name} = ?" for name in sorted(names, key=self.names.index))
        return f"UPDATE {self.table} SET {assignments} WHERE {self._where}"

    def decode(self, columns: Sequence[Value]) -> R:
        values = list(columns)
        for i, convert in self._decode:
            values[i] = convert(values[i])
        return self.kind(*values)

    def with_id(self, row: R, id: int) -> R:
        return self.kind(id, *self._values(row)[1:])


class JobShape(Shape[Job]):
    """Leaves the plan as the text it is stored as: it is most of the row, and most readers of many jobs never
    look at it."""

    def __init__(self) -> None:
        super().__init__(Job, "jobs")
        self._plan = self.names.index("plan")
        self._others = (*self.names[: self._plan], *self.names[self._plan + 1 :])

    def decode(self, columns: Sequence[Value]) -> Job:
        others = (*columns[: self._plan], *columns[self._plan + 1 :])
        unpack = partial(unpacked, columns[self._plan])
        return Job.packed(dict(zip(self._others, others, strict=True)), unpack)


def may_be_planned_anew(job: Job) -> bool:
    """Whether its plan may be saved again: fields of it are drawn, or its maker may begin again
    (`JobPlan.drawn`, `.origin`). Of a plan that is still text the text is asked; one that only looks so is a
    job read anew."""
    unpack = getattr(job, "_unpack", None)
    if isinstance(unpack, partial):
        text: str = unpack.args[0]
        return '"drawn":{' in text or '"origin":{' in text
    return job.plan.drawn is not None or job.plan.origin is not None


USER = Shape(User, "users")
# last_number belongs to next_number alone: a saved project must not set it back.
PROJECT = Shape(Project, "projects", fixed=("last_number",))
TOKEN = Shape(Token, "tokens")
SECRET_VARIABLE = Shape(SecretVariable, "secret_variables")
RUN = Shape(Run, "runs")
WORKFLOW = Shape(Workflow, "workflows")
JOB = JobShape()
# Both are worked out from the plan of the attempt's job: transaction.py gives them.
ATTEMPT = Shape(Attempt, "attempts", beside=("concurrency_group", "outline"))
STEP = Shape(Step, "steps", key=("attempt_id", "position"))
ARTIFACT = Shape(Artifact, "artifacts")
RUNNER = Shape(Runner, "runners")
CONNECTION = Shape(Connection, "connections")
RECORD = Shape(Record, "records")
GROUP = Shape(Group, "groups")
MEMBER = Shape(Member, "members")
ENVIRONMENT = Shape(Environment, "environments")
DEPLOYMENT = Shape(Deployment, "deployments")

_SHAPES: dict[type[Any], Shape[Any]] = {
    s.kind: s
    for s in (
        USER,
        PROJECT,
        TOKEN,
        SECRET_VARIABLE,
        RUN,
        WORKFLOW,
        JOB,
        ATTEMPT,
        STEP,
        ARTIFACT,
        RUNNER,
        CONNECTION,
        RECORD,
        GROUP,
        MEMBER,
        ENVIRONMENT,
        DEPLOYMENT,
    )
}


def shape_of(kind: type[R]) -> Shape[R]:
    return _SHAPES[kind]
