"""The codes of the LookML validator's findings, and which of Looker's kinds each is (`ProjectError.kind`)."""

from __future__ import annotations

KINDS = {
    "syntax": ("syntax", "unreadable", "too_large", "old_lookml"),
    "liquid": ("liquid",),
    "expression": ("expression", "filter"),
    "deprecation": ("deprecated",),
    "include": ("include", "unreachable"),
}
"""Codes by kind; every other code is of the kind model_configuration."""

_BY_CODE = {code: kind for kind, codes in KINDS.items() for code in codes}


def kind_of(code: str) -> str:
    """The kind of a finding."""
    return _BY_CODE.get(code, "model_configuration")
