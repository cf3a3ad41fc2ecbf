"""`python -m runyard.tasks.lookml`: see `program`."""

from __future__ import annotations

import sys

from runyard.tasks.lookml.program import main

if __name__ == "__main__":
    sys.exit(main())
