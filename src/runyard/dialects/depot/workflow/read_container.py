"""`container` and `services` of a job. Called by `read_job`."""

from __future__ import annotations

import re

from runyard.dialects.depot.workflow.availability import Place, check
from runyard.dialects.depot.workflow.document import ContainerDoc
from runyard.dialects.depot.workflow.nodes import Reader, Text
from runyard.syntax import yamltree
from runyard.syntax.yamltree import Node

_CONTAINER = ("image", "options", "env", "ports", "volumes", "credentials")
_SERVICE = (*_CONTAINER, "entrypoint", "command")
_PORT = re.compile(r"(?:(?P<host>[0-9]{1,5}):)?(?P<inner>[0-9]{1,5})(?:/(?P<kind>tcp|udp))?")
MOST_SERVICES = 48


def read_container(reader: Reader, node: Node | None) -> ContainerDoc | None:
    """An image's name, or a mapping."""
    return None if node is None else _one(reader, node, "container", _CONTAINER)


def read_services(reader: Reader, node: Node | None) -> dict[str, ContainerDoc]:
    """By id; a service whose image is empty is left out, as at GitHub."""
    found: dict[str, ContainerDoc] = {}
    if isinstance(node, yamltree.Scalar) and node.value is not None:
        reader.findings.refused(node.at, "`services` as one expression")
        return found
    for name, entry in reader.entries(node):
        reader.identifier(entry.key, "service")
        doc = _one(reader, entry.value, f"services.{name}", _SERVICE)
        if doc is not None:
            found[name] = doc
    if len(found) > MOST_SERVICES and node is not None:
        reader.findings.error(node.at, f"A job may have at most {MOST_SERVICES} services")
    return found


def _one(reader: Reader, node: Node, what: str, keys: tuple[str, ...]) -> ContainerDoc | None:
    if isinstance(node, yamltree.Scalar):
        image = reader.text(node)
        check(reader.findings, image, Place.JOB)
        # An empty image (also one that an expression makes empty) means: no container.
        return ContainerDoc(image) if image.value else None
    found = reader.mapping(node, keys, required=("image",))
    if found is None or "image" not in found.entries:
        return None
    parts = {key: entry.value for key, entry in found.entries.items()}
    image = reader.text(parts["image"])
    check(reader.findings, image, Place.JOB)
    username, password = _credentials(reader, parts.get("credentials"))
    if not image.value.strip():
        return None
    ports = _texts(reader, parts.get("ports"))
    for port in ports:
        if not port.is_late and not _is_port(port.value):
            reader.findings.error(port.at, f"Unexpected value '{port.value[:80]}'", "a port, or HOST:PORT")
    return ContainerDoc(
        image,
        env=_env(reader, parts.get("env")),
        ports=ports,
        volumes=_texts(reader, parts.get("volumes")),
        options=_text(reader, parts.get("options")),
        username=username,
        password=password,
        entrypoint=_text(reader, parts.get("entrypoint")),
        command=_text(reader, parts.get("command")),
    )


def _is_port(text: str) -> bool:
    found = _PORT.fullmatch(text.strip())
    return found is not None and all(
        0 < int(number) < 65536 for number in (found["host"], found["inner"]) if number
    )


def _credentials(reader: Reader, node: Node | None) -> tuple[Text | None, Text | None]:
    found = reader.mapping(node, ("username", "password")) if node is not None else None
    if found is None:
        return None, None
    texts = []
    for key in ("username", "password"):
        value = found.get(key)
        text = reader.text(value) if value is not None else None
        if text is not None:
            check(reader.findings, text, Place.CREDENTIALS)
        texts.append(text)
    return texts[0], texts[1]


def _text(reader: Reader, node: Node | None) -> Text | None:
    if node is None:
        return None
    text = reader.text(node)
    check(reader.findings, text, Place.JOB)
    return text


def _texts(reader: Reader, node: Node | None) -> tuple[Text, ...]:
    if node is None:
        return ()
    texts = tuple(reader.text(item) for item in reader.items(node))
    for text in texts:
        check(reader.findings, text, Place.JOB)
    return texts


def _env(reader: Reader, node: Node | None) -> dict[str, Text]:
    found = reader.variables(node)
    for text in found.values():
        check(reader.findings, text, Place.CONTAINER_ENV)
    return found
