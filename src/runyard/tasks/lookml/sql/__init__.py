"""The SQL that an explore's fields mean: `query.build` gives a SELECT with its source map. Pure text, no
database.

`compiler` resolves references; `dimensions`, `measures`, `timeframes` and `filters` say what types make of
them; `joins` what is pulled in.
"""
