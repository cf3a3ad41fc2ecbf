"""A job's script as one shell text with gitlab-runner's semantics (gitlab.md §2.7).

Called by steps. bash where there is one, else sh; errexit and pipefail; every command is echoed green before
it runs; a command of many lines shows its first and says so. The lines themselves go in as written, in one
shell, so that `cd`, `if` across lines and functions work as they do under gitlab-runner.
"""

from collections.abc import Iterable

from runyard.dialects.gitlab.config.scope import escaped, escaped_but_inputs, input_pieces

SHELL = ("{bash|sh}", "{script}")

# dash before 0.5.12 has no pipefail: ask in a subshell, because a failing `set` ends the shell. bash need not
# be asked: a fork costs a millisecond.
_HEAD = """set -e
if [ -n "${BASH_VERSION-}" ] || (set -o pipefail) 2>/dev/null; then set -o pipefail; fi
set +o noclobber
"""
_SHOW = "printf '\\033[32;1m%s\\033[0;m\\n'"


def text_of(commands: Iterable[str]) -> str:
    """The whole script file."""
    return _HEAD + "".join(f"{_echo(command)}\n{command}\n" for command in commands)


def template_of(commands: Iterable[str]) -> str:
    """The same for a job with inputs, which are filled in later; what is shown of them is quoted then."""
    return _HEAD + "".join(
        f"{_echo_template(command)}\n{escaped_but_inputs(command)}\n" for command in commands
    )


def failing(why: str) -> str:
    """A command that says why and ends the job."""
    return f"echo {_quoted(why)}; exit 1"


def _echo(command: str) -> str:
    return f"{_SHOW} {_quoted(_shown(command))}"


def _echo_template(command: str) -> str:
    words = (
        escaped(_quoted(literal)) + (f"${{{{ job.input_words.{name} }}}}" if name else "")
        for literal, name in input_pieces(_shown(command))
    )
    return f"{_SHOW} {''.join(words)}"


def _shown(command: str) -> str:
    first, _, rest = command.strip("\n").partition("\n")
    note = " # collapsed multi-line command" if rest.strip() else ""
    return "$ " + first.rstrip("\r") + note


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
