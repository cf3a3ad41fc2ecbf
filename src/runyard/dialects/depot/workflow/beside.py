"""`container` and `services` of a job, and Depot's `runs-on: {image}`, to images of the plan (actions.md §5).
Called by `build`.

Names, environment, options and credentials may hold templates: they are rendered at claim, options and
volumes by the runner. What is text already is read here once, so that what our boxes cannot do is refused
where it stands.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from runyard.dialects.depot.workflow.document import ContainerDoc, JobDoc
from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.static import Static
from runyard.model.plan import Image
from runyard.syntax.containers import KNOWN, NOT_SHOWN, SHARED, Container, OptionError, parse, shared

_SCHEME = "docker://"


def images(job: JobDoc, static: Static) -> tuple[Image | None, tuple[Image, ...]]:
    """The image that the steps run in, and what runs beside the job, under its id as host name. Ports of
    services reach the job at localhost where it runs in no container, as at GitHub."""
    docs = {f"services.{name}": doc for name, doc in job.services.items()}
    if job.container is not None:
        docs = {"container": job.container, **docs}
        for port in job.container.ports:
            static.findings.warning(
                port.at, "`container.ports` is ignored: a job can be reached from its own services only"
            )
    _check(docs, static)
    services = tuple(_made(doc, name, static) for name, doc in job.services.items())
    if job.container is not None:
        return _made(job.container, "", static), services
    wanted = job.runs_on.image
    return (
        Image(wanted.value.removeprefix(_SCHEME)) if wanted is not None and wanted.value else None
    ), services


def _made(doc: ContainerDoc, alias: str, static: Static) -> Image:
    options: dict[str, Any] = {}
    if doc.options is not None:
        options["create"] = doc.options.value
    if doc.volumes:
        options["volumes"] = [text.value for text in doc.volumes]
    if doc.username is not None and doc.password is not None:
        options["credentials"] = {"username": doc.username.value, "password": doc.password.value}
    if doc.ports:
        options["ports"] = [text.value for text in doc.ports]
    return Image(
        name=doc.image.value.strip().removeprefix(_SCHEME),
        entrypoint=_words(doc.entrypoint, static),
        env={name: text.value for name, text in doc.env.items()},
        options=options,
        alias=alias,
        command=_words(doc.command, static),
    )


def _words(text: Text | None, static: Static) -> tuple[str, ...] | None:
    if text is None or not text.value.strip():
        return None
    if text.is_late:
        static.findings.refused(text.at, "`entrypoint` and `command` with an expression")
        return None
    try:
        return tuple(shlex.split(text.value))
    except ValueError:
        static.findings.error(text.at, "The quotes of this command do not match")
        return None


def _check(docs: Mapping[str, ContainerDoc], static: Static) -> None:
    """Findings for what cannot be had, of what is text already."""
    known: list[Container] = []
    for what, doc in docs.items():
        texts = [(text, "", [text.value], f"{what}.volumes") for text in doc.volumes]
        if doc.options is not None:
            texts.append((doc.options, doc.options.value, [], f"{what}.options"))
        for text, options, volumes, where in texts:
            if text.is_late:
                continue
            try:
                made = parse(options, volumes)
                if any(volume.is_path for volume in made.volumes):
                    raise OptionError(NOT_SHOWN)
                if name := shared([*known, made]):
                    raise OptionError(SHARED.format(name=name))
                known.append(made)
            except OptionError as error:
                suggestion = nearest(error.unknown, KNOWN) if error.unknown else ""
                static.findings.error(text.at, f"`{where}`: {error}", suggestion)
