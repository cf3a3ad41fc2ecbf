"""Data diff: compare two tables; run as `python -m runyard.tasks.datadiff`."""
