"""Types of what expressions give: enough to say that a property does not exist or that an object was used as
a text. Used by `inference` and `contexts`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Shape:
    """`kind` is any, string, number, boolean, null, object or array. `known` are an object's properties by
    lower-case name, `rest` what its other ones are (None: it has no others); `item` is an array's; `filtered`
    an array made by `.*`, on whose members a property is taken."""

    kind: str
    known: Mapping[str, Shape] = field(default_factory=dict)
    rest: Shape | None = None
    item: Shape | None = None
    filtered: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it can stand in a text as what it says."""
        return self.kind in ("any", "string", "number", "boolean")


ANY, STRING, NUMBER, BOOLEAN, NULL = map(Shape, ("any", "string", "number", "boolean", "null"))
OPEN = Shape("object", rest=ANY)
TEXTS = Shape("object", rest=STRING)


def strict(known: Mapping[str, Shape]) -> Shape:
    """An object with these properties and no others."""
    return Shape("object", {name.lower(): shape for name, shape in known.items()})


def strings(names: str) -> dict[str, Shape]:
    """Properties that are texts."""
    return dict.fromkeys(names.split(), STRING)


def array(item: Shape, *, filtered: bool = False) -> Shape:
    """An array of these."""
    return Shape("array", item=item, filtered=filtered)


def merged(shapes: Iterable[Shape]) -> Shape:
    """What is one of these."""
    found: Shape | None = None
    for shape in shapes:
        found = shape if found is None else _either(found, shape)
    return found or ANY


def _either(one: Shape, other: Shape) -> Shape:
    if one == other:
        return one
    if one.kind != other.kind or one.kind in ("any", "array"):
        return ANY
    if one.kind != "object":
        return one
    names = {*one.known, *other.known}
    known = {n: merged(s.known[n] for s in (one, other) if n in s.known) for n in names}
    rest = [shape.rest for shape in (one, other) if shape.rest is not None]
    return Shape("object", known, merged(rest) if rest else None)


def of_value(value: object) -> Shape:
    """The shape of a plain value, of JSON or YAML."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, str):
        return STRING
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, Mapping):
        return strict({str(key): of_value(inner) for key, inner in value.items()})
    if isinstance(value, list | tuple):
        return array(merged(map(of_value, value)))
    return NULL
