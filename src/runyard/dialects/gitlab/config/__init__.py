"""The `.gitlab-ci.yml` compiler: text → Config → Plan. README.md has the shape of `extra["gitlab"]` that the
routes read.

Called by the GitLab dialect (compile, check, lint, entries) and, through it, by the command line. Pure: it
sees the repository only through `Files`. Everything it refuses it refuses with file, line and column, all at
once.
"""

from runyard.dialects.gitlab.config.asking import JOB_INPUTS, offers
from runyard.dialects.gitlab.config.compile import (
    CONFIG_PATH,
    Lint,
    check,
    compile,
    config_path,
    dry_run,
    entries,
    lint,
)

__all__ = [
    "CONFIG_PATH",
    "JOB_INPUTS",
    "Lint",
    "check",
    "compile",
    "config_path",
    "dry_run",
    "entries",
    "lint",
    "offers",
]
