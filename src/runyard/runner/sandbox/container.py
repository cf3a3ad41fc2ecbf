"""Container images as root file systems for boxes: podman mounts them, docker exports them. Called by
`job.py` through `Images.root`.

The job itself runs in bubblewrap on the image's files as every other job: an order of magnitude cheaper than
a container engine's own run, and with the same walls; `overlay.py` makes the files writable for it. What
cannot be had becomes `ImageUnavailable` with what to do.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from runyard.model.plan import Image
from runyard.runner.sandbox.box import ImageUnavailable, RootFs
from runyard.runner.sandbox.folders import remove_tree

NAME = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9._-]*(?::[0-9]+)?(?:/[a-zA-Z0-9][a-zA-Z0-9._-]*)*(?::[A-Za-z0-9_][A-Za-z0-9._-]*)?(?:@sha256:[0-9a-f]{64})?"
)
PLATFORM = re.compile(r"(?:[a-z0-9]+(?:/[a-z0-9._-]+){0,2})?")
ASK_S, PULL_S = 60, 900
KNOWN_FOR_S = 300.0
INSTALL = "install podman (apt install podman) or docker, or remove `image:` from the job"


ALWAYS, PRESENT, NEVER = "always", "if-not-present", "never"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image as it is asked for."""

    name: str
    platform: str
    policies: tuple[str, ...]
    credentials: tuple[str, str] | None = None

    @classmethod
    def of(cls, image: Image) -> Wanted:
        """`options`: {"docker": {"platform"}, "pull_policy": one or several, "credentials": {"username",
        "password"}}."""
        docker, policy = image.options.get("docker") or {}, image.options.get("pull_policy") or PRESENT
        policies = (policy,) if isinstance(policy, str) else tuple(map(str, policy))
        platform = str(docker.get("platform") or "") if isinstance(docker, Mapping) else ""
        if not set(policies) <= {ALWAYS, PRESENT, NEVER} or not PLATFORM.fullmatch(platform):
            raise ImageUnavailable(f"pull_policy {policies} or platform {platform!r} is not one I know")
        given = image.options.get("credentials") or {}
        user, word = str(given.get("username") or ""), str(given.get("password") or "")
        return cls(image.name, platform, policies, (user, word) if user and word else None)


@dataclass(frozen=True, slots=True)
class _Known:
    """An image that was found, when (monotonic seconds), and what podman's list of images was then."""

    at: float
    root: RootFs
    listed: tuple[int, int] | None

    def is_fresh(self) -> bool:
        """Whether the name still means these files, as far as a look without the engine can tell."""
        is_young = time.monotonic() - self.at <= KNOWN_FOR_S
        return is_young and self.root.path.exists() and self.listed == _listed(self.root)


class _Turn:
    """Held by whoever asks the engine for an image; weakly referred to, so that it ends with the last who
    waits."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


_EXPORTING = threading.Lock()
"""Two names of one image would lay out the same folder."""


class Images:
    """Finds, pulls and keeps images. `work` holds exported root file systems (docker only)."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._known: dict[Wanted, _Known] = {}
        self._turns: WeakValueDictionary[Wanted, _Turn] = WeakValueDictionary()
        self._taking = threading.Lock()

    @contextmanager
    def root(self, image: Image | None) -> Iterator[RootFs | None]:
        """The image's root while a job uses it; None for a job without an image."""
        if image is None:
            yield None
            return
        if not NAME.fullmatch(image.name) or len(image.name) > 500:
            raise ImageUnavailable(f"{image.name[:200]!r} is not the name of an image")
        wanted = Wanted.of(image)
        with self._taking:
            turn = self._turns.setdefault(wanted, _Turn())
        with turn.lock:  # a slow pull holds up those who want the same, and nobody else
            known = self._known.get(wanted)
            if known is None or wanted.policies[0] == ALWAYS or not known.is_fresh():
                root = _find(wanted, self._work)
                known = self._known[wanted] = _Known(time.monotonic(), root, _listed(root))
        found = known.root
        entrypoint = found.entrypoint if image.entrypoint is None else tuple(filter(None, image.entrypoint))
        env = {**found.env, **image.env}
        yield replace(found, env=env, entrypoint=entrypoint, user=image.user or found.user)


