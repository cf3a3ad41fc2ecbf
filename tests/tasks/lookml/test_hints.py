"""A hint is a sentence of its own, whatever the message ends with."""

from __future__ import annotations

import pytest

from runyard.tasks.lookml.language.findings import hinted


@pytest.mark.parametrize(
    ("message", "suggestion", "told"),
    [
        ('unknown type "strng"', "string", 'unknown type "strng". Did you mean string?'),
        ("Check for typos.", "id", "Check for typos. Did you mean id?"),
        ("unknown view", "", "unknown view"),
    ],
)
def test_a_hint_is_a_sentence(message: str, suggestion: str, told: str) -> None:
    assert hinted(message, suggestion) == told
