"""Measures of type period_over_period: the same query once more with its time moved on by a period, joined to
the query itself.

The value of a row's previous period is the base measure over rows whose moments, a period later, fall into
that row. Called by `query`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from runyard.tasks.lookml.language.model import Field
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler
from runyard.tasks.lookml.sql.dialects import Dialect
from runyard.tasks.lookml.sql.expressions import Expression, Unresolved, identifier, joined, label, plain
from runyard.tasks.lookml.sql.measures import based_on

PERIODS = ("day", "week", "month", "quarter", "year")
Wanted = tuple[str, Field]
Single = Callable[[Context, Sequence[Wanted], Sequence[str]], Expression]


@dataclass(frozen=True, slots=True)
class _Shift:
    """Which time moves by how much, and whether the running period counts only up to now."""

    alias: str
    group: str
    step: tuple[int, str]
    until: Field | None  # the time itself, when the running period's predecessor counts only up to now


def has_periods(wanted: Sequence[Wanted]) -> bool:
    """Whether a field compares periods."""
    return any(f.kind == "measure" and f.type == "period_over_period" for _, f in wanted)


def assemble_periods(
    context: Context,
    wanted: Sequence[Wanted],
    limit: int | None,
    sorts: Sequence[tuple[str, bool]],
    labels: Sequence[str] | None,
    single: Single,
) -> Expression:
    """`WITH running AS (the query), before_0 AS (the query a period on) SELECT …`."""
    compiler = FieldCompiler(context)
    plain_fields = [w for w in wanted if not has_periods([w])]
    shifts: dict[_Shift, list[Wanted]] = {}
    bases: list[Wanted] = []
    compared: dict[str, tuple[_Shift, Wanted]] = {}
    for alias, field in wanted:
        if has_periods([(alias, field)]):
            shift, base = _shift(compiler, alias, field), based_on(compiler, alias, field)
            compared[f"{alias}.{field.name}"] = (shift, base)
            if base not in shifts.setdefault(shift, []):
                shifts[shift].append(base)
            if base not in bases:
                bases.append(base)
    dimensions = [w for w in plain_fields if w[1].kind == "dimension"]
    others = [w for w in plain_fields if w[1].kind != "dimension"]
    running = [*dimensions, *others, *(b for b in bases if b not in others)]
    parts: list[Expression | str] = [
        "WITH running AS (\n",
        single(context, running, _columns(running)),
        "\n)",
    ]
    for index, (shift, measures) in enumerate(shifts.items()):
        until = [(shift.alias, shift.until)] if shift.until else []
        moved = replace(context, shifts={(shift.alias, shift.group): shift.step}, until_now=until)
        fields = [*dimensions, *measures]
        parts += [f", before_{index} AS (\n", single(moved, fields, _columns(fields)), "\n)"]
    parts.append("\nSELECT\n  ")
    order = list(shifts)
    for index, (alias, field) in enumerate(wanted):
        name = f"{alias}.{field.name}"
        text = (
            _value(field, *compared[name], order, context.dialect)
            if name in compared
            else f"running.{_column(alias, field, context.dialect)}"
        )
        shown = (
            compiler.name(labels[index]) if labels is not None else label(alias, field.name, context.dialect)
        )
        parts.append((",\n  " if index else "") + f"{text} AS {shown}")
    parts.append("\nFROM running")
    parts += [_joined(index, dimensions, context.dialect) for index in range(len(order))]
    return joined(*parts, _tail(context, wanted, sorts, limit))


def _column(alias: str, field: Field, dialect: Dialect) -> str:
    """A name that is safe in every dialect; the aliases keep two views' fields apart."""
    return identifier(f"{alias}__{field.name}".replace('"', ""), dialect)


def _columns(fields: Sequence[Wanted]) -> list[str]:
    return [f"{a}__{f.name}".replace('"', "") for a, f in fields]


def _shift(compiler: FieldCompiler, alias: str, field: Field) -> _Shift:
    node = field.node.get("based_on_time")
    if node is None:
        raise Unresolved(f'"{field.id}" has no based_on_time', field.node.file.path, field.node.line)
    owner, _, short = node.value.rpartition(".")
    view = compiler.context.explore.views.get(owner or alias)
    time = view.fields.get(short) if view else None
    group = time.group or time.name if time else short if view and short in view.groups else ""
    period = field.node.text("period", "year")
    if not group or period not in PERIODS:
        problem = f'unknown period "{period}"' if group else f'"{node.value}" is not a time dimension'
        raise Unresolved(f'"{field.id}": {problem}', node.file.path, node.line)
    step = (3, "month") if period == "quarter" else (1, period)
    until = next((f for f in view.fields.values() if group in (f.group, f.name)), None) if view else None
    return _Shift(owner or alias, group, step, until if field.node.is_yes("value_to_date") else None)


def _value(field: Field, shift: _Shift, base: Wanted, order: list[_Shift], dialect: Dialect) -> str:
    column = _column(*base, dialect)
    now, before = f"running.{column}", f"before_{order.index(shift)}.{column}"
    match field.node.text("kind", "previous"):
        case "difference":
            return f"{now} - {before}"
        case "relative_change":
            return f"({now} - {before}) * 1.0 / NULLIF({before}, 0)"
    return before


def _joined(index: int, dimensions: Sequence[Wanted], dialect: Dialect) -> Expression:
    names = [_column(a, f, dialect) for a, f in dimensions]
    tests = [_same(f"running.{n}", f"before_{index}.{n}", dialect) for n in names]
    return plain(f"\nLEFT JOIN before_{index} ON {' AND '.join(tests) or '1=1'}")


def _same(a: str, b: str, dialect: Dialect) -> str:
    """Equal, or both NULL; Redshift has no IS NOT DISTINCT FROM, and BigQuery joins by the long form."""
    if dialect in ("redshift", "bigquery"):
        return f"({a} = {b} OR ({a} IS NULL AND {b} IS NULL))"
    return f"{a} IS NOT DISTINCT FROM {b}"


def _tail(
    context: Context, wanted: Sequence[Wanted], sorts: Sequence[tuple[str, bool]], limit: int | None
) -> Expression:
    parts = []
    for name, is_descending in sorts:
        full = name if "." in name else f"{context.explore.alias}.{name}"
        index = next((i for i, (a, f) in enumerate(wanted) if f"{a}.{f.name}" == full), -1)
        if index < 0:
            node = context.explore.node
            raise Unresolved(f'the sort "{name}" is not among the selected fields', node.file.path, node.line)
        parts.append(f"{index + 1}{' DESC' if is_descending else ''}")
    order = f"\nORDER BY {', '.join(parts)}" if parts else ""
    return plain(order + (f"\nLIMIT {limit}" if limit is not None else ""))
