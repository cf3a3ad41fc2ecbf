"""The LookML language: text → `parser` → `tree` → `project` (files, includes, constants) → `merge` (extends,
refinements) → `model`.

Needs no database and no SQL dialect. Read by `sql` and `validators`, which it never imports.
"""
