"""Docker actions: one process on an image's files, over the job's own folders (contracts/actions.md §7).
Called by `acting`.

As an engine would mount them: the workspace is /github/workspace (where it starts), the home folder
/github/home, $RUNNER_TEMP /github/runner_temp; all other places keep the names that the job knows. What is
changed of the image ends with the process; whoever runs in it owns the job's files, and is the job's user
outside.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from runyard.model.plan import Image, StepPlan
from runyard.runner.facts import DEFAULT_PATH
from runyard.runner.sandbox import ImageUnavailable, RootFs
from runyard.runner.sandbox.container import Images
from runyard.runner.steps import Ended, Scene, run
from runyard.syntax.actions import ActionError

WORKSPACE, HOME, TEMP = "/github/workspace", "/github/home", "/github/runner_temp"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to run: an entry point and arguments where the image's own are not meant."""

    image: str
    entrypoint: str = ""
    args: tuple[str, ...] | None = None


def execute(
    limit_s: float | None,
    scene: Scene,
    images: Images,
    order: Order,
    name: str,
    env: Mapping[str, str],
    tag: str,
    head: list[str],
) -> Ended:
    """The process. ActionError when the image cannot be had or has nothing to run."""
    try:
        with _opened(scene, images, order) as (inside, root):
            argv = _argv(order, root)
            plan = StepPlan(
                key="",
                name=name,
                argv=argv,
                env={**env, "GITHUB_WORKSPACE": WORKSPACE, "HOME": HOME},
                commands=True,
                timeout_s=limit_s,
            )
            return run(inside, plan, tag, head)
    except ImageUnavailable as error:
        raise ActionError(error.message) from None


@contextmanager
def _opened(scene: Scene, images: Images, order: Order) -> Iterator[tuple[Scene, RootFs]]:
    with images.root(Image(order.image)) as root:
        assert root is not None  # noqa: S101 - only without an image
        outside = scene.box.outside
        shown = {WORKSPACE: outside.workspace, HOME: outside.home, TEMP: outside.temp}
        box = scene.box.within(root, shown)
        try:
            # The image's programs are not where this machine's are, so its PATH counts, not the job's.
            env = {**scene.env, "PATH": DEFAULT_PATH, **root.env}
            yield replace(scene, box=box, env=env, entrypoint=(), start=WORKSPACE, shown=shown), root
        finally:
            box.close()


def _argv(order: Order, root: RootFs) -> tuple[str, ...]:
    """As an engine puts them together: an entry point of one's own replaces the image's command too."""
    entrypoint = tuple(_words(order.entrypoint)) or root.entrypoint
    args = order.args
    if args is None:
        args = () if order.entrypoint else root.command
    argv = (*entrypoint, *args)
    if not argv:
        raise ActionError(f"the image {order.image} has no command; give the action an `entrypoint`")
    return argv


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ActionError(f"this cannot be read as a command: {text[:200]}") from None


def words(text: str) -> tuple[str, ...]:
    """`with.args`, split as a shell would."""
    return tuple(_words(text))
