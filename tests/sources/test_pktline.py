"""The head of a push, cut anywhere."""

from __future__ import annotations

import pytest

from runyard.engine.ports import RefUpdate
from runyard.model.errors import Invalid, TooLarge
from runyard.sources.pktline import FLUSH, PushReader, PushRequest, messages, packet, refusal

OLD, NEW = "0" * 40, "a" * 40
HEAD = (
    packet(f"{OLD} {NEW} refs/heads/main\x00report-status side-band-64k push-options agent=git/2".encode())
    + packet(f"{OLD} {NEW} refs/tags/v 1\n".encode())
    + FLUSH
    + packet(b"ci.skip\n")
    + FLUSH
)


def test_commands_and_options_are_read_however_they_are_cut() -> None:
    for size in (1, 3, 7, len(HEAD)):
        reader = PushReader()
        done = [reader.feed(HEAD[at : at + size]) for at in range(0, len(HEAD), size)]
        assert done[-1] and not any(done[:-1])
        request = reader.request
        assert request is not None and request.side_band and request.options == ("ci.skip",)
        assert request.commands[0] == RefUpdate("refs/heads/main", OLD, NEW)
        assert request.commands[1].ref == "refs/tags/v 1"


def test_the_probe_of_git_is_an_empty_push() -> None:
    reader = PushReader()
    assert reader.feed(FLUSH)
    assert reader.request == PushRequest()


@pytest.mark.parametrize("data", [b"zzzz", b"0003", b"ffff", b"0008abcd" + FLUSH])
def test_what_is_not_gits_format_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        PushReader().feed(data)


def test_a_cut_head_and_an_endless_head_are_refused() -> None:
    reader = PushReader()
    reader.feed(HEAD[:20])
    with pytest.raises(Invalid):
        reader.end()
    line = packet(f"{OLD} {NEW} refs/heads/b\n".encode())
    with pytest.raises(TooLarge):
        PushReader().feed(line * 20_001)


def test_messages_and_refusals_are_packets() -> None:
    assert messages(["hi"]) == b"0008\x02hi\n"
    request = PushRequest((RefUpdate("refs/heads/-x", OLD, NEW),), frozenset({"side-band-64k"}))
    assert b"ng refs/heads/-x bad name" in refusal(request, "bad name") and refusal(request, "x").endswith(
        FLUSH + FLUSH
    )
