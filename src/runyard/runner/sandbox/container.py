"""Container images as root file systems for boxes: podman mounts them, docker exports them. Called by `job.py` through `Images.root`.

The job itself runs in bubblewrap on the image's files, read-only, as every other job: an order of magnitude cheaper than a container engine's
own run, and with the same walls. An image that is not here is pulled once; what fails becomes `ImageUnavailable` with what to do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runyard.model.plan import Image
from runyard.runner.sandbox.box import ImageUnavailable, RootFs
from runyard.runner.sandbox.folders import remove_tree

NAME = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9._-]*(?::[0-9]+)?(?:/[a-zA-Z0-9][a-zA-Z0-9._-]*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]*)?(?:@sha256:[0-9a-f]{64})?"
)
ASK_S, PULL_S = 60, 900
KNOWN_FOR_S = 300.0
INSTALL = "install podman (apt install podman) or docker, or remove `image:` from the job"


class Images:
    """Finds, pulls and keeps images. `work` holds exported root file systems (docker only)."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, RootFs]] = {}

    @contextmanager
    def root(self, image: Image | None) -> Iterator[RootFs | None]:
        """The image's root while a job uses it; None for a job without an image."""
        if image is None:
            yield None
            return
        if not NAME.fullmatch(image.name) or len(image.name) > 500:
            raise ImageUnavailable(f"{image.name[:200]!r} is not the name of an image")
        with self._lock:
            at, found = self._known.get(image.name, (0.0, None))
            if found is None or time.monotonic() - at > KNOWN_FOR_S or not found.path.exists():
                found = self._find(image.name)
                self._known[image.name] = (time.monotonic(), found)
        yield RootFs(found.path, {**found.env, **image.env}, found.cwd, found.entrypoint)

    def _find(self, name: str) -> RootFs:
        engine = next((e for e in ("podman", "docker") if _answers(e)), None)
        if engine is None:
            raise ImageUnavailable(
                f"the job wants the image {name}, but there is no container engine here: {INSTALL}"
            )
        about = self._about(engine, name)
        if about is None:
            pulled = _ask([engine, "pull", "--quiet", "--", name], PULL_S)
            about = self._about(engine, name) if pulled.returncode == 0 else None
            if about is None:
                why = pulled.stderr.decode(errors="replace").strip().splitlines()
                raise ImageUnavailable(
                    f"the image {name} is not on this machine and could not be pulled ({why[-1][:300] if why else 'no reason given'}); "
                    f"bring it here with: {engine} pull {name}"
                )
        path = (
            _mounted(name)
            if engine == "podman" and os.geteuid() == 0
            else self._exported(engine, name, str(about["Id"]))
        )
        config = about.get("Config") or {}
        env = dict(line.split("=", 1) for line in config.get("Env") or () if "=" in line)
        return RootFs(path, env, config.get("WorkingDir") or "", tuple(config.get("Entrypoint") or ()))

    def _about(self, engine: str, name: str) -> dict[str, Any] | None:
        answer = _ask([engine, "image", "inspect", "--", name], ASK_S)
        if answer.returncode == 0:
            found = json.loads(answer.stdout)
            return dict(found[0]) if found else None
        return None

    def _exported(self, engine: str, name: str, ident: str) -> Path:
        """A copy of the image's files, made once per image id."""
        target = self._work / ident.removeprefix("sha256:")[:64]
        if target.is_dir():
            return target
        self._work.mkdir(parents=True, exist_ok=True, mode=0o711)
        made = _ask([engine, "create", "--", name, "true"], ASK_S)
        if made.returncode != 0:
            raise ImageUnavailable(
                f"the image {name} could not be opened: {made.stderr.decode(errors='replace')[-300:]}"
            )
        container = made.stdout.decode().strip().splitlines()[-1]
        fresh = target.with_suffix(".new")
        remove_tree(fresh) if fresh.exists() else None
        fresh.mkdir(mode=0o755)
        try:
            with subprocess.Popen([engine, "export", container], stdout=subprocess.PIPE) as export:
                unpacked = subprocess.run(
                    ["tar", "-x", "-C", str(fresh), "--no-same-owner", "--exclude=dev/*"],
                    stdin=export.stdout,
                    check=False,
                )
            if export.returncode != 0 or unpacked.returncode != 0:
                raise ImageUnavailable(f"the image {name} could not be exported")
            fresh.rename(target)
        finally:
            _ask([engine, "rm", "-f", container], ASK_S)
        return target


def _mounted(name: str) -> Path:
    answer = _ask(["podman", "image", "mount", name], ASK_S)
    path = Path(answer.stdout.decode().strip())
    if answer.returncode != 0 or not path.is_dir():
        raise ImageUnavailable(
            f"the image {name} could not be mounted: {answer.stderr.decode(errors='replace').strip()[-300:]}"
        )
    return path


def _answers(engine: str) -> bool:
    """Whether the engine is there and its daemon, if it has one, too."""
    if shutil.which(engine) is None:
        return False
    return (
        engine == "podman" or _ask([engine, "version", "--format", "{{.Server.Version}}"], 10).returncode == 0
    )


def _ask(argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        return subprocess.CompletedProcess(list(argv), 125, b"", str(error).encode())
