"""LookML without a Looker instance: parse, merge, validate, generate SQL. Run by steps as `python -m
runyard.tasks.lookml`, and by the CLI.

`language` (text to models) ← `sql` (fields to a SELECT with a source map) ← `validators` (on `databases`) ←
`report`, `program`.
"""
