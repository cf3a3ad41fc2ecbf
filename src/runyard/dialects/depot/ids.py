"""Our integer ids as Depot's: ten characters of an alphabet without vowels, reversible, each kind its own.

The kind is part of the number and the number is scattered, so a job's id is never mistaken for a run's and
ids do not count visibly. Called by shapes (out) and routes (in).
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

from runyard.model.errors import NotFound

ALPHABET = "0123456789bcdfghjklmnpqrstvwxz"
LENGTH = 10
_BASE = len(ALPHABET)
_SPACE = _BASE**LENGTH
# Any number prime to 30 permutes the space; this one is near the golden section, so neighbours land far
# apart.
_STEP = 364_947_048_151_207
_BACK = pow(_STEP, -1, _SPACE)
_SHIFT = 271_828_182_845_904
_KINDS = 16


class Kind(IntEnum):
    """What an id names."""

    RUN = 1
    WORKFLOW = 2
    JOB = 3
    ATTEMPT = 4
    ARTIFACT = 5
    EXECUTION = 6
    ORGANIZATION = 7
    CACHE_ENTRY = 8
    SECRET = 9
    SECRET_VARIANT = 10
    VARIABLE = 11
    VARIABLE_VARIANT = 12
    SANDBOX = 13
    SESSION = 14
    MIGRATION = 15


@lru_cache(maxsize=16_384)
def say(kind: Kind, number: int) -> str:
    """The ten characters."""
    left = ((number * _KINDS + kind) * _STEP + _SHIFT) % _SPACE
    found: list[str] = []
    for _ in range(LENGTH):
        left, digit = divmod(left, _BASE)
        found.append(ALPHABET[digit])
    return "".join(found)


def hear(text: str, *kinds: Kind) -> tuple[Kind, int]:
    """(kind, number) of an id of one of these kinds; NotFound for anything else, as for an id that never
    was."""
    left = 0
    if len(text) == LENGTH and all(char in ALPHABET for char in text):
        for char in reversed(text):
            left = left * _BASE + ALPHABET.index(char)
        number, code = divmod((left - _SHIFT) * _BACK % _SPACE, _KINDS)
        for kind in kinds:
            if code == kind and number > 0:
                return kind, number
    raise NotFound(f"{kinds[0].name.lower().replace('_', ' ')} not found")


def run(number: int) -> str:
    """A run's id."""
    return say(Kind.RUN, number)


def workflow(number: int) -> str:
    """A workflow's id."""
    return say(Kind.WORKFLOW, number)


def job(number: int) -> str:
    """A job's id."""
    return say(Kind.JOB, number)


def attempt(number: int) -> str:
    """An attempt's id."""
    return say(Kind.ATTEMPT, number)


def artifact(number: int) -> str:
    """An artifact's id."""
    return say(Kind.ARTIFACT, number)


ORG = say(Kind.ORGANIZATION, 1)
"""The one organisation that this server is."""
