"""What may reach git by name."""

from __future__ import annotations

import pytest

from runyard.model.errors import Invalid
from runyard.sources.names import check_ref, check_sha, is_public, may_be_sha, parse_remote

HOSTILE_REFS = [
    "", "-x", "--upload-pack=touch PWN", "refs/heads/--upload-pack=x", "a/-b", "a..b", "a b", "a\nb", "a\x00b", "a~1", "a^", "a:b", "a?",
    "a*", "a[b", "a\\b", "@{1}", "@", "a.lock", "a.lock/b", ".a", "a/.b", "a.", "a/", "/a", "a//b", "x" * 1025, "a\x7f",
]  # fmt: skip


@pytest.mark.parametrize("ref", HOSTILE_REFS)
def test_a_hostile_ref_is_refused(ref: str) -> None:
    with pytest.raises(Invalid):
        check_ref(ref)


@pytest.mark.parametrize(
    "ref", ["main", "feat/x-1", "v1.0", "refs/heads/a", "ünïcode", "a@b", "1", "release/1.x"]
)
def test_an_ordinary_ref_is_itself(ref: str) -> None:
    assert check_ref(ref) == ref


def test_a_sha_has_forty_lower_case_digits() -> None:
    assert check_sha("a" * 40) == "a" * 40
    for wrong in ("a" * 39, "A" * 40, "g" * 40, "a" * 40 + "\n"):
        with pytest.raises(Invalid):
            check_sha(wrong)
    assert may_be_sha("abcdef1") and not may_be_sha("abcde")


HOSTILE_URLS = [
    "", "--upload-pack=touch PWN", "-u", "ext::sh -c touch% PWN", "EXT::x", "Ext::sh", "fd::7", "transport::x", "git://host/x",
    "ssh://-oProxyCommand=touch/x", "-oProxyCommand=x:y", "ssh://-oX@host/x", "ftp://host/x", "file://host/x", "file:///a/../b", "/a/../b",
    "relative/path", "../x", "http://h/x\r\nHost: y", "http://h x/", "http:///x", "http://h/x?y", "http://h/x#y", "http://h:99999/x",
    "javascript:alert(1)", "user@host:-x", "-x@host:y", "user@-host:y", "https://[::1/x", "http://%2d/x", "x" * 3000,
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_address_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        parse_remote(url)


def test_a_path_and_a_file_address_are_local() -> None:
    assert parse_remote("/srv/x.git").local and parse_remote("file:///srv/x.git").url == "/srv/x.git"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/x", "http://[::1]/x", "http://2130706433/x", "http://127.1/x", "http://0.0.0.0/x", "http://169.254.169.254/x",
            "https://10.0.0.1/x.git", "http://[::ffff:127.0.0.1]/x", "ssh://git@192.168.1.1/x", "git@127.0.0.1:x.git", "HTTP://LOCALHOST/x"],
)  # fmt: skip
def test_an_address_of_this_machine_or_its_networks_is_local(url: str) -> None:
    assert parse_remote(url).local


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True), ("2606:4700::1111", True), ("2002:101:101::1", True), ("224.0.0.1", False), ("2002:7f00:1::", False),
        ("2002:a00:1::1", False), ("::ffff:10.0.0.1", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_public_means_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_what_is_shown_carries_no_credential() -> None:
    remote = parse_remote("http://user:secret@127.0.0.1:81/x.git")
    assert remote.shown == "http://127.0.0.1:81/x.git"
    assert remote.pin == "127.0.0.1:81:127.0.0.1"
    assert "secret" in remote.url


def test_a_public_address_is_not_local() -> None:
    assert not parse_remote("https://8.8.8.8/x.git").local
