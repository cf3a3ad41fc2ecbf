"""LookML without a Looker instance: parse, merge, validate, generate SQL. Run by steps as `python -m runyard.tasks.lookml`, and by the CLI.

text → `parser` → `tree` → `project` (files, includes, constants) → `merge` (extends, refinements) → `model` (views, fields, explores)
→ `checks` (LookML validator) and `compiler`/`query` (SQL with a source map) → `sqlcheck` (SQL validator on `databases`) → `report`.
"""
