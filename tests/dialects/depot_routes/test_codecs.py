"""The look at JSON's nesting is right, and linear for every text."""

from __future__ import annotations

import time

import pytest

from runyard.dialects import all_statuses
from runyard.dialects.depot import ids
from runyard.dialects.depot.codecs import depth
from runyard.dialects.depot.words import HEAR, PARENT, PARENT_HEAR, SAY
from runyard.model.errors import NotFound


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[" * 100, 100),
        (b'{"a":' * 50 + b"1" + b"}" * 50, 50),
        (b"[]" * 100, 1),
        (b'"' + b"[" * 100 + b'"', 0),
        (b'["\\"' + b"[" * 100 + b'"]', 1),
        (b'["' + b"[" * 100, 1),
    ],
)
def test_depth(text: bytes, expected: int) -> None:
    assert depth(text) == expected


@pytest.mark.parametrize(
    "text", [b'"' * (1 << 21), b'\\"' * (1 << 20), b'"' + b'\\"' * (1 << 20) + b"\\", b"[" * (1 << 21)]
)
def test_depth_is_linear(text: bytes) -> None:
    began = time.process_time()
    depth(b"[" * 40 + text)
    assert time.process_time() - began < 2


def test_ids_go_there_and_back_and_never_mix_kinds() -> None:
    for number in (1, 2, 77, 10**6, 2**43):
        for kind in ids.Kind:
            text = ids.say(kind, number)
            assert len(text) == 10 and set(text) <= set(ids.ALPHABET)
            assert ids.hear(text, *ids.Kind) == (kind, number)
            with pytest.raises(NotFound):
                ids.hear(text, *(other for other in ids.Kind if other is not kind))
    assert len({ids.say(kind, n) for kind in ids.Kind for n in range(1, 2000)}) == len(ids.Kind) * 1999


def test_words_are_total() -> None:
    assert set(SAY) == set(all_statuses())
    assert set(SAY.values()) == set(HEAR) == set(PARENT)
    assert set(PARENT.values()) == set(PARENT_HEAR)
    for status, word in SAY.items():
        assert (status[0], status[1]) in HEAR[word] or (status[0], None) in HEAR[word]
