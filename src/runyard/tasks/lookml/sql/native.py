"""Native derived tables: `explore_source` as SQL. Called by `query`, which hands in how to build the inner query.

Columns and derived columns are compiled; filters, sorts and limits do not change which columns exist and are left out, so this text is
for binding and reading, not for computing values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.language.model import Field, View
from runyard.tasks.lookml.language.tree import Node
from runyard.tasks.lookml.sql.compiler import Context, FieldCompiler
from runyard.tasks.lookml.sql.expressions import Expression, Piece, Unresolved, joined, quoted

MAX_NESTED = 8


def native_sql(
    compiler: FieldCompiler,
    view: View,
    source: Node,
    build: Callable[[Context, Sequence[tuple[str, Field]]], Expression],
) -> Expression:
    """SELECT of the source's columns under their own names."""
    model = compiler.context.explore.model
    line = source.line
    explore = model.explore(source.value)
    if explore is None:
        guess = nearest(source.value, model.explores.roots)
        raise Unresolved(
            f'unknown explore "{source.value}" in explore_source', source.file.path, line, suggestion=guess
        )
    if compiler.context.depth >= MAX_NESTED:
        raise Unresolved("explore_source is nested too deeply, or circular", source.file.path, line)
    wanted, names = [], []
    for column in source.all("column"):
        reference = column.text("field") or column.value
        field = explore.find(reference)
        if field is None:
            guess = nearest(
                reference.rpartition(".")[2],
                explore.views[explore.alias].fields if explore.alias in explore.views else (),
            )
            message = f'Unknown or inaccessible field "{reference}" in explore_source of "{view.name}".'
            raise Unresolved(message, column.file.path, column.line, suggestion=guess)
        wanted.append((reference.rpartition(".")[0] or explore.alias, field))
        names.append(column.value or field.name)
    if not wanted:
        raise Unresolved(f'explore_source of "{view.name}" has no column', source.file.path, line)
    inner = build(replace(compiler.context, explore=explore, depth=compiler.context.depth + 1), wanted)
    columns = ", ".join(f'"{a}.{f.name}" AS {quoted(n)}' for (a, f), n in zip(wanted, names, strict=True))
    found = joined(f"SELECT {columns} FROM (\n", inner, "\n) AS source")  # noqa: S608 - a LookML project is SQL; it runs read-only
    derived = [(d.value, d.get("sql")) for d in source.all("derived_column")]
    extra = ", ".join(f"{sql.value} AS {quoted(name)}" for name, sql in derived if sql is not None)
    if not extra:
        return found
    return joined(
        "SELECT *, ",
        Expression((Piece(extra, source.file.path, line, view.name),)),
        " FROM (\n",
        found,
        "\n) AS columns",
    )
