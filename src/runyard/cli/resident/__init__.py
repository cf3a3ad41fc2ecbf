"""The resident: a process that has `runyard run` imported and a sandbox ready, so that a run starts in
hundredths of a second (docs/decisions/0013).

`client` asks it, with nothing but built-in modules; `server` is it; `spare` is the process that it keeps
ready for the next run.
"""
