# ruff: noqa: S608 - this package makes SQL; every name goes through names.quoted, every text through names.text
"""Text of users that becomes SQL: a filter must be one condition, a query one SELECT. Parsed by sqlglot before the database sees it.

The second fence; the first is the session itself (read-only, locked down). What sqlglot cannot parse is refused.
"""

from __future__ import annotations

from typing import Any

from runyard.tasks.datadiff.faults import CouldNot, Fault

MAX_CHARS = 100_000


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
    return filter


def check_query(query: str, dialect: str) -> str:
    """The query, if it is one SELECT (or a union of them) that writes nothing."""
    text = query.strip().rstrip(";")
    _parse(text, dialect, "query")
    return text


def _parse(sql: str, dialect: str, what: str) -> Any:
    import sqlglot
    from sqlglot import exp

    if len(sql) > MAX_CHARS:
        raise CouldNot(Fault.BAD_SPEC, f"The {what} may have at most {MAX_CHARS} characters.")
    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect=dialect) if tree is not None]
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        line = str(error).split("\n", 1)[0][:300]
        raise CouldNot(Fault.BAD_SPEC, f"The {what} cannot be parsed: {line}.") from None
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
    return trees[0]
