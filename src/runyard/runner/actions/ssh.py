"""A key for git over ssh, as the checkout's input `ssh-key` gives one: laid into the job's temporary folder,
named in git's environment and, for the steps after it, in the repository's configuration; taken away at the
job's end, or with its step where that failed or leaves no credentials. Called by `builtins.py` and `acting`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from runyard.runner.steps import Scene
from runyard.syntax.actions import ActionError

# GitHub publishes it ("GitHub's SSH key fingerprints", docs.github.com) and its checkout trusts it too.
GITHUB = "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


STATE = "ssh"
"""Under this name a step that laid a key keeps what `forget` wants to hear."""


@dataclass(frozen=True, slots=True)
class Key:
    """One that is laid: ssh's command line with it."""

    name: str
    command: str


def laid(scene: Scene, wanted: Mapping[str, Any]) -> Key:
    """Writes the key and the known hosts. ActionError where the box has no ssh."""
    program = scene.box.find(["ssh"])
    if not program.startswith("/"):
        raise ActionError(
            "checkout's input `ssh-key` needs ssh where the job runs: install openssh-client there, or leave the input out (the run's own repository needs no key)"
        )
    name = token_hex(6)
    key, known = _files(name)
    hosts = "\n".join(part for part in (str(wanted["known_hosts"]).strip(), GITHUB) if part)
    trusted = scene.room.write(known, f"{hosts}\n".encode("utf-8", "surrogateescape"))
    options = [
        f"StrictHostKeyChecking={'yes' if wanted['strict'] else 'no'}",
        f"UserKnownHostsFile={trusted}",
        "CheckHostIP=no",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
    ]
    place = scene.room.write(key, f"{wanted['key'].strip()}\n".encode("utf-8", "surrogateescape"))
    return Key(
        name, shlex.join([program, "-i", place, *(part for option in options for part in ("-o", option))])
    )


def forget(scene: Scene, name: str) -> None:
    """The key is no more."""
    for file in _files(name):
        scene.room.remove(file)


def _files(name: str) -> tuple[str, str]:
    return f"ssh-key-{name}", f"ssh-known-hosts-{name}"
