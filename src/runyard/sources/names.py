"""What a ref, a sha, a path or a remote URL may look like before git hears of it. Called by everything in
sources and by project routes.

Git's own grammar is too wide (`refs/heads/--upload-pack=x` is a valid ref), so these are allow-lists
(reliability.md §5 G1-G5). Every refusal is Invalid with a sentence that never repeats a credential.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from runyard.model.errors import Invalid

_SHA = re.compile(r"[0-9a-f]{40}")
_SHORT_SHA = re.compile(r"[0-9a-f]{7,40}")
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|$)|(?:^|/)\.|\.$|/$|^/")
_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\])")
_SCP_LIKE = re.compile(r"(?:([A-Za-z0-9_][A-Za-z0-9_.-]*)@)([A-Za-z0-9_][A-Za-z0-9_.-]*):(?!//)(.+)")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22}


def is_sha(text: str) -> bool:
    """Whether this is a full object name."""
    return _SHA.fullmatch(text) is not None


def may_be_sha(text: str) -> bool:
    """Whether this could abbreviate an object name (7 digits or more)."""
    return _SHORT_SHA.fullmatch(text) is not None


def check_ref(ref: str) -> str:
    """The name itself when it is a harmless ref name, short or full; no segment may look like an option."""
    if not ref or len(ref) > 1024 or _REF_FORBIDDEN.search(ref) or ref == "@":
        raise Invalid("the ref name is not valid")
    if any(part.startswith("-") for part in ref.split("/")):
        raise Invalid("a ref name may not start with a dash")
    return ref


def check_sha(sha: str) -> str:
    """The full object name itself."""
    if not is_sha(sha):
        raise Invalid("a commit is named by 40 hexadecimal digits")
    return sha


@dataclass(frozen=True, slots=True)
class Remote:
    """A place to fetch from. `pin` is curl's "host:port:address" for HTTP, so that the judged address is the
    one we connect to."""

    url: str
    scheme: str
    shown: str  # without credentials
    pin: str = ""
    local: bool = False  # a path here, or a host on this machine or its private networks


def parse_remote(url: str) -> Remote:
    """The remote, or Invalid. Schemes: http, https, ssh (also user@host:path), file and absolute paths."""
    if not url or len(url) > 2048 or url.startswith("-") or _CONTROL.search(url):
        raise Invalid("the repository address is not valid")
    if url.startswith("/"):
        return _local_path(url)
    if match := _SCP_LIKE.fullmatch(url):
        user, host, path = match.groups()
        if path.startswith("-"):
            raise Invalid("the repository address is not valid")
        return _judged(f"ssh://{user}@{host}/{path.lstrip('/')}", "ssh", host, 22, url)
    if "::" in url.split("/", 1)[0]:
        raise Invalid("transport helpers are not allowed in a repository address")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid("the repository address is not valid") from None
    scheme = parts.scheme.casefold()
    if scheme == "file":
        if parts.netloc not in ("", "localhost") or "%" in parts.path:
            raise Invalid("a file address names a path on this machine")
        return _local_path(parts.path)
    if scheme not in _DEFAULT_PORTS:
        raise Invalid("a repository address starts with https://, http:// or ssh://, or is a path")
    return _network(parts, scheme, port or _DEFAULT_PORTS[scheme], url)


def _network(parts: SplitResult, scheme: str, port: int, url: str) -> Remote:
    host = parts.netloc.rsplit("@", 1)[-1]
    host = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.split(":", 1)[0]
    user = parts.username or ""
    if not _HOST.fullmatch(host) or user.startswith("-") or parts.query or parts.fragment:
        raise Invalid("the repository address is not valid")
    shown = f"{scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"
    return _judged(scheme + url[len(parts.scheme) :], scheme, host, port, shown)


def _local_path(path: str) -> Remote:
    if not path.startswith("/") or ".." in path.split("/"):
        raise Invalid("a local repository is named by its absolute path")
    return Remote(path, "file", path, local=True)


def _judged(url: str, scheme: str, host: str, port: int, shown: str) -> Remote:
    """Resolves the host once: that address is judged here and used later (DNS rebinding, reliability.md §5
    D2, D3)."""
    bare = host.strip("[]")
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Invalid(f"the host {bare} is not known here") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    local = any(not is_public(address) for address in addresses)
    written = ",".join(f"[{a}]" if ":" in a else a for a in addresses)
    pin = f"{bare}:{port}:{written}" if scheme != "ssh" and not host.startswith("[") else ""
    return Remote(url, scheme, shown, pin, local)


def is_public(address: str) -> bool:
    """Whether this is an address of the open network, also when an IPv6 form wraps an IPv4 one."""
    ip = ipaddress.ip_address(address.split("%", 1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast
