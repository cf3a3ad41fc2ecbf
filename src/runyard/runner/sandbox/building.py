"""What building an image needs of the container engine (podman): instructions that only arrange files and
settings, and a box's root as an image.

No program of a stranger runs here: RUN belongs in a box (`runner/actions/building.py`). The engine works
without any network, on images that are here.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runyard.runner.sandbox.box import ImageUnavailable

FIRST_SLOT = 49_001  # beyond those of services
AT_ONCE = 4
BUILD_S, ASK_S = 900, 60
KEPT = 40  # images of actions on one machine; of more the oldest go
NAME = "localhost/runyard-action"
# what starts containers: what a base image would run in all that is built on it (ONBUILD) must not run
NO_RUNTIME = "/bin/false"
_IDENT = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_PLACES = ("proc", "dev", "sys", "builds")  # of boxes; what an image has there nobody sees
_NAMING = threading.Lock()
_SLOTS: queue.SimpleQueue[int] = queue.SimpleQueue()
for _slot in range(FIRST_SLOT, FIRST_SLOT + AT_ONCE):
    _SLOTS.put(_slot)


@dataclass(frozen=True, slots=True)
class Config:
    """What an image says of its processes."""

    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""

    def lines(self) -> list[str]:
        """As instructions, for an image that has only files. ImageUnavailable for what none can say."""
        if any("\n" in name + value for name, value in self.env.items()):
            raise ImageUnavailable("a variable of the image holds a line break")
        found = [f"ENV {name}={_quoted(value)}" for name, value in self.env.items()]
        found += [f"ENTRYPOINT {json.dumps(self.entrypoint)}"] if self.entrypoint else []
        found += [f"CMD {json.dumps(self.command)}"] if self.command else []
        found += [f"WORKDIR {_quoted(self.cwd)}"] if self.cwd else []
        return found + ([f"USER {_quoted(self.user)}"] if self.user else [])


def _quoted(text: str) -> str:
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def argument(name: str, value: str) -> str:
    """An ARG with a literal value."""
    return f"ARG {name}={_quoted(value)}"


def trouble() -> str:
    """Why no image can be built here; empty when one can."""
    able = os.geteuid() == 0 and all(shutil.which(program) for program in ("podman", "unshare"))
    return "" if able else "to build an image the runner must be root and have podman (apt install podman)"


@contextlib.contextmanager
def slot(timeout_s: float | None) -> Iterator[int]:
    """One of the few slots for boxes that build; waits for its turn."""
    try:
        number = _SLOTS.get(timeout=timeout_s)
    except queue.Empty:
        raise ImageUnavailable("other images were being built all the time that this step had") from None
    try:
        yield number
    finally:
        _SLOTS.put(number)


def ident(name: str) -> str:
    """The id of an image that is here; empty for one that is not."""
    found = _podman(["image", "inspect", "--format", "{{.Id}}", "--", name], ASK_S)
    return found.stdout.decode().strip() if found.returncode == 0 else ""


def config(name: str) -> Config:
    """What an image that is here says of itself."""
    found = _podman(["image", "inspect", "--", name], ASK_S)
    if found.returncode != 0:
        raise ImageUnavailable(f"the image {name} is not here")
    about = json.loads(found.stdout)[0].get("Config") or {}
    return Config(
        env=dict(line.split("=", 1) for line in about.get("Env") or () if "=" in line),
        entrypoint=tuple(about.get("Entrypoint") or ()),
        command=tuple(about.get("Cmd") or ()),
        cwd=about.get("WorkingDir") or "",
        user=about.get("User") or "",
    )


def arranged(lines: Sequence[str], context: Path) -> str:
    """The id of an image by instructions that run nothing (the first is FROM with an id), and nothing can.
    ImageUnavailable with the engine's words."""
    if (context / ".dockerignore").is_symlink() or (context / ".containerignore").is_symlink():
        raise ImageUnavailable("the list of ignored files is a link, which is not followed")
    with tempfile.NamedTemporaryFile("w", suffix=".containerfile", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        order = [
            f"--runtime={NO_RUNTIME}",
            "build",
            "--isolation=oci",
            "--quiet",
            "--pull=never",
            "--layers=false",
            "--network=none",
            "--file",
            file.name,
        ]
        return _made(_podman([*order, str(context)], BUILD_S, apart=True))


def imported(root: Path, base: int) -> str:
    """The id of an image with these files alone; their users begin at `base`."""
    order = ["podman", "import", "--quiet", "-"]
    with subprocess.Popen(
        order, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as engine:
        assert engine.stdin is not None and engine.stdout is not None  # noqa: S101 - both are pipes
        try:
            with engine.stdin, tarfile.open(fileobj=engine.stdin, mode="w|") as tar:
                _pack(tar, root, base)
        except BrokenPipeError:
            pass  # it says why
        except BaseException:
            engine.kill()
            raise
        said = engine.stdout.read()
    return _made(subprocess.CompletedProcess(order, engine.returncode, said, b""))


def _pack(tar: tarfile.TarFile, root: Path, base: int) -> None:
    """Every file of the tree, no link followed; nothing of the job moves meanwhile."""
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in sorted(os.scandir(root / folder), key=lambda one: one.name):
            name = f"{folder}/{entry.name}".lstrip("/")
            is_socket = stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)
            if is_socket or name == "builds":
                continue
            info = tar.gettarinfo(entry.path, name)
            info.uid, info.gid = max(info.uid - base, 0), max(info.gid - base, 0)
            info.uname = info.gname = ""
            if info.isreg():
                with Path(entry.path).open("rb") as file:
                    tar.addfile(info, file)
            else:
                tar.addfile(info)
            if info.isdir() and name not in _PLACES:
                folders.append(name)


def named(image: str, tag: str) -> str:
    """Gives a built image its name, and lets go of the oldest where there are many. Of two that were built at
    once the first one counts."""
    name = f"{NAME}:{tag}"
    with _NAMING:
        is_second = bool(ident(name))
        if not is_second:
            _podman(["tag", image, name], ASK_S)
    if is_second:
        dropped([image])
        return name
    order = [
        "images",
        "--sort",
        "created",
        "--filter",
        f"reference={NAME}",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ]
    dropped(_podman(order, ASK_S).stdout.decode().split()[KEPT:])
    return name


def dropped(images: Sequence[str]) -> None:
    """Lets images go that nothing is built on and nobody uses."""
    for image in images:
        _podman(["image", "unmount", image], ASK_S)
        _podman(["rmi", image], ASK_S)


def _made(answer: subprocess.CompletedProcess[bytes]) -> str:
    said = answer.stdout.decode(errors="replace").strip()
    match = _IDENT.match(said.rpartition("\n")[2].strip())
    if answer.returncode != 0 or match is None:
        words = f"{answer.stderr.decode(errors='replace')}\n{said}".strip()
        raise ImageUnavailable(words[-600:] or "podman could not build the image")
    return match[1]


def _podman(
    arguments: Sequence[str], timeout_s: float, *, apart: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """`apart`: without any network, so that nothing a stranger wrote is fetched with our rights."""
    order = [*(("unshare", "--net") if apart else ()), "podman", *arguments]
    try:
        return subprocess.run(
            order, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return subprocess.CompletedProcess(order, 125, b"", str(error).encode())
