"""Writes the byte code of everything a start imports, once, at `make setup`: uv leaves that to the first
start, which then takes three times as long, and every start does where PYTHONDONTWRITEBYTECODE is set."""

import contextlib
import importlib
import pkgutil

import runyard

for module in pkgutil.walk_packages(runyard.__path__, "runyard."):
    if not module.name.endswith(("__main__", ".env")) and ".versions" not in module.name:
        importlib.import_module(module.name)
for late in ("duckdb", "alembic.command", "granian.server.embed", "sqlalchemy.dialects.sqlite", "fastapi"):
    with contextlib.suppress(ImportError):
        importlib.import_module(late)
