"""`$[[ inputs.x | function ]]` filled into a tree of nodes before anything else is read (gitlab.md §3.6).

Called by the loader for every document below a `spec:` header. A whole scalar takes the value as it is (an
array stays one, and is spliced where it stands in an array); inside a longer text a value is its text.
Scanning is linear, whatever was written (reliability.md §5 E15).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runyard.dialects.gitlab.config.findings import Findings, nearest
from runyard.syntax.yamltree import Entry, Mark, Node, Scalar, Sequence, Tagged, resolve, to_plain
from runyard.syntax.yamltree import Mapping as MappingNode

OPEN, CLOSE = "$[[", "]]"
MAX_BLOCK = 1024
MAX_FUNCTIONS = 3
MAX_NODES = 400_000

_UNSAFE = re.compile(r"[^A-Za-z0-9_\-.,:+/@\n]")
_TRUNCATE = re.compile(r"truncate\(\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\)")


# A block may stand where YAML would see a flow collection (`[$[[ inputs.tag ]]]`), because GitLab fills
# blocks in before it reads YAML. So its signs are veiled while YAML is read, one private character for each,
# which keeps every column where it was.
_SIGNS = "$[],#:{}&*!|>%@`"
_VEIL = {ord(sign): 0xF1A0 + i for i, sign in enumerate(_SIGNS)}
_UNVEIL = {0xF1A0 + i: ord(sign) for i, sign in enumerate(_SIGNS)}
_VEILED = re.compile(f"[{chr(0xF1A0)}-{chr(0xF1A0 + len(_SIGNS))}]")


def veiled(text: str) -> str | None:
    """The text with its blocks made of letters only; None when there is nothing to veil, or it holds such
    letters already."""
    if OPEN not in text or _VEILED.search(text):
        return None
    pieces: list[str] = []
    position = 0
    while (start := text.find(OPEN, position)) >= 0 and (end := text.find(CLOSE, start)) >= 0:
        block = text[start : end + len(CLOSE)]
        pieces += (text[position:start], block if "\n" in block else block.translate(_VEIL))
        position = end + len(CLOSE)
    return "".join((*pieces, text[position:]))


def unveiled(node: Node) -> Node:
    """The tree with its blocks as they were written."""
    match node:
        case Scalar():
            if not _VEILED.search(node.text):
                return node
            text = node.text.translate(_UNVEIL)
            return Scalar(node.at, text, text, node.plain)
        case Sequence():
            return Sequence(node.at, tuple(map(unveiled, node.items)))
        case MappingNode():
            entries = [Entry(_unveiled_key(e.key), unveiled(e.value)) for e in node.entries.values()]
            return MappingNode(node.at, {entry.key.text: entry for entry in entries})
        case Tagged():
            return Tagged(node.at, node.tag, unveiled(node.value))


def _unveiled_key(key: Scalar) -> Scalar:
    found = unveiled(key)
    assert isinstance(found, Scalar)  # noqa: S101 - a scalar stays one
    return found


class InterpolationError(ValueError):
    """A block that cannot be filled; the sentence is GitLab's, the hint behind it ours."""


