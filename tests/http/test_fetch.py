"""Fetching what a stranger's text names: judged addresses, few hops, few bytes, little time (reliability.md
§5 D)."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from runyard.http.fetch import Fetcher
from runyard.model.errors import Forbidden, Invalid, RunyardError, TooLarge, Unavailable

LOCAL = Fetcher(allow_local=True, limit_bytes=1000, time_s=1.0)


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """One thread that answers each connection with `answer` after its request was read."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def work() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                with suppress(OSError):
                    answer(connection)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def body(text: bytes, head: bytes = b"HTTP/1.1 200 OK\r\n") -> Callable[[socket.socket], None]:
    return lambda s: s.sendall(head + b"Content-Length: %d\r\n\r\n" % len(text) + text)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://[::1]/", "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest", "http://10.1.2.3/",
        "http://192.168.0.1/", "http://100.64.0.1/", "http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://localhost/", "http://[fd00::1]/",
        "http://[2002:7f00:1::]/", "http://1.1.1.1:22/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_before_connecting(url: str) -> None:
    with pytest.raises(Forbidden):
        Fetcher().get(url)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "gopher://x/", "http://u:p@1.1.1.1/", "http://1.1.1.1/\r\nX: y", "https://", "http://1.1.1.1:99999/"]
)  # fmt: skip
def test_other_forms_are_no_addresses(url: str) -> None:
    with pytest.raises(Invalid):
        Fetcher().get(url)


def test_a_body_is_fetched() -> None:
    with serving(body(b"a: {script: x}")) as url:
        assert LOCAL.get(f"{url}/a.yml?x=1") == b"a: {script: x}"


def test_a_redirect_is_judged_like_the_first_address() -> None:
    with (
        serving(body(b"", b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n")) as url,
        pytest.raises(Invalid),
    ):
        LOCAL.get(url)
    with (
        serving(body(b"", b"HTTP/1.1 302 Found\r\nLocation: /again\r\n")) as url,
        pytest.raises(Invalid, match="redirects"),
    ):
        LOCAL.get(url)


def test_a_body_that_is_too_long_or_never_ends_is_left() -> None:
    with serving(body(b"x" * 1001)) as url, pytest.raises(TooLarge):
        LOCAL.get(url)

    def drip(s: socket.socket) -> None:
        s.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            s.sendall(b"x")
            time.sleep(0.05)

    began = time.monotonic()
    with serving(drip) as url, pytest.raises(Unavailable, match="within 1 seconds"):
        LOCAL.get(url)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 302 Found\r\nLocation: /"])
def test_a_head_that_drips_is_left_as_a_body_is(start: bytes) -> None:
    def drip(s: socket.socket) -> None:
        s.sendall(start)
        for _ in range(100):
            s.sendall(b"x")
            time.sleep(0.05)

    began = time.monotonic()
    with serving(drip) as url, pytest.raises(Unavailable, match="within 1 seconds"):
        LOCAL.get(url)
    assert time.monotonic() - began < 4


def test_other_answers_are_refused() -> None:
    for head in (b"HTTP/1.1 404 No\r\n", b"HTTP/1.1 500 No\r\n", b"nonsense\r\n"):
        with serving(body(b"", head)) as url, pytest.raises(RunyardError):
            LOCAL.get(url)
    with pytest.raises(Unavailable):
        LOCAL.get("http://no-such-host.invalid/")
