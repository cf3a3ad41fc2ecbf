# ruff: noqa: S608 - this package makes SQL; every name goes through names.quoted, every text through names.text
"""Text of users that becomes SQL: a filter must be one condition, a query one SELECT. Parsed by sqlglot
before the database sees it.

The second fence; the first is the session itself (read-only, locked down). What sqlglot cannot parse is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from runyard.tasks.datadiff.faults import CouldNot, Fault
from runyard.tasks.datadiff.grammar import Grammar

MAX_CHARS = 100_000


_FORBIDDEN = re.compile(
    "^(pg_(read|ls|stat)_.*|pg_(terminate|cancel)_backend|pg_(try_)?advisory_.*|pg_sleep.*|lo_.*|dblink.*|set_config|query_to_xml.*|"
    "database_to_xml.*|table_to_xml.*|load_file|sleep|benchmark|get_lock|sys_exec|sys_eval)$",
    re.IGNORECASE,
)  # what reads the server's files, waits, or runs further SQL; our own list and anchored
_EXECUTED_COMMENT = re.compile(r"/\*M?!", re.IGNORECASE)  # MySQL runs what these comments hold


def check_filter(filter: str, dialect: str) -> str:
    """The filter, if it is one condition."""
    if not filter.strip():
        return ""
    from sqlglot import exp  # lazy: most diffs have no filter, and the import takes longer than a small diff

    sql = f"SELECT 1 FROM t WHERE (\n{filter}\n)"
    tree = _parse(sql, dialect, "filter")
    where = tree.args.get("where")
    if (
        not isinstance(where, exp.Where)
        or not isinstance(where.this, exp.Paren)
        or len(tree.args["expressions"]) != 1
    ):
        raise CouldNot(Fault.BAD_SPEC, "The filter is not one condition.")
    if any(tree.args.get(part) for part in ("group", "having", "order", "limit", "into", "with_", "with")):
        raise CouldNot(Fault.BAD_SPEC, "The filter is not one condition.")
    return _as_parsed(where.this.this, dialect, filter)


def check_query(query: str, dialect: str) -> str:
    """The query, if it is one SELECT (or a union of them) that writes nothing."""
    text = query.strip().rstrip(";")
    return _as_parsed(_parse(text, dialect, "query"), dialect, text)


def with_parameters(query: str, parameters: Sequence[str], grammar: Grammar) -> str:
    """The query with its placeholders (`?` in order, or `$1`, `$2` …) replaced by texts, quoted as the
    database quotes.

    A text in quotes is read as the type that it is compared with by most databases; where a database does
    not, the query casts.
    """
    marks = _placeholders(_tokens(query, grammar.name))
    if {n for _, _, n in marks} != set(range(len(parameters))):
        message = (
            f"The query's placeholders (? in order, or $1, $2 …) do not fit its {len(parameters)} params."
        )
        raise CouldNot(Fault.BAD_SPEC, message)
    for start, end, n in reversed(marks):
        query = f"{query[:start]}{grammar.text(parameters[n])}{query[end:]}"
    said = {token.text for token in _tokens(query, grammar.name)}
    if not said.issuperset(parameters):  # the parser reads the quoted text in another way than we wrote it
        raise CouldNot(Fault.BAD_SPEC, f"A parameter cannot be quoted safely for {grammar.name}.")
    return query


def _tokens(query: str, dialect: str) -> Sequence[Any]:
    from sqlglot import tokenize
    from sqlglot.errors import SqlglotError

    try:
        return tokenize(query, read=dialect)
    except SqlglotError as error:
        raise CouldNot(Fault.BAD_SPEC, f"The query cannot be parsed: {_where(error, 'query')}.") from None


def _placeholders(tokens: Sequence[Any]) -> list[tuple[int, int, int]]:
    """(start, end, which parameter from 0) of each; what stands in quotes or remarks is no token of this
    kind."""
    found: list[tuple[int, int, int]] = []
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.token_type.name == "PLACEHOLDER" and token.text == "?":
            found.append((token.start, token.end + 1, len(found)))
        elif token.text == "$" and after and after.text.isdigit() and after.start == token.end + 1:
            found.append((token.start, after.end + 1, int(after.text) - 1))
    return found


def check_rule(condition: str, dialect: str) -> None:
    """A rule's condition: one expression over {a} and {b}, without columns, tables or subqueries of its
    own."""
    from sqlglot import exp

    text = condition.replace("{a}", "a__").replace("{b}", "b__")
    tree = _parse(f"SELECT (\n{text}\n)", dialect, "rule")
    found = tree.args["expressions"]
    clean = (
        len(found) == 1
        and isinstance(found[0], exp.Paren)
        and not any(
            tree.args.get(part)
            for part in (
                "from",
                "from_",
                "where",
                "group",
                "having",
                "order",
                "limit",
                "into",
                "with_",
                "with",
            )
        )
    )
    if not clean or tree.find(exp.Subquery, exp.From) or len(list(tree.find_all(exp.Select))) != 1:
        raise CouldNot(Fault.BAD_SPEC, f"The rule {condition!r} is not one condition over {{a}} and {{b}}.")
    if unknown := sorted({c.sql() for c in tree.find_all(exp.Column)} - {"a__", "b__"}):
        raise CouldNot(
            Fault.BAD_SPEC, f"The rule {condition!r} knows {{a}} and {{b}} only, not {unknown[0]}."
        )


def _where(error: Exception, what: str) -> str:
    """What the parser did not expect, and where in the user's text: a filter and a rule stand alone on our
    second line."""
    facts: Mapping[str, Any] = (getattr(error, "errors", None) or [{}])[0]
    line = str(facts.get("description") or error).split("\n", 1)[0].rstrip(".")[:300]
    line = re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", line)
    if not facts.get("line"):
        return line
    at, near = int(facts["line"]) - (what != "query"), str(facts.get("highlight") or "")
    return (
        f"{line}, at its end"
        if what != "query" and near == ")"
        else f"{line}, line {at}, column {facts['col']}"
    )


def _as_parsed(tree: Any, dialect: str, text: str) -> str:
    """For MySQL what the parser understood is what is sent: it reads `--` and backslashes in ways that could
    be used to hide SQL from us."""
    return str(tree.sql(dialect="mysql", comments=False)) if dialect == "mysql" else text


def _parse(sql: str, dialect: str, what: str) -> Any:
    import sqlglot
    from sqlglot import exp

    if "\0" in sql or (dialect == "mysql" and _EXECUTED_COMMENT.search(sql)):
        raise CouldNot(Fault.BAD_SPEC, f"The {what} holds characters that are not allowed.")
    if len(sql) > MAX_CHARS:
        raise CouldNot(Fault.BAD_SPEC, f"The {what} may have at most {MAX_CHARS} characters.")
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect=dialect) if tree is not None]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise CouldNot(Fault.BAD_SPEC, f"The {what} cannot be parsed: {_where(error, what)}.") from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise CouldNot(Fault.BAD_SPEC, f"The {what} must be one SELECT.")
    writes = (
        exp.Insert,
        exp.Update,
        exp.Delete,
        exp.Merge,
        exp.Create,
        exp.Drop,
        exp.Command,
        exp.Into,
        exp.Copy,
    )
    if trees[0].find(*writes):
        raise CouldNot(Fault.BAD_SPEC, f"The {what} may only read.")
    for call in trees[0].find_all(exp.Func):
        name = call.name if isinstance(call, exp.Anonymous) else call.sql_name()
        if _FORBIDDEN.match(name):
            raise CouldNot(Fault.BAD_SPEC, f"The {what} may not call {name.lower()}.")
    return trees[0]
