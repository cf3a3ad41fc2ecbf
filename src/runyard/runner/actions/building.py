"""Docker actions that bring a Dockerfile: its image, made on this runner and kept by content. Called by
`acting`.

Who wrote it is a stranger, so RUN happens in a box of its own, with a job's walls, limits and network and
none of the job's files, variables or secrets. Between two of them the engine only copies files and notes
settings. Contract: actions.md §7; Dockerfiles are read by `syntax/dockerfile.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from runyard.model.plan import Image, Network
from runyard.model.state import Outcome, Reason
from runyard.runner.control import Stopper
from runyard.runner.facts import DEFAULT_PATH
from runyard.runner.sandbox import BoxPlan, ImageUnavailable, Sandbox, building
from runyard.runner.sandbox.bubblewrap import BubblewrapSandbox
from runyard.runner.sandbox.container import Images
from runyard.runner.steps import Ended, Scene
from runyard.runner.streams import Pump
from runyard.syntax import dockerfile
from runyard.syntax.actions import ActionError
from runyard.syntax.dockerfile import Dockerfile, Instruction, Stage

CONTEXT_BYTES, CONTEXT_FILES = 2 << 30, 200_000
_ALONE = re.compile(r"<<(-?)(['\"]?)\w+\2\Z")


class BuildFailed(Exception):
    """A RUN that did not pass; `ended` is how."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.message)
        self.ended = ended


@dataclass(frozen=True, slots=True)
class Builder:
    """One attempt's. Images are kept per project: what a build finds in its network is nobody else's."""

    sandbox: Sandbox
    images: Images
    network: Network
    project: int

    def image(self, scene: Scene, file: Path, shown: str, limit_s: float | None) -> str:
        """The name of the image that a Dockerfile makes, of files that lie beside it. ActionError or
        BuildFailed."""
        if trouble := building.trouble():
            raise ActionError(f"{shown}: {trouble}; or publish the image and name it: `image: docker://…`")
        if not isinstance(self.sandbox, BubblewrapSandbox):
            raise ActionError(
                f"{shown}: to build an image the runner needs bubblewrap (apt install bubblewrap)"
            )
        until = None if limit_s is None else time.monotonic() + limit_s
        recipe = dockerfile.read(_text(file, shown), shown, _platform())
        making = _Making(self, self.sandbox, scene, recipe, file.parent, until)
        try:
            bases = making.bases()
            tag = self._tag(file, bases)
            if building.ident(f"{building.NAME}:{tag}"):
                scene.log.system(f"Using the image of {shown} that was built before")
                return f"{building.NAME}:{tag}"
            scene.log.system(f"Building the image of {shown}")
            with building.slot(making.left()) as slot:
                return making.made(slot, tag)
        except ImageUnavailable as error:
            raise ActionError(f"{shown}: {error.message}") from None
        finally:
            making.clear()

    def _tag(self, file: Path, bases: Mapping[str, str]) -> str:
        digest = hashlib.sha256(
            json.dumps([self.project, self.network, file.name, sorted(bases.items())]).encode()
        )
        for piece in _content(file.parent):
            digest.update(piece)
        return digest.hexdigest()


