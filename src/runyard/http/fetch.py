"""One GET to an address that a stranger's text names (`include: remote`), under rules: public addresses only,
few hops, few bytes, little time.

Called by reach.py in a worker thread. The name is resolved once and the connection goes to that very address,
so no second answer of a name server can lead elsewhere; each redirect is judged anew (reliability.md §5 D1 to
D6). Raises Invalid, Forbidden or Unavailable.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from runyard.model.errors import Forbidden, Invalid, TooLarge, Unavailable
from runyard.sources.names import is_public

LIMIT_BYTES = 1 << 20
TIME_S = 10.0
CONNECT_S = 5.0
HOPS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetcher:
    """`allow_local`: an operator who vouches for this machine and its networks
    (RUNYARD_ALLOW_LOCAL_IMPORT)."""

    allow_local: bool = False
    limit_bytes: int = LIMIT_BYTES
    time_s: float = TIME_S

    def get(self, url: str) -> bytes:
        """The body of a 200 answer."""
        ends_at = time.monotonic() + self.time_s
        for _ in range(HOPS + 1):
            parts = _judged_form(url)
            address = self._address(parts)
            status, location, body = self._ask(parts, address, ends_at)
            if status == 200:
                return body
            if status not in _REDIRECTS or not location:
                raise Unavailable(f"HTTP code `{status}`")
            url = urljoin(url, location)
        raise Invalid(f"more than {HOPS} redirects")

    def _address(self, parts: SplitResult) -> tuple[str, int]:
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if port < 1024 and port not in (80, 443) and not self.allow_local:
            raise Forbidden(f"port {port} is not one of the web")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Unavailable(f"the host {host} is not known here") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self.allow_local and not all(is_public(address) for address in addresses):
            raise Forbidden(f"the host {host} is on this machine or in a private network")
        return addresses[0], port

    def _ask(self, parts: SplitResult, address: tuple[str, int], ends_at: float) -> tuple[int, str, bytes]:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, "User-Agent": "runyard", "Accept": "*/*"}
        try:
            with closing(_Pinned(parts, address, ends_at)) as connection:
                connection.request("GET", path, headers=headers)
                with connection.getresponse() as answer:
                    if answer.status != 200:
                        return answer.status, answer.headers.get("Location") or "", b""
                    return 200, "", self._body(answer)
        except TimeoutError:
            raise Unavailable(f"no answer within {self.time_s:g} seconds") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"no answer ({type(error).__name__})") from None

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while piece := answer.read1(65536):
            size += len(piece)
            if size > self.limit_bytes:
                raise TooLarge(f"it is larger than {self.limit_bytes} bytes")
            pieces.append(piece)
        return b"".join(pieces)


class _Pinned(http.client.HTTPConnection):
    """A connection to a judged address that still speaks to the host by its name (Host, SNI, certificate)."""

    def __init__(self, parts: SplitResult, address: tuple[str, int], ends_at: float) -> None:
        super().__init__(parts.hostname or "", address[1], timeout=min(CONNECT_S, _left(ends_at)))
        self._address = address
        self._name = parts.hostname if parts.scheme == "https" else None
        self.response_class = partial(_Answer, ends_at=ends_at)  # type: ignore[assignment]

    def connect(self) -> None:
        """Plain or TLS."""
        found = socket.create_connection(self._address, self.timeout)
        if self._name is not None:
            found = ssl.create_default_context().wrap_socket(found, server_hostname=self._name)
        self.sock = found


class _Answer(http.client.HTTPResponse):
    """An answer whose every byte, those of its head too, comes before `ends_at`: a time-out of the socket
    alone begins anew with each piece of one who drips."""

    def __init__(self, sock: socket.socket, *, ends_at: float, **more: Any) -> None:
        super().__init__(sock, **more)
        self.fp = io.BufferedReader(_Hurried(self.fp.detach(), sock, ends_at))


class _Hurried(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, ends_at: float) -> None:
        self._raw, self._sock, self._ends_at = raw, sock, ends_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._ends_at))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _judged_form(url: str) -> SplitResult:
    if len(url) > 2048 or any(ord(char) <= 32 or ord(char) == 127 for char in url):
        raise Invalid("the address is not valid")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Invalid("the address is not valid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("only http:// and https:// addresses are fetched")
    if parts.username or parts.password:
        raise Invalid("an address with a user or password is not fetched")
    return parts
