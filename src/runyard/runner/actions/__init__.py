"""Actions (`uses:` of a step) as a runner executes them: fetched, read, expanded, run in the job's box.
Contracts: actions.md §6, §7.

`acting` walks the stages (pre, main, post) · `trees` fetches and reads · `inputs` makes built-in steps of
well-known actions · `container` runs docker actions.
"""