@dataclass
class _Making:
    """One build."""

    builder: Builder
    sandbox: BubblewrapSandbox
    scene: Scene
    recipe: Dockerfile
    context: Path
    until: float | None
    _ids: dict[int, str] = field(default_factory=dict)  # of stages
    _bases: dict[str, str] = field(default_factory=dict)  # image's name → id
    _between: list[str] = field(default_factory=list)

    def left(self) -> float | None:
        """Seconds."""
        return None if self.until is None else max(0.01, self.until - time.monotonic())

    def bases(self) -> dict[str, str]:
        """Every image that the needed stages begin with or copy from, brought here: name → id."""
        for number in self.recipe.needed():
            stage = self.recipe.stages[number]
            if self.recipe.named(stage.base, number) is None and stage.base != "scratch":
                self._bring(stage.base, stage.at)
            for instruction in stage.instructions:
                source = instruction.flags.get("from", "")
                if source and self.recipe.source(source, number) is None:
                    self._bring(source, instruction.at)
        return self._bases

    def _bring(self, name: str, at: str) -> None:
        try:
            with self.builder.images.root(Image(name)):
                self._bases[name] = building.ident(name)
        except ImageUnavailable as error:
            raise ActionError(f"{at}: {error.message}") from None

    def made(self, slot: int, tag: str) -> str:
        """All stages; the last one's image by its name."""
        needed = self.recipe.needed()
        for number in needed:
            self._ids[number] = _StageMaking(self, number, self.recipe.stages[number], slot).made()
        last = self._ids[needed[-1]]
        self._between = [image for image in self._between if image != last]
        return building.named(last, tag)

    def base(self, stage: Stage, number: int) -> str:
        """What its FROM means."""
        earlier = self.recipe.named(stage.base, number)
        return self._ids[earlier] if earlier is not None else self._bases.get(stage.base, "scratch")

    def source(self, name: str, number: int) -> str:
        """What `--from` means."""
        earlier = self.recipe.source(name, number)
        return self._ids[earlier] if earlier is not None else self._bases[name]

    def kept(self, image: str) -> str:
        """Notes an image that only stands between two others."""
        self._between.append(image)
        return image

    def clear(self) -> None:
        """Lets those go that nothing needs any more."""
        building.dropped(self._between[::-1])


class _StageMaking:
    """One stage: instructions that arrange are collected until a RUN needs what they made."""

    def __init__(self, making: _Making, number: int, stage: Stage, slot: int) -> None:
        self._making = making
        self._number = number
        self._stage = stage
        self._slot = slot
        self._image = making.base(stage, number)
        self._known: dict[str, str] = {}  # arguments
        self._shell: tuple[str, ...] = dockerfile.SHELL
        self._before: list[str] = []  # what the image's files alone do not say
        self._lines: list[str] = []

    def made(self) -> str:
        """Its image's id."""
        runs: list[Instruction] = []
        for instruction in self._stage.instructions:
            if instruction.word == "RUN":
                runs.append(instruction)
            elif instruction.word not in dockerfile.MEANINGLESS:
                self._run(runs)
                self._note(instruction)
        self._run(runs)
        return self._arranged()

    def _note(self, instruction: Instruction) -> None:
        word, text = instruction.word, instruction.text
        match word:
            case "ARG":
                self._declare(instruction)
            case "SHELL":
                shell = instruction.listed()
                if shell is None:
                    raise ActionError(
                        f'{instruction.at}: SHELL needs a list of texts: SHELL ["/bin/bash", "-c"]'
                    )
                self._shell = shell
            case "ENTRYPOINT" | "CMD":
                given = list(instruction.listed() or ())
                is_empty = text.strip() in ("", "[]")
                self._lines.append(
                    f"{word} {json.dumps(given or ([] if is_empty else [*self._shell, text]))}"
                )
            case "COPY" | "ADD":
                if word == "ADD" and ("://" in text or "git@" in text):
                    raise ActionError(f"{instruction.at}: ADD of an address is not served; fetch it with RUN")
                flags = dict(instruction.flags)
                if "from" in flags:
                    flags["from"] = self._making.source(flags["from"], self._number)
                shown = [f"--{name}={value}" if value else f"--{name}" for name, value in flags.items()]
                self._lines.append(" ".join([word, *shown, text]))
            case _:
                self._lines.append(f"{word} {text}")

    def _declare(self, instruction: Instruction) -> None:
        for name, default in dockerfile.pairs(instruction).items():
            if default is None:
                default = self._making.recipe.arguments.get(name)
            elif "$" in default:
                known = {**self._known, **building.config(self._arranged()).env}
                default = dockerfile.expand(default, known)
            if default is not None:
                self._known[name] = default
                self._lines.append(building.argument(name, default))

    def _arranged(self) -> str:
        """The image with everything noted so far."""
        if self._lines or self._before or self._image == "scratch":
            arguments = [building.argument(name, value) for name, value in self._known.items()]
            lines = [f"FROM {self._image}", *self._before, *arguments, *self._lines]
            self._image = self._making.kept(building.arranged(lines, self._making.context))
            self._before, self._lines = [], []
        return self._image

    def _run(self, runs: list[Instruction]) -> None:
        """Consecutive RUNs in one box, whose files then are the image's."""
        if not runs:
            return
        image, making = self._arranged(), self._making
        config = building.config(image)
        with ExitStack() as stack:
            root = stack.enter_context(making.builder.images.root(Image(image)))
            box = making.sandbox.open(
                BoxPlan(self._slot, "image", making.builder.network, root=root, builds_image=True)
            )
            stack.callback(box.close)
            env = {"PATH": DEFAULT_PATH, "HOME": box.inside.home, **self._known, **config.env}
            for instruction in runs:
                making.scene.log.system(f"##[command]RUN {instruction.text.splitlines()[0][:200]}")
                process = box.run(_argv(instruction, self._shell), env, config.cwd or "/")
                stopper = Stopper(
                    process, making.scene.control, making.scene.grace_s, making.left(), box.outside.builds
                )
                stopper.look()
                pump, log = Pump(process, box.lingering), making.scene.log
                pump.run(log.write, log, making.scene.control.wake, stopper.look, stopper.moments)
                log.end_stream()
                _judge(instruction, process.wait(), stopper.why, box.out_of_memory())
            self._image = making.kept(building.imported(*box.changed()))
        self._before = config.lines()
        runs.clear()