@dataclass(slots=True)
class Filling:
    """What blocks may name: `inputs.x`, `component.name`. `expand` fills known variables in
    (`expand_vars`)."""

    values: Mapping[str, Mapping[str, Node]]
    expand: Callable[[str], str]
    out: Findings
    kept: frozenset[str] = frozenset({"matrix"})  # roots that are filled in later
    _left: int = field(default=MAX_NODES)

    def fill(self, node: Node) -> Node:
        """The node with every block replaced; problems are noted and leave the text as it was."""
        match node:
            case Scalar():
                return self._scalar(node) if OPEN in node.text else node
            case Sequence():
                return Sequence(node.at, tuple(self._items(node)))
            case MappingNode():
                return MappingNode(node.at, self._entries(node))
            case Tagged():
                return Tagged(node.at, node.tag, self.fill(node.value))

    def _items(self, node: Sequence) -> list[Node]:
        found: list[Node] = []
        for item in node.items:
            filled = self.fill(item)
            spliced = isinstance(item, Scalar) and isinstance(filled, Sequence)
            found += filled.items if spliced and isinstance(filled, Sequence) else (filled,)
        return found

    def _entries(self, node: MappingNode) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        for key, entry in node.entries.items():
            name = entry.key
            if OPEN in key:
                name = Scalar(name.at, self._text(key, name.at), self._text(key, name.at), plain=False)
            found[name.text] = Entry(name, self.fill(entry.value))
        return found

    def _scalar(self, node: Scalar) -> Node:
        whole = node.text.strip()
        if whole.startswith(OPEN) and whole.find(CLOSE) == len(whole) - len(CLOSE):
            value = self._value(whole[len(OPEN) : -len(CLOSE)], node.at)
            if value is None:
                return node
            return self._whole(value, node)
        text = self._text(node.text, node.at)
        return Scalar(node.at, resolve(text) if node.plain else text, text, node.plain)

    def _whole(self, value: Node, node: Scalar) -> Node:
        """The value in the place of the block: a text is read as YAML would have read it there."""
        self._left -= 1
        if isinstance(value, Scalar):
            if isinstance(value.value, str):
                return Scalar(
                    node.at, resolve(value.text) if node.plain else value.text, value.text, node.plain
                )
            return Scalar(node.at, value.value if node.plain else value.text, value.text, node.plain)
        plain = json.dumps(to_plain(value))
        self._left -= len(plain) // 8
        if self._left < 0:
            self.out.error(node.at, f"inputs fill in more than {MAX_NODES} nodes")
            self.out.check()
        return value

    def _text(self, text: str, at: Mark) -> str:
        pieces: list[str] = []
        position = 0
        while True:
            start = text.find(OPEN, position)
            end = text.find(CLOSE, start) if start >= 0 else -1
            if end < 0:
                pieces.append(text[position:])
                return "".join(pieces)
            pieces.append(text[position:start])
            value = self._value(text[start + len(OPEN) : end], at)
            pieces.append(text[start : end + len(CLOSE)] if value is None else _as_text(value))
            position = end + len(CLOSE)

    def _value(self, block: str, at: Mark) -> Node | None:
        """What a block stands for; None leaves it as written."""
        path, *functions = (part.strip() for part in block.split("|"))
        if path.split(".")[0] in self.kept:
            return None
        try:
            return self._evaluated(block, path, functions)
        except InterpolationError as error:
            self.out.error(at, *error.args)
            return None

    def _evaluated(self, block: str, path: str, functions: list[str]) -> Node:
        if len(block.encode("utf-8", "replace")) > MAX_BLOCK:
            raise InterpolationError("interpolation block is too long")
        if len(functions) > MAX_FUNCTIONS:
            raise InterpolationError("too many functions in interpolation block")
        root, _, name = path.partition(".")
        known = self.values.get(root)
        if known is None or name not in known:
            hint = nearest(name, known or ())
            raise InterpolationError(f"unknown interpolation key: `{(name or root)[:80]}`", hint)
        value = known[name]
        for function in functions:
            if not isinstance(value, Scalar):
                raise InterpolationError(
                    f"invalid input type: {function.split('(')[0]} can only be used with string inputs"
                )
            text = self._applied(function, value.text)
            value = Scalar(value.at, text, text, plain=False)
        return value

    def _applied(self, function: str, text: str) -> str:
        if function == "expand_vars":
            return self.expand(text)
        if function == "posix_escape":
            return posix_escape(text)
        if found := _TRUNCATE.fullmatch(function):
            start, length = int(found[1]), int(found[2])
            return text[start : start + length]
        name = function[:60]
        raise InterpolationError(
            f"no function matching `{name}`: check that the function name, arguments, and types are correct"
        )


def posix_escape(text: str) -> str:
    """A text as one word of a shell (Ruby's Shellwords)."""
    if not text:
        return "''"
    return _UNSAFE.sub(lambda found: f"\\{found[0]}", text).replace("\n", "'\n'")


def _as_text(value: Node) -> str:
    return value.text if isinstance(value, Scalar) else json.dumps(to_plain(value), ensure_ascii=False)


def matrix_filled(text: str, values: Mapping[str, str]) -> str:
    """`$[[ matrix.X ]]` in the needs of a matrix job (18.6); names that the matrix does not have stay as
    written."""
    pieces: list[str] = []
    position = 0
    while (start := text.find(OPEN, position)) >= 0 and (end := text.find(CLOSE, start)) >= 0:
        name = text[start + len(OPEN) : end].strip()
        known = values.get(name.removeprefix("matrix.")) if name.startswith("matrix.") else None
        pieces += (text[position:start], text[start : end + len(CLOSE)] if known is None else known)
        position = end + len(CLOSE)
    return "".join((*pieces, text[position:]))
