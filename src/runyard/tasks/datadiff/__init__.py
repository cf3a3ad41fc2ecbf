"""Data diff: compare two tables; run as `python -m runyard.tasks.datadiff`, or `runyard diff A B` for people.

`spec` says what to compare, `diff.run` does it and gives a `Report`; `outputs` writes result.json,
diff.parquet and summary.md. One full outer join materialises only the differing rows; every number is derived
from that small table and one aggregate per side.
"""
