"""Liquid in LookML, through python-liquid without files and under budgets. Used by `sql.liquid` (to render) and the validators (to parse).

What a tag means in a query is asked of `Facts`. With no filter set, as in Looker's SQL validator, `{% condition %}` is `1=1`,
`{% date_start %}` and `{% date_end %}` are NULL. Looker reads tags as laxly as Ruby's Liquid; `_strict` puts its usual liberties right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from io import StringIO
from typing import Protocol, TextIO

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


class Facts(Protocol):
    """What a template may ask about its query."""

    names: Mapping[str, object]
    user_attributes: Mapping[str, str]

    def parameter(self, name: str) -> str:
        """The SQL literal of a parameter."""

    def condition(self, name: str, body: str) -> str:
        """The filter of a field applied to SQL."""

    def bound(self, name: str, which: str) -> str:
        """The SQL literal of a date filter's `start` or `end`."""


class _ConstantNode(Node):
    """A tag that writes one text known only when rendering."""

    def __init__(self, token: Token, kind: str, argument: str) -> None:
        super().__init__(token)
        self.kind = kind
        self.argument = argument

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Writes the parameter's literal, or a bound of a date filter."""
        facts = context.resolve(FACTS)
        if self.kind == "parameter":
            return buffer.write(facts.parameter(self.argument))
        return buffer.write(facts.bound(self.argument, self.kind.removeprefix("date_")))


class _ConditionNode(Node):
    """`{% condition f %} x {% endcondition %}`: the filter of f on x."""

    def __init__(self, token: Token, argument: str, block: BlockNode) -> None:
        super().__init__(token)
        self.argument = argument
        self.block = block

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """An increment's condition has no filter: always true."""
        if not self.argument:
            return buffer.write("1=1")
        body = StringIO()
        self.block.render(context, body)
        return buffer.write(context.resolve(FACTS).condition(self.argument, body.getvalue()))


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
        """The body may hold any Liquid."""
        token = stream.eat(TOKEN_TAG)
        argument = ""
        if stream.current.kind == TOKEN_EXPRESSION:  # {% incrementcondition %} has none
            argument = stream.eat(TOKEN_EXPRESSION).value.strip()
        block = get_parser(self.env).parse_block(stream, frozenset((self.end, TOKEN_EOF)))
        if stream.current.kind != TOKEN_TAG or stream.current.value != self.end:
            raise LiquidSyntaxError(f"{{% {self.name} %}} is never closed", token=token)
        return _ConditionNode(token, argument, block)


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


_TEST = re.compile(r"\{%-?\s*+(?:if|elsif|unless|case|when)\b([^%]*+)%\}")
_LIBERTIES = re.compile(r"\$\{|\{\{|\}\}|[{}()]")


def _strict(text: str) -> str:
    """The text with what Ruby's Liquid overlooks in tests blanked out: `(a)`, `{{ a }}` and `${a}` inside a tag. Offsets stay."""
    if "(" not in text and "{{" not in text and "${" not in text:
        return text
    return _TEST.sub(
        lambda m: (
            _LIBERTIES.sub(lambda n: " " * len(n.group()), m.group(1)).join(m.group().split(m.group(1), 1))
            if m.group(1)
            else m.group()
        ),
        text,
    )


@lru_cache(maxsize=4096)
def _parsed(text: str) -> BoundTemplate:
    return _ENV.from_string(_strict(text))


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
