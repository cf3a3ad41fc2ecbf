"""Programs that steps run inside the sandbox; each usable alone. They see only syntax."""
