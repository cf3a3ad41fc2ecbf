"""Strangers' YAML read under budgets into a tree whose every node knows its file, line and column.

Called by the dialects' compilers (and by nobody else: no other module may import yaml). libyaml's events are
walked by our own reader, because PyYAML's composer dies on deep nesting, explodes on aliases and merge keys
and turns `on:` into True (reliability.md §5 E1 to E10). Scalars follow the YAML 1.2 core schema, minus what
loses text (`012`, `1e999`, `.nan` and 19-digit integers stay strings). Raises only `YamlError`, in time
linear in the text.
"""

import re
from collections.abc import Callable, Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import yaml
from yaml import CSafeDumper
from yaml._yaml import CParser

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"


# Nodes are not written to after they are made; they are not `frozen` because that alone would make reading a
# third slower.

_new = tuple.__new__  # as `Mark(…)`, in half the time; there are two for every line of a file


class Mark(NamedTuple):
    """Where a node begins; line and column count from 1."""

    line: int
    column: int
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.file else f"{self.line}:{self.column}"


class YamlError(ValueError):
    """The text is not YAML that we read."""

    def __init__(self, message: str, line: int, column: int, file: str = "") -> None:
        super().__init__(f"{message} at line {line} column {column}")
        self.message, self.line, self.column, self.file = message, line, column, file


@dataclass(slots=True, eq=False)
class Scalar:
    """`value` is what the schema makes of it, `text` what was written (quotes and escapes removed)."""

    at: Mark
    value: bool | int | float | str | None
    text: str
    plain: bool


@dataclass(slots=True, eq=False)
class Sequence:
    at: Mark
    items: "tuple[Node, ...]"


class Entry(NamedTuple):
    key: Scalar
    value: "Node"


@dataclass(slots=True, eq=False)
class Mapping:
    """Keys are text, unique, in written order; merge keys are already resolved."""

    at: Mark
    entries: Dict[str, Entry]

    def get(self, key: str) -> "Node | None":
        found = self.entries.get(key)
        return found.value if found else None

    def key_at(self, key: str) -> Mark:
        return self.entries[key].key.at


@dataclass(slots=True, eq=False)
class Tagged:
    """A node under a tag that the caller allowed, e.g. GitLab's `!reference [job, script]`."""

    at: Mark
    tag: str
    value: "Node"


Node: TypeAlias = Scalar | Sequence | Mapping | Tagged


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets of one text. `nodes` counts after alias expansion, as a consumer walking the tree would."""

    max_bytes: int = 1 << 20
    depth: int = 64
    nodes: int = 100_000
    anchors: int = 1_000
    documents: int = 1
    tags: frozenset[str] = frozenset()
    merges: bool = True  # whether `<<` merges; else it is a key like any other


DEFAULT = Limits()
Repeated = Callable[[Mark, str, Mark], None]  # (where it stands again, the key, where it stood first)

# Characters that YAML allows in a stream; a lone surrogate, NUL or other control character is none of them.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]{0,300})(?:\.[0-9]*(?:[eE][-+]?[0-9]{1,4})?|[eE][-+]?[0-9]{1,4}))"
)
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_MAYBE_NUMBER = frozenset("-+.0123456789")


def load(text: str | bytes, file: str = "", limits: Limits = DEFAULT) -> Node:
    """The one document of `text`; an empty text is a null scalar."""
    documents = load_all(text, file, limits)
    return documents[0] if documents else Scalar(Mark(1, 1, file), None, "", plain=True)


def load_all(
    text: str | bytes, file: str = "", limits: Limits = DEFAULT, repeated: Repeated | None = None
) -> list[Node]:
    """All documents, at most `limits.documents`. A key that stands twice in a mapping is an error, but where
    `repeated` hears of it: then the last counts."""
    source = _decode(text, file, limits)
    reader = _Reader(file, limits, repeated)
    try:
        parser = CParser(source)
        try:
            reader.run(parser.get_event)
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        raise _from_libyaml(error, source, file) from None
    except yaml.YAMLError as error:
        raise YamlError(str(error).splitlines()[0], 1, 1, file) from None
    return reader.documents


def to_plain(node: Node) -> Plain:
    """The tree as JSON-able values. A tag that its reader did not resolve is an error at its place."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [to_plain(item) for item in node.items]
        case Mapping():
            return {key: to_plain(entry.value) for key, entry in node.entries.items()}
        case Tagged():
            raise YamlError(f"tag {node.tag} is not allowed here", node.at.line, node.at.column, node.at.file)