def _argv(instruction: Instruction, shell: tuple[str, ...]) -> tuple[str, ...]:
    listed = instruction.listed()
    if listed is not None:
        return listed
    script, below = instruction.text, instruction.heredocs
    alone = _ALONE.match(script)
    if not below:
        return (*shell, script)
    if alone is None:
        return (*shell, f"{script}\n{below}")
    lines = below.splitlines()[:-1]
    if lines and lines[0].startswith("#!"):
        raise ActionError(f"{instruction.at}: a text that names its own interpreter (#!) is not served")
    return (*shell, "\n".join(line.lstrip("\t") if alone[1] else line for line in lines))


def _judge(instruction: Instruction, code: int | None, why: str, out_of_memory: bool) -> None:
    if not why and code == 0:
        return
    if why in ("aborted", "canceled"):
        raise BuildFailed(Ended(Outcome.CANCELED, exit_code=code))
    if why in ("job_timeout", "step_timeout"):
        reason, words = Reason.TIMEOUT, "took longer than its time limit"
    elif why:
        reason, words = Reason.RUNNER_SYSTEM, "was ended: the disk of this runner is full"
    elif out_of_memory:
        reason, words = Reason.OUT_OF_MEMORY, "used more memory than it may"
    else:
        reason, words = Reason.SCRIPT, f"ended with exit code {code}"
    raise BuildFailed(Ended(Outcome.FAILED, reason, code, f"{instruction.at}: RUN {words}"))


def _platform() -> dict[str, str]:
    """The arguments that every Dockerfile may declare."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    whole = {"PLATFORM": f"linux/{machine}", "OS": "linux", "ARCH": machine, "VARIANT": ""}
    return {f"{kind}{name}": value for kind in ("TARGET", "BUILD") for name, value in whole.items()}


def _text(file: Path, shown: str) -> bytes:
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise ActionError(f"{shown}: there is no such file") from None
    with os.fdopen(fd, "rb") as data:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ActionError(f"{shown}: this is no file")
        return data.read(dockerfile.MAX_BYTES + 1)


def _content(folder: Path) -> Iterator[bytes]:
    """Names, modes and contents of everything below a folder, in a fixed order. ActionError beyond the
    budget."""
    folders, files, size = [folder], 0, 0
    while folders:
        here = folders.pop()
        for entry in sorted(os.scandir(here), key=lambda one: one.name):
            info = entry.stat(follow_symlinks=False)
            files, size = files + 1, size + info.st_size
            if files > CONTEXT_FILES or size > CONTEXT_BYTES:
                raise ActionError(
                    f"the folder of the Dockerfile holds more than {CONTEXT_FILES} files or {CONTEXT_BYTES >> 30} GiB"
                )
            yield f"{Path(entry.path).relative_to(folder)}\0{info.st_mode}\0".encode(
                "utf-8", "surrogateescape"
            )
            if entry.is_symlink():
                yield os.fsencode(os.readlink(entry.path))  # noqa: PTH115 - the text, as it is
            elif entry.is_dir():
                folders.append(Path(entry.path))
            elif entry.is_file():
                fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                with os.fdopen(fd, "rb") as data:
                    yield hashlib.file_digest(data, "sha256").digest()
