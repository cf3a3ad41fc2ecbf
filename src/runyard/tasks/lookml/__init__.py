"""LookML: parse, merge, validate, generate SQL; run as `python -m runyard.tasks.lookml`."""
