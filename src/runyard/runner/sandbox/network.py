"""Ways out of a box: an own network namespace per slot with slirp4netns, kept and reused so that a job pays
nothing.

`internet` reaches the world but neither the host's loopback, nor its own addresses, nor cloud metadata.
Without slirp4netns or without root it becomes `none`, and `note` says so.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from runyard.model.plan import Network
from runyard.runner.sandbox.spawner import LauncherGone, Spawner, SpawnFailed

SIOCGIFADDR = 0x8915
TRIE = Path("/proc/net/fib_trie")
METADATA = ("169.254.0.0", "255.255.0.0")
RESOLVER = "nameserver 10.0.2.3\n"


class Outside:
    """Answers which namespace a slot's job enters."""

    def __init__(self, spawner: Spawner, allowed: Network) -> None:
        self.spawner = spawner
        self.resolver = RESOLVER
        self._made: dict[str, int] = {}  # name -> the launcher that has it
        self._slirp: Sequence[str] = ()
        self._blocked: Sequence[tuple[str, str]] = ()
        found = shutil.which("slirp4netns")
        self.note = ""
        if allowed is Network.INTERNET and os.geteuid() == 0 and found:
            self._slirp = (
                found,
                "--configure",
                "--mtu=65520",
                "--disable-host-loopback",
                "--enable-sandbox",
                "--enable-seccomp",
            )
            self._blocked = (METADATA, *((address, "255.255.255.255") for address in own_addresses()))
            self._try()
        elif allowed is Network.INTERNET:
            missing = "root" if os.geteuid() else "slirp4netns"
            self.note = f"jobs have no network: the mode `internet` needs {missing}"

    def _try(self) -> None:
        try:
            self.spawner.network("slot0", self._slirp, self._blocked)
        except (SpawnFailed, LauncherGone) as error:
            self._slirp = ()
            self.note = f"jobs have no network: {error}"

    @property
    def leads_out(self) -> bool:
        """Whether there is a way out at all."""
        return bool(self._slirp)

    def apart(self, name: str, *, way_out: bool) -> str:
        """A namespace of this name, made when it is not there; its path. Reject routes hold in it too."""
        slirp = self._slirp if way_out else ()
        fd = self.spawner.network(name, slirp, self._blocked)
        return f"/proc/{self.spawner.pid}/fd/{fd}"

    def forget(self, name: str) -> None:
        """Lets a namespace go that was made without a way out."""
        self.spawner.forget(name)

    def enter(self, wanted: Network, slot: int) -> str | None:
        """The namespace's name in the launcher; None when the job stays without, or shares the host's."""
        if wanted is not Network.INTERNET or not self._slirp:
            return None
        name = f"slot{slot}"
        launcher = self.spawner.pid
        if self._made.get(name) != launcher or not launcher:
            self.spawner.network(name, self._slirp, self._blocked)
            self._made[name] = self.spawner.pid
        return name


def own_addresses() -> list[str]:
    """IPv4 addresses of this machine, secondary ones too, loopback aside."""
    try:
        found = local_addresses(TRIE.read_text(encoding="ascii"))
    except OSError:
        found = []
    return found or _first_addresses()


def local_addresses(trie: str) -> list[str]:
    """What the kernel's routing trie marks as its own; an interface's ioctl tells only the first of its
    addresses."""
    found = re.findall(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL", trie)
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


def _first_addresses() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(control, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                found.append(address)
    return found
