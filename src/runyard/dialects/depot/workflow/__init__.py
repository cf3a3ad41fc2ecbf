"""Actions-syntax workflows compiled to a Plan. `depot/compile.py` calls `read` (text → document) and `build`
(document → jobs).

Every problem is collected with file, line and column before anything is refused. What is known at the trigger
is rendered here; what only claim or runner know stays a template in the plan.
"""
