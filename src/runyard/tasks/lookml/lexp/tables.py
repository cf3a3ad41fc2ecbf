"""Functions over a whole column: totals, running totals, neighbours, ranks. Each takes its arguments' columns
and gives a column.

Where a cell is a list (`list()`, `offset_list()`, `split()`), an aggregate works on that list instead, row by
row, as Looker's do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from runyard.tasks.lookml.lexp.tree import LexpError, Value
from runyard.tasks.lookml.lexp.values import MATH, compare, identity, kind, number

Column = list[Value]


@dataclass(frozen=True, slots=True)
class Tabular:
    """A function of columns; `least` to `most` arguments."""

    compute: Callable[[list[Column], int, int], Column]  # (arguments, rows, place) → column
    least: int
    most: int


def _numbers(values: Sequence[Value], at: int) -> list[Decimal]:
    found = []
    for value in values:
        if isinstance(value, bool) or (value is not None and not isinstance(value, Decimal)):
            raise LexpError(f"a column of numbers is needed, found {kind(value)}", at)
        if isinstance(value, Decimal):
            found.append(value)
    return found


def _whole(value: Value, at: int) -> int:
    if not isinstance(value, Decimal) or abs(value) > 1_000_000_000:
        raise LexpError(f"a number of rows is needed, found {kind(value)}", at)
    return int(value)


def _aggregate(compute: Callable[[Sequence[Value], int], Value]) -> Tabular:
    def over(arguments: list[Column], rows: int, at: int) -> Column:
        column = arguments[0]
        if any(isinstance(cell, list) for cell in column):
            return [compute(cell, at) if isinstance(cell, list) else None for cell in column]
        return [compute(column, at)] * rows

    return Tabular(over, 1, 1)


def _sum(values: Sequence[Value], at: int) -> Decimal | None:
    total: Decimal = Decimal(0)
    for value in _numbers(values, at):
        total = MATH.add(total, value)
    return number(total)


def _product(values: Sequence[Value], at: int) -> Decimal | None:
    result: Decimal = Decimal(1)
    for value in _numbers(values, at):
        result = MATH.multiply(result, value)
    return number(result)


def _mean(values: Sequence[Value], at: int) -> Decimal | None:
    found = _numbers(values, at)
    total = _sum(values, at)
    return number(MATH.divide(total, Decimal(len(found)))) if found and total is not None else None


def _quantile(values: Sequence[Value], share: Decimal, at: int) -> Decimal | None:
    """Linear between the two nearest values, as spreadsheets and PERCENTILE_CONT do."""
    found = sorted(_numbers(values, at))
    if not found or not 0 <= share <= 1:
        return None
    place = MATH.multiply(share, Decimal(len(found) - 1))
    low = int(place)
    high = min(low + 1, len(found) - 1)
    step = MATH.subtract(found[high], found[low])
    return number(MATH.add(found[low], MATH.multiply(step, MATH.subtract(place, Decimal(low)))))


def _variance(*, sample: bool, root: bool) -> Callable[[Sequence[Value], int], Value]:
    def compute(values: Sequence[Value], at: int) -> Value:
        found, mean = _numbers(values, at), _mean(values, at)
        count = len(found) - sample
        if mean is None or count < 1:
            return None
        variance = _sum([MATH.power(MATH.subtract(v, mean), 2) for v in found], at) or Decimal(0)
        result = MATH.divide(variance, Decimal(count))
        return number(MATH.sqrt(result) if root else result)

    return compute


def _mode(values: Sequence[Value], _at: int) -> Value:
    known = [v for v in values if v is not None]
    return max(known, key=known.count) if known and len(known) <= 5000 else None


def _extreme(operator: str) -> Callable[[Sequence[Value], int], Value]:
    def compute(values: Sequence[Value], at: int) -> Value:
        best: Value = None
        for value in values:
            if value is not None and (best is None or compare(operator, value, best, at)):
                best = value
        return best

    return compute


def _running(step: Callable[[Decimal, Decimal], Decimal], start: Decimal) -> Tabular:
    def over(arguments: list[Column], _rows: int, at: int) -> Column:
        total, found = start, list[Value]()
        for value in arguments[0]:
            for one in _numbers([value], at):
                total = step(total, one)
            found.append(number(total))
        return found

    return Tabular(over, 1, 1)


def _offset(arguments: list[Column], rows: int, at: int) -> Column:
    found: Column = []
    for row in range(rows):
        other = row + _whole(arguments[1][row], at)
        found.append(arguments[0][other] if 0 <= other < rows else None)
    return found


def _offset_list(arguments: list[Column], rows: int, at: int) -> Column:
    if rows and _whole(arguments[2][0], at) > 1000:
        raise LexpError("offset_list() gives at most 1000 values", at)
    found: Column = []
    for row in range(rows):
        start = row + _whole(arguments[1][row], at)
        wanted = range(start, start + max(0, _whole(arguments[2][row], at)))
        found.append([arguments[0][i] if 0 <= i < rows else None for i in wanted])
    return found


def _index(arguments: list[Column], rows: int, at: int) -> Column:
    found: Column = []
    for row in range(rows):
        cell = arguments[0][row]
        source = cell if isinstance(cell, list) else arguments[0]
        place = _whole(arguments[1][row], at) - 1
        found.append(source[place] if 0 <= place < len(source) else None)
    return found


def _match(arguments: list[Column], rows: int, at: int) -> Column:
    """The number of the first row whose value equals, null when none does."""
    found: Column = []
    for row in range(rows):
        wanted = arguments[0][row]
        hit = next((i for i, v in enumerate(arguments[1], 1) if compare("=", wanted, v, at)), None)
        found.append(None if hit is None else Decimal(hit))
    return found


def _lookup(arguments: list[Column], rows: int, at: int) -> Column:
    rows_of = _match(arguments[:2], rows, at)
    return [arguments[2][int(r) - 1] if isinstance(r, Decimal) else None for r in rows_of]


def _rank(arguments: list[Column], rows: int, at: int) -> Column:
    """1 for the largest, as in a spreadsheet; equal values share the best rank."""
    column = _numbers(arguments[1], at)
    found: Column = []
    for row in range(rows):
        value = arguments[0][row]
        above = sum(1 for v in column if isinstance(value, Decimal) and v > value)
        found.append(Decimal(above + 1) if isinstance(value, Decimal) else None)
    return found


def _percentile(scale: int) -> Tabular:
    def over(arguments: list[Column], rows: int, at: int) -> Column:
        share = arguments[1][0] if rows else None
        if not isinstance(share, Decimal):
            return [None] * rows
        return [_quantile(arguments[0], MATH.divide(share, Decimal(scale)), at)] * rows

    return Tabular(over, 2, 2)


def _nth(*, largest: bool) -> Tabular:
    def over(arguments: list[Column], rows: int, at: int) -> Column:
        ordered = sorted(_numbers(arguments[0], at), reverse=largest)
        places = [_whole(cell, at) for cell in arguments[1]]
        return [ordered[p - 1] if 0 < p <= len(ordered) else None for p in places]

    return Tabular(over, 2, 2)


def _rows(_arguments: list[Column], rows: int, _at: int) -> Column:
    return [Decimal(i) for i in range(1, rows + 1)]


def _list(arguments: list[Column], rows: int, _at: int) -> Column:
    return [[column[row] for column in arguments] for row in range(rows)]


TABULAR: dict[str, Tabular] = {
    "row": Tabular(_rows, 0, 0),
    "sum": _aggregate(_sum),
    "product": _aggregate(_product),
    "mean": _aggregate(_mean),
    "median": _aggregate(lambda values, at: _quantile(values, Decimal("0.5"), at)),
    "mode": _aggregate(_mode),
    "count": _aggregate(lambda values, _at: Decimal(sum(1 for v in values if v is not None))),
    "count_distinct": _aggregate(lambda values, _at: Decimal(len(identity(values)))),
    "stddev_pop": _aggregate(_variance(sample=False, root=True)),
    "stddev_samp": _aggregate(_variance(sample=True, root=True)),
    "var_pop": _aggregate(_variance(sample=False, root=False)),
    "var_samp": _aggregate(_variance(sample=True, root=False)),
    "min": _aggregate(_extreme("<")),
    "max": _aggregate(_extreme(">")),
    "running_total": _running(MATH.add, Decimal(0)),
    "running_product": _running(MATH.multiply, Decimal(1)),
    "offset": Tabular(_offset, 2, 2),
    "offset_list": Tabular(_offset_list, 3, 3),
    "index": Tabular(_index, 2, 2),
    "match": Tabular(_match, 2, 2),
    "lookup": Tabular(_lookup, 3, 3),
    "rank": Tabular(_rank, 2, 2),
    "percentile": _percentile(1),
    "quartile": _percentile(4),
    "large": _nth(largest=True),
    "small": _nth(largest=False),
    "list": Tabular(_list, 0, 200),
}
