"""Secrets at every chunk border, overlapping, many-lined, re-spelled (contracts/reliability.md §5 B)."""

from __future__ import annotations

import base64
import html
import json
import time
from itertools import pairwise
from urllib.parse import quote
from xml.sax import saxutils

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runyard.runner import masking
from runyard.runner.masking import Masker

PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\nshort\n-----END KEY-----"


def masked(values: list[str], data: bytes, cuts: list[int] | None = None) -> bytes:
    masker = Masker(values)
    edges = [0, *sorted(cuts or []), len(data)]
    pieces = [masker.feed(data[a:b]) for a, b in pairwise(edges)]
    return b"".join(pieces) + masker.close()


small = st.text("ab1", min_size=3, max_size=9)


@settings(max_examples=400, deadline=None)
@given(st.lists(small, min_size=1, max_size=4), st.text("ab1x", max_size=60), st.data())
def test_cuts_change_nothing_and_no_value_shows(values: list[str], text: str, data: st.DataObject) -> None:
    raw = text.encode()
    whole = masked(values, raw)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=12))
    assert masked(values, raw, cuts) == whole
    assert masked(values, raw, list(range(len(raw)))) == whole
    for value in values:
        assert value.encode() not in whole.replace(b"[MASKED]", b"\0")


@settings(max_examples=200, deadline=None)
@given(st.lists(small, min_size=1, max_size=4), st.text("ab1x", max_size=60), st.integers(1, 20))
def test_little_text_is_masked_as_much_is(values: list[str], text: str, size: int) -> None:
    """It is looked through without a pattern."""
    raw = text.encode()
    cuts = list(range(0, len(raw), size))
    quick = masked(values, raw, cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "COMPARED_BYTES", -1)
        assert masked(values, raw, cuts) == quick


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_bytes_without_secrets_pass_unchanged(data: bytes, cuts: list[int]) -> None:
    assert masked(["a-secret-that-is-not-there"], data, [c for c in cuts if c <= len(data)]) == data


def test_every_border_of_a_secret() -> None:
    data = b"before the-secret-value after"
    for cut in range(len(data)):
        assert masked(["the-secret-value"], data, [cut]) == b"before [MASKED] after"


def test_overlapping_secrets_are_hidden_as_one() -> None:
    assert masked(["abc123", "123xyz"], b"-abc123xyz-") == b"-[MASKED]-"
    assert masked(["secret", "secret-long"], b"-secret-long-secret-") == b"-[MASKED]-[MASKED]-"
    assert masked(["aaaaaaaa"], b"a" * 1000) == b"[MASKED]"


def test_each_line_of_a_key_is_hidden() -> None:
    shown = masked([PEM], b"got: hkiG9w0BAQEFAASC and MIIEvQIBADANBgkq")
    assert shown == b"got: [MASKED] and [MASKED]"
    assert b"BEGIN" not in masked([PEM], PEM.encode())


def test_the_spellings_of_tools_are_hidden() -> None:
    secret = 'p@ss/wörd "quoted" & it\'s <more>'
    for spelled in (
        json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret), quote(secret, safe=""),
        html.escape(secret), html.escape(secret, quote=False), saxutils.escape(secret, {'"': "&quot;", "'": "&apos;"}),
    ):  # fmt: skip
        assert masked([secret], f"x {spelled} y".encode()) == b"x [MASKED] y", spelled
    for lead in ("", "u", "us"):
        text = base64.b64encode(f"{lead}{secret}:tail".encode())
        shown = masked([secret], text)
        assert b"[MASKED]" in shown and len(shown) < len(text) // 2 + 10


def test_values_added_later_hide_from_then_on() -> None:
    masker = Masker([], b"***")
    assert masker.feed(b"first-value ") == b"first-value "
    masker.add(["first-value"])
    assert masker.feed(b"first-val") + masker.feed(b"ue!") + masker.close() == b"***!"


def test_too_short_values_hide_nothing() -> None:
    assert masked(["", "a", "  ", "\n"], b"a b\nc") == b"a b\nc"


def test_a_byte_at_a_time_and_a_hundred_megabytes_are_both_fast() -> None:
    values = [f"a-long-secret-number-{i}" for i in range(50)]
    masker = Masker(values)
    block = (b"x" * 95 + b" abc\n") * 10_000
    started = time.process_time()
    for _ in range(50):
        masker.feed(block)
    assert time.process_time() - started < 2.0, "50 MB should take about 0.1 s"
    masker = Masker(values)
    for i in range(20_000):
        masker.feed(b"a"[0:1] if i % 2 else b"-")