def _find(wanted: Wanted, work: Path) -> RootFs:
    engine = next((e for e in ("podman", "docker") if _answers(e)), None)
    if engine is None:
        raise ImageUnavailable(
            f"the job wants the image {wanted.name}, but there is no container engine here: {INSTALL}"
        )
    about = _brought(engine, wanted)
    config = about.get("Config") or {}
    env = dict(line.split("=", 1) for line in config.get("Env") or () if "=" in line)
    if engine == "podman" and os.geteuid() == 0:
        path, layers = _mounted(wanted.name), _layers(about)
    else:
        with _EXPORTING:
            path = _exported(work, engine, wanted.name, str(about["Id"]))
        layers = (path,)
    return RootFs(
        path,
        env,
        cwd=config.get("WorkingDir") or "",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        ports=_ports(config.get("ExposedPorts") or {}),
        user=config.get("User") or "",
        layers=layers,
    )


def _ports(exposed: Mapping[str, Any]) -> tuple[int, ...]:
    found = (str(port).partition("/") for port in exposed)
    return tuple(sorted(int(port) for port, _, kind in found if kind in ("", "tcp") and port.isdigit()))


def _brought(engine: str, wanted: Wanted) -> dict[str, Any]:
    """What the engine says of the image, pulled as the policies say; the first that succeeds counts
    (gitlab-runner)."""
    why = ""
    for policy in wanted.policies:
        found = None if policy == ALWAYS else _about(engine, wanted.name)
        if found is None and policy != NEVER:
            platform = ["--platform", wanted.platform] if wanted.platform else []
            with _keys(engine, wanted) as keys:
                pulled = _ask([engine, "pull", "--quiet", *keys, *platform, "--", wanted.name], PULL_S)
            said = pulled.stderr.decode(errors="replace").strip().splitlines()
            why = said[-1][:300] if said else "no reason given"
            found = _about(engine, wanted.name) if pulled.returncode == 0 else None
        if found is not None:
            return found
    tried = f"could not be pulled ({why})" if why else "may not be pulled (pull_policy: never)"
    here = "" if wanted.policies == (ALWAYS,) else "is not on this machine and "
    raise ImageUnavailable(
        f"the image {wanted.name} {here}{tried}; bring it here with: {engine} pull {wanted.name}"
    )


@contextmanager
def _keys(engine: str, wanted: Wanted) -> Iterator[list[str]]:
    """Credentials for one pull, in a file that only we can read: an argument could be seen by every process
    of this machine."""
    if wanted.credentials is None:
        yield []
        return
    first, slash, _ = wanted.name.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    if engine != "podman" or not registry:
        what = "podman" if registry else "an image name that begins with its registry"
        raise ImageUnavailable(f"credentials for the image {wanted.name} need {what}")
    secret = base64.b64encode(":".join(wanted.credentials).encode()).decode()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # mode 0600
        json.dump({"auths": {registry: {"auth": secret}}}, file)
        file.flush()
        yield ["--authfile", file.name]


def _about(engine: str, name: str) -> dict[str, Any] | None:
    answer = _ask([engine, "image", "inspect", "--", name], ASK_S)
    if answer.returncode == 0:
        found = json.loads(answer.stdout)
        return dict(found[0]) if found else None
    return None


def _layers(about: Mapping[str, Any]) -> tuple[Path, ...]:
    """Folders of the image's layers, topmost first; none when this storage has no such folders."""
    driver = about.get("GraphDriver") or {}
    data = driver.get("Data") or {}
    if driver.get("Name") != "overlay" or "UpperDir" not in data:
        return ()
    names = [data["UpperDir"], *filter(None, str(data.get("LowerDir") or "").split(":"))]
    found = tuple(Path(name) for name in names)
    return found if all(path.is_dir() for path in found) else ()


def _listed(root: RootFs) -> tuple[int, int] | None:
    """The time and size of the file in which podman keeps the names of its images, beside the layers: a tag
    that was built anew or pulled again changes it. None where there is none (docker)."""
    if not root.layers:
        return None
    try:
        found = (root.layers[0].parents[2] / "overlay-images/images.json").stat()
    except (OSError, IndexError):
        return None
    return found.st_mtime_ns, found.st_size


def _exported(work: Path, engine: str, name: str, ident: str) -> Path:
    """A copy of the image's files, made once per image id."""
    target = work / ident.removeprefix("sha256:")[:64]
    if target.is_dir():
        return target
    work.mkdir(parents=True, exist_ok=True, mode=0o711)
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
