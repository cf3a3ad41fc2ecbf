"""Takes attempts and executes their steps in a sandbox; speaks the runner protocol only."""