def resolve(text: str) -> bool | int | float | str | None:
    """What a plain (unquoted) scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _MAYBE_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text


def _decode(text: str | bytes, file: str, limits: Limits) -> str:
    if isinstance(text, bytes):
        if len(text) > limits.max_bytes:
            raise YamlError(f"the file is larger than {limits.max_bytes} bytes", 1, 1, file)
        try:
            source = text.decode("utf-8")
        except UnicodeDecodeError as error:
            before = text[: error.start].decode("utf-8", "replace")
            raise YamlError("the text is not valid UTF-8", *_position(before), file) from None
    else:
        source = text
        if len(source) > limits.max_bytes or len(source.encode("utf-8", "replace")) > limits.max_bytes:
            raise YamlError(f"the file is larger than {limits.max_bytes} bytes", 1, 1, file)
    source = source.removeprefix("\ufeff")
    if bad := _FORBIDDEN.search(source):
        name = f"U+{ord(bad.group()):04X}"
        raise YamlError(f"character {name} is not allowed in YAML", *_position(source[: bad.start()]), file)
    return source


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


# What libyaml says, and what was probably meant; `while scanning a quoted scalar` is best told where the
# quote begins.
_HINTS = {
    "mapping values are not allowed in this context": "check the indentation, and quote a text that holds `: `",
    "did not find expected key": "check the indentation of this line and of those before it",
    "did not find expected '-' indicator": "check the indentation: every item of a list begins with `- ` in the same column",
    "did not find expected <document start>": "check the indentation of this line",
    "found character that cannot start any token": "put a text that begins with this character in quotes",
    "found unknown escape character": "in double quotes a backslash is written twice; single quotes take it as it is",
}


def _from_libyaml(error: yaml.MarkedYAMLError, source: str, file: str) -> YamlError:
    open_quote = error.context == "while scanning a quoted scalar" and "end of stream" in (
        error.problem or ""
    )
    mark = (error.context_mark if open_quote else None) or error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or "invalid YAML"
    lines = source.splitlines()
    if line > len(lines):  # libyaml points behind the end
        line, column = max(len(lines), 1), len(lines[-1]) + 1 if lines else 1
    written = lines[line - 1] if lines else ""
    if written[: len(written) - len(written.lstrip())].find("\t") >= 0:
        problem = "a tab may not indent a line; use spaces"
    elif open_quote:
        problem = "the quote that begins here is never closed"
    elif problem in _HINTS:
        problem = f"{problem}: {_HINTS[problem]}"
    elif error.context:
        problem = f"{problem} ({error.context})"
    return YamlError(problem, line, column, file)


@dataclass(slots=True)
class _Frame:
    """An open collection: what it holds so far and what it will weigh when walked."""

    at: Mark
    anchor: str | None
    tag: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merges: list[Mapping] = field(default_factory=list)
    key: Scalar | None = None
    weight: int = 1
    height: int = 1


class _Anchored(NamedTuple):
    node: Node
    weight: int
    height: int


class _Reader:
    """Builds nodes from events with a stack of its own, so nesting never uses Python's."""

    def __init__(self, file: str, limits: Limits, repeated: Repeated | None) -> None:
        self.file, self.limits, self.repeated = file, limits, repeated
        self.documents: list[Node] = []
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchored] = {}
        self._anchor_count = 0
        self._weight, self._most = 0, limits.nodes
        self._take = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingStartEvent: self._open,
            yaml.SequenceEndEvent: self._close,
            yaml.MappingEndEvent: self._close,
            yaml.DocumentStartEvent: self._document,
        }

    def run(self, next_event: Callable[[], Any]) -> None:
        """Takes every event in turn."""
        take = self._take
        while (event := next_event()) is not None:
            if step := take.get(type(event)):
                step(event)

    def _fail(self, message: str, at: Mark) -> YamlError:
        return YamlError(message, at.line, at.column, self.file)

    def _mark(self, event: Any) -> Mark:
        mark = event.start_mark
        return _new(Mark, (mark.line + 1, mark.column + 1, self.file))

    def _charge(self, weight: int, at: Mark) -> None:
        self._weight += weight
        if self._weight > self._most:
            raise self._fail(f"more than {self.limits.nodes} nodes (aliases count each time)", at)

    def _document(self, event: Any) -> None:
        if len(self.documents) >= self.limits.documents:
            raise self._fail(f"more than {self.limits.documents} YAML document(s)", self._mark(event))
        self._anchors.clear()

    def _scalar(self, event: Any) -> None:
        mark = event.start_mark
        at = _new(Mark, (mark.line + 1, mark.column + 1, self.file))
        self._weight += 1
        if self._weight > self._most:
            self._charge(0, at)
        plain = event.implicit[0]
        tag = event.tag
        if tag is not None and tag not in self.limits.tags:
            if tag not in ("!", "tag:yaml.org,2002:str"):
                raise self._fail(f"unknown tag {_shown_tag(tag)}", at)
            plain, tag = False, None
        text = event.value
        if "\0" in text:  # written as an escape; no process, file name or database takes it
            raise self._fail("character U+0000 is not allowed", at)
        node: Node = Scalar(at, resolve(text) if plain else text, text, plain)
        if tag is not None:
            node = Tagged(at, tag, node)
        if event.anchor is not None:
            self._name(event.anchor, node, 1, 0, at)
        self._add(node, 1, 0, at)

    def _alias(self, event: Any) -> None:
        at = self._mark(event)
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            if any(frame.anchor == event.anchor for frame in self._stack):
                raise self._fail(f"alias *{event.anchor} contains itself", at)
            raise self._fail(
                f"unknown alias *{event.anchor}: no &{event.anchor} stands above it in this file", at
            )
        self._charge(anchored.weight, at)
        if len(self._stack) + anchored.height > self.limits.depth:
            raise self._fail(f"nested deeper than {self.limits.depth} levels", at)
        self._add(anchored.node, anchored.weight, anchored.height, at)

    def _open(self, event: Any) -> None:
        at = self._mark(event)
        self._charge(1, at)
        if len(self._stack) >= self.limits.depth:
            raise self._fail(f"nested deeper than {self.limits.depth} levels", at)
        if event.tag is not None and event.tag not in self.limits.tags:
            raise self._fail(f"unknown tag {_shown_tag(event.tag)}", at)
        is_mapping = type(event) is yaml.MappingStartEvent
        if self._stack and self._stack[-1].is_mapping and self._stack[-1].key is None:
            raise self._fail("a mapping key must be a scalar", at)
        self._stack.append(_Frame(at, event.anchor, event.tag, is_mapping))

    def _close(self, _event: Any) -> None:
        frame = self._stack.pop()
        node: Node
        if frame.is_mapping:
            node = Mapping(frame.at, _merged(frame) if frame.merges else frame.entries)
        else:
            node = Sequence(frame.at, tuple(frame.items))
        if frame.tag is not None:
            node = Tagged(frame.at, frame.tag, node)
        if frame.anchor is not None:
            self._name(frame.anchor, node, frame.weight, frame.height, frame.at)
        self._add(node, frame.weight, frame.height, frame.at)

    def _name(self, anchor: str, node: Node, weight: int, height: int, at: Mark) -> None:
        self._anchor_count += 1
        if self._anchor_count > self.limits.anchors:
            raise self._fail(f"more than {self.limits.anchors} anchors", at)
        self._anchors[anchor] = _Anchored(node, weight, height)

    def _add(self, node: Node, weight: int, height: int, at: Mark) -> None:
        if not self._stack:
            self.documents.append(node)
            return
        frame = self._stack[-1]
        frame.weight += weight
        if height >= frame.height:
            frame.height = height + 1
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is None:
            self._begin_entry(frame, node, at)
        else:
            self._end_entry(frame, frame.key, node, at)

    def _merges(self, key: Scalar) -> bool:
        return key.text == "<<" and key.plain and self.limits.merges

    def _begin_entry(self, frame: _Frame, node: Node, at: Mark) -> None:
        if not isinstance(node, Scalar):
            raise self._fail("a mapping key must be a scalar", at)
        frame.key = node
        if node.text in frame.entries and not self._merges(node):
            first = frame.entries[node.text].key.at
            if self.repeated is None:
                raise self._fail(f"duplicate key {_shown(node.text)}: it is on line {first.line} already", at)
            self.repeated(at, node.text, first)

    def _end_entry(self, frame: _Frame, key: Scalar, node: Node, at: Mark) -> None:
        frame.key = None
        if key.text != "<<" or not self._merges(key):
            frame.entries[key.text] = _new(Entry, (key, node))
            return
        sources = node.items if isinstance(node, Sequence) else (node,)
        # In a list the first wins, between two `<<` lines the later one (Ruby's Psych, which GitLab uses).
        merged = [source for source in sources if isinstance(source, Mapping)]
        if len(merged) != len(sources):
            raise self._fail("`<<` must name a mapping or a list of mappings", at)
        frame.merges[:0] = merged


def _merged(frame: _Frame) -> dict[str, Entry]:
    """Own keys win. Each source was charged when it was read or aliased, so this is within the node
    budget."""
    entries: dict[str, Entry] = {}
    for source in reversed(frame.merges):
        entries.update(source.entries)
    entries.update(frame.entries)
    return entries


def _shown(key: str) -> str:
    return repr(key if len(key) <= 60 else key[:57] + "…")


def _shown_tag(tag: str) -> str:
    return _shown(tag.replace("tag:yaml.org,2002:", "!!"))


def walk(node: Node) -> Iterator[Node]:
    """Every node in written order; aliases as often as they are used."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        if isinstance(current, Scalar):  # nearly all are
            continue
        match current:
            case Sequence():
                pending.extend(reversed(current.items))
            case Mapping():
                pending.extend(entry.value for entry in reversed(list(current.entries.values())))
            case Tagged():
                pending.append(current.value)


def dump(value: Plain) -> str:
    """YAML text of plain values, keys in their order; for people and for clients that show a merged
    configuration."""
    return yaml.dump(value, Dumper=CSafeDumper, sort_keys=False, allow_unicode=True, width=1000)
