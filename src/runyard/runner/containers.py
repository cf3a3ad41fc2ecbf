"""What a job's own container and its services are asked to be, once expressions are known: `create` and
`volumes` of `Image.options`. Called by `job.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runyard.model.plan import Assignment, Image
from runyard.runner.sandbox.box import WORKSPACES
from runyard.syntax.containers import NOT_SHOWN, SHARED, Container, OptionError, parse, shared
from runyard.syntax.expressions import render, with_late


def asked(work: Assignment) -> tuple[tuple[Image | None, Container], list[tuple[Image, Container]]]:
    """The job's image, and those of its services, each with what it is asked to be. ExpressionError or
    OptionError when that cannot be had."""
    job = work.job
    if not any(_is_asked(image) for image in (job.image, *job.services) if image is not None):
        return (job.image, Container()), [(image, Container()) for image in job.services]
    runner = {**(work.facts.get("runner") or {}), "workspace": f"{WORKSPACES}/{work.project_path}"}
    facts = with_late({**work.facts, "runner": runner}, job.late)
    own = _read(job.image, facts) if job.image is not None else (None, Container())
    services = [_read(image, facts) for image in job.services]
    _check(own[1], [made for _, made in services], runner["workspace"])
    return own, services


def _is_asked(image: Image) -> bool:
    return "create" in image.options or "volumes" in image.options


def _read(image: Image, facts: Mapping[str, Any]) -> tuple[Image, Container]:
    """What the file says beside `options` weighs more than the same there, as at GitHub."""
    options = dict(image.options)
    text = render(options.pop("create", ""), facts)
    made = parse(text, [render(volume, facts) for volume in options.pop("volumes", ())])
    if made.platform:
        options["docker"] = {"platform": made.platform}
    if "command" in made.health:
        options["health"] = made.health
    read = replace(
        image,
        entrypoint=image.entrypoint or made.entrypoint,
        user=image.user or made.user,
        env={**made.env, **image.env},
        alias=" ".join(filter(None, (image.alias, *made.aliases))),
        options=options,
    )
    return read, made


def _check(own: Container, services: list[Container], workspace: str) -> None:
    """A service begins before there is a workspace."""
    shown = [volume.source for volume in own.volumes if volume.is_path]
    is_ours = all(path == workspace or path.startswith(f"{workspace}/") for path in shown)
    if not is_ours or any(volume.is_path for made in services for volume in made.volumes):
        raise OptionError(NOT_SHOWN)
    if name := shared([own, *services]):
        raise OptionError(SHARED.format(name=name))
