"""Looker's own Liquid tags for python-liquid, and the environment they run in. Imported by `templating` when
the first template is met.

Importing python-liquid takes as long as checking a small project, and most runs over a cache meet no
template.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, MutableMapping
from io import StringIO
from typing import TextIO, cast

from liquid import Environment, Mode
from liquid.ast import BlockNode, Node
from liquid.context import RenderContext
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.parser import get_parser
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.template import BoundTemplate
from liquid.token import TOKEN_EOF, TOKEN_EXPRESSION, TOKEN_TAG, Token

FACTS = " facts"  # no Liquid path can spell a name with a space
MAX_OUTPUT = 1 << 20


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
    output_stream_limit = MAX_OUTPUT


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


ENVIRONMENT = _environment()


class Broken(Exception):
    """A template that python-liquid refuses; `start` is an offset in its text."""

    def __init__(self, message: str, start: int) -> None:
        super().__init__(message)
        self.start = start


def guarded(work: Callable[[], object]) -> object:
    """Runs `work`, with python-liquid's errors as Broken."""
    try:
        return work()
    except LiquidError as error:
        place = error.token.start_index if error.token is not None else 0
        raise Broken(str(error.message), max(0, place)) from None


def rendered(
    template: BoundTemplate, names: Mapping[str, object], user_attributes: Mapping[str, str], facts: object
) -> str:
    """The template's text. `names` is asked name by name and never walked: a view may have thousands of
    fields."""
    scope = ChainMap(
        {"_user_attributes": user_attributes, FACTS: facts}, cast(MutableMapping[str, object], names)
    )
    buffer = template._get_buffer()  # the one that keeps to output_stream_limit
    template.render_with_context(RenderContext(template, globals=scope), buffer)
    return str(buffer.getvalue())
