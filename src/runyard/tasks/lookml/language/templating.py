"""Liquid in LookML, through python-liquid without files and under budgets. Used by `expressions` (to render) and `checks` (to parse).

Every parameter has its default value, and no filter is set: what Looker's SQL validator does. `{% condition %}` is then `1=1`,
`{% date_start %}` and `{% date_end %}` are NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TextIO

from liquid import Environment, Mode
from liquid.ast import BlockNode, Node
from liquid.context import RenderContext
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.parser import get_parser
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.template import BoundTemplate
from liquid.token import TOKEN_EOF, TOKEN_EXPRESSION, TOKEN_TAG, Token

MAX_TEMPLATE = 1 << 20
FACTS = " facts"  # no Liquid path can spell a name with a space


class LiquidProblem(Exception):
    """The template cannot be read or rendered; `line` counts from 1 inside the template."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Facts:
    """What a template may ask. `parameter(name)` is the SQL literal of a parameter; `fields(alias)` names and values of a view's fields."""

    names: Mapping[str, object]
    parameter: Callable[[str], str]
    selected: Collection[str] = ()
    user_attributes: Mapping[str, str] = field(default_factory=dict)


class FieldFacts(Mapping[str, object]):
    """`view.field` in a template: `_in_query`, `_is_selected`, `_parameter_value` and so on."""

    KEYS = (
        "_in_query",
        "_is_selected",
        "_is_filtered",
        "_parameter_value",
        "_value",
        "_name",
        "_label",
        "_sql",
    )

    def __init__(self, id: str, facts: Callable[[], Facts]) -> None:
        self.id = id
        self.facts = facts

    def __getitem__(self, key: str) -> object:
        match key:
            case "_in_query" | "_is_selected":
                return self.id in self.facts().selected
            case "_is_filtered":
                return False
            case "_parameter_value":
                return self.facts().parameter(self.id)
            case "_name" | "_label" | "_value" | "_sql":
                return self.id if key == "_name" else ""
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.KEYS)

    def __len__(self) -> int:
        return len(self.KEYS)


class _ConstantNode(Node):
    """A tag that writes one text known only when rendering."""

    def __init__(self, token: Token, kind: str, argument: str) -> None:
        super().__init__(token)
        self.kind = kind
        self.argument = argument

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Writes the parameter's literal, or NULL for a bound of a filter that is not set."""
        facts = context.resolve(FACTS)
        return buffer.write(facts.parameter(self.argument) if self.kind == "parameter" else "NULL")


class _ConditionNode(Node):
    """`{% condition f %} x {% endcondition %}` with no value for f: always true."""

    def __init__(self, token: Token, block: BlockNode) -> None:
        super().__init__(token)
        self.block = block

    def render_to_output(self, _context: RenderContext, buffer: TextIO) -> int:
        """1=1: no filter is set in validation."""
        return buffer.write("1=1")


class _ConstantTag(Tag):
    """parameter, date_start, date_end."""

    block = False

    def parse(self, stream: TokenStream) -> Node:
        """The argument is a plain field name."""
        token = stream.eat(TOKEN_TAG)
        if stream.current.kind != TOKEN_EXPRESSION:
            raise LiquidSyntaxError(f"{{% {self.name} %}} needs a field", token=token)
        # The parser itself moves past the last token of a tag without a body.
        return _ConstantNode(token, self.name, stream.current.value.strip())


class _ConditionTag(Tag):
    """condition and incrementcondition, with their bodies."""

    def parse(self, stream: TokenStream) -> Node:
        """The body is parsed, so that its errors are found, but never rendered."""
        token = stream.eat(TOKEN_TAG)
        if stream.current.kind == TOKEN_EXPRESSION:  # {% incrementcondition %} has none
            stream.eat(TOKEN_EXPRESSION)
        block = get_parser(self.env).parse_block(stream, frozenset((self.end, TOKEN_EOF)))
        if stream.current.kind != TOKEN_TAG or stream.current.value != self.end:
            raise LiquidSyntaxError(f"{{% {self.name} %}} is never closed", token=token)
        return _ConditionNode(token, block)


class _Limited(Environment):
    """python-liquid's own budgets, set low: a template makes one SQL expression."""

    context_depth_limit = 20
    block_nesting_limit = 40
    loop_iteration_limit = 5_000
    local_namespace_limit = 1 << 20
    output_stream_limit = MAX_TEMPLATE


def _tag(kind: type[Tag], name: str, end: str = "") -> type[Tag]:
    return type(f"Tag_{name}", (kind,), {"name": name, "end": end, "block": bool(end), "__doc__": name})


def _environment() -> Environment:
    env = _Limited(tolerance=Mode.STRICT)
    for name in ("include", "render"):  # nothing is ever read from elsewhere
        env.tags.pop(name, None)
    for name in ("parameter", "date_start", "date_end"):
        env.add_tag(_tag(_ConstantTag, name))
    for name in ("condition", "incrementcondition"):
        env.add_tag(_tag(_ConditionTag, name, f"end{name}"))
    env.add_filter("sql_quote", lambda value: "'" + str(value).replace("'", "''") + "'")
    env.add_filter(
        "sql_boolean", lambda value: "TRUE" if str(value).lower() in ("yes", "true", "1") else "FALSE"
    )
    return env


_ENV = _environment()


def is_template(text: str) -> bool:
    """Whether the text has any Liquid in it."""
    return "{%" in text or "{{" in text


@lru_cache(maxsize=4096)
def _parsed(text: str) -> BoundTemplate:
    return _ENV.from_string(text)


def check(text: str) -> None:
    """Raises LiquidProblem when the text is not valid Liquid."""
    _guarded(text, lambda: _parsed(text))


def render(text: str, facts: Facts) -> str:
    """The template's text for these facts; raises LiquidProblem."""
    values = {
        **facts.names,
        "_user_attributes": facts.user_attributes,
        FACTS: facts,
    }
    return str(_guarded(text, lambda: _parsed(text).render(values)))


def _guarded(text: str, work: Callable[[], object]) -> object:
    if len(text) > MAX_TEMPLATE:
        raise LiquidProblem("the template is too large", 1)
    try:
        return work()
    except LiquidError as error:
        place = error.token.start_index if error.token is not None else 0
        raise LiquidProblem(str(error.message), text.count("\n", 0, max(0, place)) + 1) from None
    except RecursionError:
        raise LiquidProblem("the template is nested too deeply", 1) from None
    except (ValueError, TypeError, ArithmeticError, IndexError) as error:
        raise LiquidProblem(f"the template cannot be rendered: {error}", 1) from None
