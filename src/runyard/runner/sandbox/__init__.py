"""Rooms for strangers' processes: `choose` a Sandbox at start, `open` a Box per attempt, `run` its steps.
Called by runner/ and cli/ only.

The only place besides sources/ that starts processes. `box.py` is the port; `levels.py` picks
bubblewrap+cgroups, bubblewrap or plain.
"""

from runyard.runner.sandbox.box import (
    Beside,
    Box,
    BoxPlan,
    FoldersMoved,
    ImageUnavailable,
    Level,
    Limits,
    Places,
    Process,
    RootFs,
    Sandbox,
    SandboxError,
    Used,
)
from runyard.runner.sandbox.levels import choose

__all__ = [
    "Beside", "Box", "BoxPlan", "FoldersMoved", "ImageUnavailable", "Level", "Limits", "Places", "Process", "RootFs", "Sandbox", "SandboxError", "Used", "choose",
]  # fmt: skip
