"""The `runyard` command: finds the verb, imports only its module, runs it. Called by people; promises exit
codes 0, 1, 2 as each verb documents."""

from __future__ import annotations

import os
import sys

from runyard import __version__
from runyard.cli.resident import client as resident

TYPE_CHECKING = False  # the module typing takes longer to import than this one
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

VERBS: dict[str, tuple[str, str]] = {
    "serve": ("runyard.cli.serve:serve", "Serve all four APIs, git and the web page on one port."),
    "run": ("runyard.cli.run:run", "Run this working copy's pipeline or workflow now, without a server."),
    "check": ("runyard.cli.check:check", "Find every problem in pipeline and workflow files."),
    "compile": ("runyard.cli.compiling:compile_file", "Print the plan a file compiles to."),
    "runner": ("runyard.cli.runner:runner", "Take jobs from a server on another machine."),
    "token": ("runyard.cli.token:token", "Make an access token for a user of a server's data folder."),
    "rotate-key": (
        "runyard.cli.rotate_key:rotate_key",
        "Seal a stopped server's secrets with a new key.",
    ),
    "settings": ("runyard.cli.settings:settings", "Print every setting, its value and what it means."),
    "diff": ("runyard.cli.diff:diff", "Compare two tables; exit 0 equal, 1 different, 2 could not."),
    "lookml": ("runyard.cli.lookml:app", "Check a LookML project, or print the SQL of an explore."),
}


INTERRUPTED = 130  # as shells tell SIGINT
PLAIN = frozenset({"run", "compile"})  # they read their command lines themselves, so that they start at once


def load(verb: str) -> Callable[..., Any]:
    """The verb as a callable command line; imports only its module."""
    import importlib

    module, _, name = VERBS[verb][0].partition(":")
    found = getattr(importlib.import_module(module), name)
    if verb in PLAIN:
        return found  # type: ignore[no-any-return]
    import typer
    import typer.main

    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name=verb)(found)
        found = single
    return typer.main.get_command(found)


def leave(code: int) -> NoReturn:
    """Ends at once: taking the interpreter down carefully takes longer than all that a client of the resident
    does."""
    os._exit(code)


def usage() -> str:
    """What `runyard --help` prints."""
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{text}" for name, (_, text) in VERBS.items())
    return f"Runyard: one CI server that speaks the CI APIs of GitLab, Depot, Looker and Datafold.\n\nusage: runyard VERB …\n\n{verbs}\n\n`runyard VERB --help` says more.\n"


def main() -> None:
    """Entry point of the console script."""
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help", "help"):
        sys.stdout.write(usage())
    elif verb in ("-V", "--version", "version"):
        sys.stdout.write(f"runyard {__version__}\n")
    elif verb in VERBS:
        try:
            if verb == "run" and (code := resident.ask(rest)) is not None:
                leave(code)
            load(verb)(args=rest, prog_name=f"runyard {verb}")
        except KeyboardInterrupt:  # wherever it stands, still importing too: a person wants no traceback
            sys.exit(INTERRUPTED)
    else:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"; did you mean `runyard {near[0]}`?" if near else "; `runyard --help` lists them"
        sys.stderr.write(f"runyard: there is no verb {verb!r}{hint}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
