"""What a container is asked to be: the options of `docker create` (docs.docker.com, "docker container
create") and volumes, as workflows give them.

Pure. `parse` takes what a job's box can hold; all else is an OptionError that says why. Called by the
dialect, which shows where it stands, and by the runner, which knows what expressions came to.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import PurePosixPath

CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
    "CAP_SETUID",
)  # fmt: skip
"""What a container engine leaves to root inside, less what opens devices, raw sockets and other roots."""
ADDABLE = (*CAPABILITIES, "CAP_DAC_READ_SEARCH", "CAP_IPC_OWNER")
"""Those that reach no further than the box's own user namespace."""
MEANINGLESS = frozenset(
    "--name --health-start-interval --no-healthcheck --shm-size --ulimit --init --label -l --label-file --restart --memory-swap --stop-timeout "  # noqa: SIM905
    "--annotation --blkio-weight --cpu-period --cpu-quota --cpu-shares -c --cpuset-cpus --cpuset-mems --expose --log-driver --log-opt "
    "--memory-reservation --memory-swappiness --oom-score-adj --pull --stop-signal --cidfile --rm --tty -t --interactive -i -it --quiet -q".split()
)
"""Names, and how an engine itself works or shares a machine out: they are read and change nothing."""
_REASONS = {
    "what it gives is more than a job may have here": "--privileged --security-opt --device --device-cgroup-rule --gpus --pid --ipc --uts --userns --cgroupns --cgroup-parent --sysctl --oom-kill-disable --runtime",
    "nothing of the runner's disk is shown to a container": "--volumes-from --env-file --volume-driver",
    "the network is the job's (as at GitHub)": "--network --net --ip --ip6 --publish -p --publish-all -P --link --mac-address",
    "host names of a domain are the network's": "--domainname",
}
_WHY_NOT = {name: reason for reason, names in _REASONS.items() for name in names.split()}
_FLAGS = frozenset(
    "--init --no-healthcheck --rm -it -i -t --tty --interactive --quiet -q --read-only --privileged --publish-all -P --oom-kill-disable".split()  # noqa: SIM905
)
_SHORT = frozenset("-e -u -h -v -w -m -l -c -p".split())  # noqa: SIM905
_HEALTH = {
    "--health-cmd": "command", "--health-interval": "interval_s", "--health-timeout": "timeout_s", "--health-retries": "retries",
    "--health-start-period": "start_period_s",
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_SIZE = re.compile(r"(\d{1,15})([bkmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
_PERSON = re.compile(r"(?!\d{11})[^\s:]{1,255}")  # a name as images have them, or a number of 32 bits
_USER = re.compile(rf"{_PERSON.pattern}(?::{_PERSON.pattern})?")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
_MODES = frozenset(("", "rw", "ro", "z", "Z", "cached", "delegated", "consistent", "nocopy"))
_TAKEN = ("/proc", "/dev", "/sys", "/builds")
LONGEST = 64 << 10
NOT_SHOWN = "Nothing of the runner's disk is shown to a container, but the job's workspace to its own (`${{ github.workspace }}/…:/…`)"
SHARED = "The volume '{name}' is not served in more than one place: each container is alone with its files"


class OptionError(ValueError):
    """An option that is not one, or cannot be had. `unknown`: its name, when nothing is known of it."""

    def __init__(self, message: str, unknown: str = "") -> None:
        super().__init__(message)
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class Volume:
    """`source`: a path of the runner, a volume's name, or empty. `target`: an absolute path inside."""

    source: str
    target: str
    writable: bool = True

    @property
    def is_path(self) -> bool:
        """Whether something that is there already is to be shown."""
        return self.source.startswith("/")


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """Files in memory. `size_bytes` 0: as much as the job may have."""

    target: str
    size_bytes: int = 0
    mode: int = 0o1777


@dataclass(slots=True)
class Container:
    """What was asked for. Zero and empty mean: nothing was."""

    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    groups: list[str] = field(default_factory=list)
    entrypoint: tuple[str, ...] | None = None
    cwd: str = ""
    platform: str = ""
    aliases: list[str] = field(default_factory=list)
    hostname: str = ""
    health: dict[str, str | int | float] = field(default_factory=dict)
    hosts: list[tuple[str, str]] = field(default_factory=list)  # (address, name)
    resolver: list[str] = field(default_factory=list)  # lines of resolv.conf
    added: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    read_only: bool = False
    memory_bytes: int = 0
    cpus: float = 0.0
    processes: int = 0
    tmpfs: list[Tmpfs] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)

    @property
    def places(self) -> tuple[str, ...]:
        """Where it was given something."""
        return (*(one.target for one in self.volumes), *(one.target for one in self.tmpfs))

    @property
    def limits(self) -> Container:
        """Nothing but how much it may use."""
        return Container(memory_bytes=self.memory_bytes, cpus=self.cpus, processes=self.processes)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Of root inside."""
        kept = () if "ALL" in self.dropped else tuple(c for c in CAPABILITIES if c not in self.dropped)
        return tuple(dict.fromkeys((*kept, *self.added)))


def parse(options: str, volumes: Iterable[str] = ()) -> Container:
    """OptionError for what cannot be had."""
    if len(options) > LONGEST:
        raise OptionError("these options are too long")
    try:
        words = shlex.split(options)
    except ValueError:
        raise OptionError("The quotes do not match") from None
    made = Container()
    while words:
        name, value = _next(words)
        if name in _HEALTH:
            made.health[_HEALTH[name]] = _health(name, value)
        elif name in _TAKES:
            _TAKES[name](made, value)
        elif name not in MEANINGLESS:
            why = _WHY_NOT.get(name, "")
            shown = re.sub(r"[^\x20-\x7e]", "?", name)[:60]
            raise OptionError(f"The option '{shown}' is not served{why and f': {why}'}", "" if why else name)
    made.volumes += [_volume(text) for text in volumes]
    return made


def shared(containers: Iterable[Container]) -> str:
    """The name of a volume that is wanted in more than one place; empty when there is none."""
    names = [volume.source for one in containers for volume in one.volumes if volume.source]
    return next((name for name, count in Counter(names).items() if count > 1), "")


def is_taken(path: str) -> bool:
    """Whether this place, a normal absolute path, is what the box itself is made of."""
    return path == "/" or any(path == place or path.startswith(f"{place}/") for place in _TAKEN)


def _next(words: list[str]) -> tuple[str, str]:
    """An option and its value, which may be the next word."""
    word = words.pop(0)
    if word[:2] in _SHORT and len(word) > 2:
        return word[:2], word[2:].removeprefix("=")
    name, equals, value = word.partition("=")
    if equals or name in _FLAGS:
        return name, value
    if name.startswith("-") and not words and (name in _TAKES or name in _HEALTH or name in MEANINGLESS):
        raise OptionError(f"The option '{name}' needs a value")
    return name, words.pop(0) if words else ""


def _health(name: str, value: str) -> str | int | float:
    """The value of one health option: a command, a count, or a duration as engines write them (`1m30s`)."""
    if name == "--health-cmd":
        return value
    if name == "--health-retries" and value.isascii() and value.isdigit() and len(value) < 6:
        return int(value)
    if value == "0":
        return 0
    parts = _DURATION.findall(value)
    if name == "--health-retries" or "".join(number + unit for number, unit in parts) != value or not parts:
        raise _unexpected(
            name, value, "a number" if name == "--health-retries" else "a duration like 10s or 1m30s"
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _unexpected(name: str, value: str, wanted: str) -> OptionError:
    return OptionError(f"Unexpected value '{value[:80]}' of {name}, expected {wanted}")


def _env(made: Container, value: str) -> None:
    key, equals, inner = value.partition("=")
    if equals:  # without, it is the engine's own variable: nothing of the runner's environment is a job's
        made.env[key] = inner


def _add_host(made: Container, value: str) -> None:
    name, _, address = value.partition("=" if "=" in value else ":")
    try:
        known = ip_address(address.strip("[]"))
    except ValueError:
        if address == "host-gateway":
            raise OptionError(
                "The address 'host-gateway' is not served: a job may not reach its host"
            ) from None
        raise _unexpected("--add-host", value, "NAME:ADDRESS") from None
    made.hosts.append((str(known), _name("--add-host", name)))


def _name(option: str, value: str) -> str:
    if not _HOST.fullmatch(value):
        raise _unexpected(option, value, "a host name")
    return value


def _hostname(made: Container, value: str) -> None:
    if len(value) > 63:
        raise _unexpected("--hostname", value, "at most 63 letters")
    made.hostname = _name("--hostname", value)


def _server(made: Container, value: str) -> None:
    try:
        made.resolver.append(f"nameserver {ip_address(value)}")
    except ValueError:
        raise _unexpected("--dns", value, "an address") from None


def _search(made: Container, value: str) -> None:
    made.resolver.append(f"search {'.' if value == '.' else _name('--dns-search', value)}")


def _resolving(made: Container, value: str) -> None:
    if not re.fullmatch(r"[a-z0-9-]+(?::[0-9]+)?", value):
        raise _unexpected("--dns-option", value, "one like ndots:2")
    made.resolver.append(f"options {value}")


def _capability(option: str, value: str) -> str:
    name = value.upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def _add_capability(made: Container, value: str) -> None:
    name = _capability("--cap-add", value)
    if name not in ADDABLE:
        raise OptionError(f"The capability '{value[:40]}' is not served: it is more than a job may have here")
    made.added.append(name)


def _drop_capability(made: Container, value: str) -> None:
    made.dropped.append(_capability("--cap-drop", value))


def _read_only(made: Container, value: str) -> None:
    made.read_only = value.lower() not in ("false", "0", "f")


def _memory(made: Container, value: str) -> None:
    made.memory_bytes = _size("--memory", value)


def _size(option: str, value: str) -> int:
    found = _SIZE.fullmatch(value)
    if found is None:
        raise _unexpected(option, value, "a size like 512m")
    return int(found[1]) << _UNITS[found[2].lower()]


def _cpus(made: Container, value: str) -> None:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?|\.\d{1,6}", value):
        raise _unexpected("--cpus", value, "a number like 1.5")
    made.cpus = float(value)


def _processes(made: Container, value: str) -> None:
    if not re.fullmatch(r"-1|\d{1,7}", value):
        raise _unexpected("--pids-limit", value, "a number")
    made.processes = max(0, int(value))


def _entrypoint(made: Container, value: str) -> None:
    made.entrypoint = (value,) if value else None


def _user(made: Container, value: str) -> None:
    if value and not _USER.fullmatch(value):
        raise _unexpected("--user", value, "NAME|UID[:GROUP|GID]")
    made.user = value


def _group(made: Container, value: str) -> None:
    if not _PERSON.fullmatch(value):
        raise _unexpected("--group-add", value, "a group's name or number")
    made.groups.append(value)


def _target(option: str, text: str) -> str:
    """The place of a mount: nothing of what the box itself is may be covered."""
    path = PurePosixPath(text)
    inside = "/" + "/".join(path.parts[1:])
    if not text.startswith("/") or ".." in path.parts or "\0" in text:
        raise _unexpected(option, text, "an absolute path")
    if is_taken(inside):
        raise OptionError(f"Nothing can be put at '{text[:80]}': that place is the job's own")
    return inside


def _volume(text: str) -> Volume:
    """`[SOURCE:]TARGET[:MODE,…]`."""
    parts = text.split(":")
    source, target, mode = ("", *parts, "")[:3] if len(parts) == 1 else (*parts, "")[:3]
    modes = set(mode.split(","))
    if len(parts) > 3 or not modes <= _MODES or (len(parts) > 1 and not source):
        raise _unexpected("volumes", text, "[SOURCE:]TARGET[:ro]")
    return _made_volume(source, target, writable="ro" not in modes)


def _made_volume(source: str, target: str, *, writable: bool) -> Volume:
    if source and not source.startswith("/") and not _VOLUME.fullmatch(source):
        raise _unexpected("volumes", source, "the name of a volume, or an absolute path")
    if ".." in source.split("/") or "\0" in source:
        raise _unexpected("volumes", source, "a path without `..`")
    return Volume(source, _target("volumes", target), writable)


def _add_volume(made: Container, value: str) -> None:
    made.volumes.append(_volume(value))


def _mount(made: Container, value: str) -> None:
    """`type=volume,source=…,target=…,readonly`."""
    given = {key: text for key, _, text in (part.partition("=") for part in value.split(","))}
    source = given.pop("source", given.pop("src", ""))
    target = given.pop("target", given.pop("destination", given.pop("dst", "")))
    kind = given.pop("type", "volume")
    writable = not any(given.pop(name, "false") in ("", "true", "1") for name in ("readonly", "ro"))
    if kind == "tmpfs" and set(given) <= {"tmpfs-size", "tmpfs-mode"}:
        options = [f"{key.removeprefix('tmpfs-')}={text}" for key, text in given.items()]
        made.tmpfs.append(_tmpfs("--mount", target, options))
    elif kind in ("volume", "bind") and not given:
        made.volumes.append(_made_volume(source, target, writable=writable))
    else:
        raise _unexpected("--mount", value, "type=volume|bind|tmpfs,source=…,target=…[,readonly]")


def _add_tmpfs(made: Container, value: str) -> None:
    target, _, rest = value.partition(":")
    made.tmpfs.append(_tmpfs("--tmpfs", target, rest.split(",")))


def _tmpfs(option: str, target: str, given: Iterable[str]) -> Tmpfs:
    """Of mount's options only size and mode say more than what a box does anyway."""
    size, mode = 0, 0o1777
    for text in given:
        key, _, value = text.partition("=")
        if key == "size":
            size = _size(option, value)
        elif key == "mode":
            if not re.fullmatch(r"[0-7]{3,4}", value):
                raise _unexpected(option, text, "a mode like 1777")
            mode = int(value, 8)
    return Tmpfs(_target(option, target), size, mode)


def _keeps(name: str) -> Callable[[Container, str], None]:
    return lambda made, value: setattr(made, name, value)


_TAKES: dict[str, Callable[[Container, str], None]] = {
    "--env": _env, "-e": _env, "--user": _user, "-u": _user, "--entrypoint": _entrypoint, "--platform": _keeps("platform"),
    "--workdir": _keeps("cwd"), "-w": _keeps("cwd"), "--hostname": _hostname, "-h": _hostname, "--add-host": _add_host, "--dns": _server,
    "--dns-search": _search, "--dns-option": _resolving, "--dns-opt": _resolving, "--cap-add": _add_capability, "--cap-drop": _drop_capability,
    "--read-only": _read_only, "--memory": _memory, "-m": _memory, "--cpus": _cpus, "--pids-limit": _processes, "--tmpfs": _add_tmpfs,
    "--volume": _add_volume, "-v": _add_volume, "--mount": _mount,
    "--group-add": _group, "--network-alias": lambda made, value: made.aliases.append(value),
    "--net-alias": lambda made, value: made.aliases.append(value),
}  # fmt: skip
KNOWN = (*MEANINGLESS, *_HEALTH, *_TAKES)
