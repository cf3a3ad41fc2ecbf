"""The command line: every `runyard` verb; calls app and tasks, is called by `__main__`."""
