"""`container` and `services` of a job, and Depot's `runs-on: {image}`, to images of the plan (actions.md §5). Called by `build`.

Names, environment and credentials may hold templates: the engine renders them at claim. Of `options` what our boxes can do is taken, the rest refused.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from runyard.dialects.depot.workflow.document import ContainerDoc, JobDoc
from runyard.dialects.depot.workflow.findings import nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.dialects.depot.workflow.static import Static
from runyard.model.plan import Image

_SCHEME = "docker://"
_IGNORED = frozenset(
    "--name --hostname -h --health-start-interval --no-healthcheck --cpus --memory -m --shm-size --ulimit "  # noqa: SIM905
    "--init --label -l --restart --memory-swap --pids-limit --tmpfs --stop-timeout --annotation --blkio-weight --cpu-period --cpu-quota --cpu-shares -c "
    "--cpuset-cpus --cpuset-mems --expose --log-driver --log-opt --memory-reservation --memory-swappiness --oom-score-adj --pull --stop-signal".split()
)
"""Limits, names and how an engine itself works: a job here has its own limits, and a box's log is the job's."""
_REASONS = {
    "what it gives is more than a job may have here": "--privileged --cap-add --security-opt --device --gpus --pid --ipc --userns --cgroupns --sysctl",
    "nothing of the runner's disk is shown to a container": "-v --volume --volumes-from --mount",
    "the network is the job's (as at GitHub)": "--network --net --ip --publish -p --link --mac-address",
    "names are looked up as the job's network does": "--add-host --dns --dns-search --dns-option",
    "a box keeps these as they are": "--cap-drop --group-add --read-only --workdir -w",
}
_WHY_NOT = {name: reason for reason, names in _REASONS.items() for name in names.split()}
_HEALTH = {
    "--health-cmd": "command", "--health-interval": "interval_s", "--health-timeout": "timeout_s", "--health-retries": "retries",
    "--health-start-period": "start_period_s",
}  # fmt: skip
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_FLAGS = frozenset(
    ("--init", "--no-healthcheck", "--rm", "-it", "-i", "-t", "--tty", "--interactive", "--quiet", "-q")
)


def image(job: JobDoc, static: Static) -> Image | None:
    """The image that the steps run in."""
    if job.container is None:
        wanted = job.runs_on.image
        return Image(wanted.value.removeprefix(_SCHEME)) if wanted is not None and wanted.value else None
    doc = job.container
    for port in doc.ports:
        static.findings.warning(
            port.at, "`container.ports` is ignored: a job can be reached from its own services only"
        )
    if doc.volumes:
        static.findings.refused(doc.volumes[0].at, "`container.volumes`")
    return _made(doc, static, "", "container")


def services(job: JobDoc, static: Static) -> tuple[Image, ...]:
    """What runs beside the job, under its id as host name. Ports reach the job at localhost where it runs in no container, as at GitHub."""
    found = []
    for name, doc in job.services.items():
        if doc.volumes:
            static.findings.refused(doc.volumes[0].at, f"`services.{name}.volumes`")
        made = _made(doc, static, name, f"services.{name}")
        if made is not None:
            found.append(made)
    return tuple(found)


def _made(doc: ContainerDoc, static: Static, alias: str, what: str) -> Image | None:
    options: dict[str, Any] = {}
    env = {name: text.value for name, text in doc.env.items()}
    user, entrypoint = "", _words(doc.entrypoint, static)
    if doc.options is not None and not doc.options.is_late:
        given = _options(doc.options, static, what)
        env = {**given["env"], **env}
        user, entrypoint = given["user"], entrypoint or given["entrypoint"]
        if given["platform"]:
            options["docker"] = {"platform": given["platform"]}
        if "command" in given["health"] and alias:  # of services; the job's own container is asked nothing
            options["health"] = given["health"]
        if given["aliases"]:
            alias = " ".join([alias, *given["aliases"]])
    elif doc.options is not None:
        static.findings.refused(doc.options.at, f"`{what}.options` with an expression")
    if doc.username is not None and doc.password is not None:
        options["credentials"] = {"username": doc.username.value, "password": doc.password.value}
    if doc.ports:
        options["ports"] = [text.value for text in doc.ports]
    return Image(
        name=doc.image.value.strip().removeprefix(_SCHEME),
        entrypoint=entrypoint,
        user=user,
        env=env,
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


def _options(text: Text, static: Static, what: str) -> dict[str, Any]:
    """What of a container engine's command line means something here."""
    found: dict[str, Any] = {
        "env": {},
        "user": "",
        "entrypoint": None,
        "platform": "",
        "aliases": [],
        "health": {},
    }
    try:
        words = shlex.split(text.value)
    except ValueError:
        static.findings.error(text.at, f"The quotes in `{what}.options` do not match")
        return found
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name not in _FLAGS and not equals and words:
            value = words.pop(0)
        match name:
            case "--env" | "-e":
                key, _, inner = value.partition("=")
                found["env"][key] = inner
            case "--user" | "-u":
                found["user"] = value
            case "--entrypoint":
                found["entrypoint"] = (value,) if value else None
            case "--platform":
                found["platform"] = value
            case "--network-alias":
                found["aliases"].append(value)
            case _ if name in _HEALTH:
                found["health"][_HEALTH[name]] = _health(text, static, name, value)
            case _ if name in _IGNORED or name in _FLAGS:
                continue
            case _:
                known = (
                    *_IGNORED,
                    *_HEALTH,
                    "--env",
                    "--user",
                    "--entrypoint",
                    "--platform",
                    "--network-alias",
                )
                why = _WHY_NOT.get(name, "")
                shown = re.sub(r"[^\x20-\x7e]", "?", name)[:60]
                message = f"The option '{shown}' in `{what}.options` is not served{why and f': {why}'}"
                static.findings.error(text.at, message, "" if why else nearest(name, known))
                return found
    return found


def _health(text: Text, static: Static, name: str, value: str) -> str | int | float:
    """The value of one health option: a command, a count, or a duration as engines write them (`1m30s`)."""
    if name == "--health-cmd":
        return value
    if name == "--health-retries" and value.isascii() and value.isdigit() and len(value) < 6:
        return int(value)
    if value == "0":
        return 0
    parts = _DURATION.findall(value)
    if name == "--health-retries" or "".join(number + unit for number, unit in parts) != value or not parts:
        wanted = "a number" if name == "--health-retries" else "a duration like 10s or 1m30s"
        static.findings.error(text.at, f"Unexpected value '{value[:80]}' of {name}", f"expected {wanted}")
        return 0
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
