"""Text to tree: a LookML parser that keeps offsets, is linear in the text and stops at budgets. Called by
`project`.

`parse` never raises on bad text: it gives the tree up to the error (open blocks are closed there) and one
located finding. There is no recursion, so nesting cannot exhaust the stack; no pattern here can backtrack
(possessive quantifiers only).
"""

from __future__ import annotations

import re
from sys import intern

from runyard.tasks.lookml.language.findings import Finding, Severity
from runyard.tasks.lookml.language.tree import Kind, Node, SourceFile

MAX_DEPTH = 64
MAX_NODES = 2_000_000
MAX_FORGOTTEN = 20

_RAW_KEYS_WORDS = """
    sql sql_on sql_table_name sql_trigger sql_trigger_value sql_where sql_always_where sql_always_having
    sql_start sql_end sql_latitude sql_longitude sql_distinct_key sql_foreign_key sql_create sql_step
    sql_preamble html expression expression_custom_filter increment_offset_sql expr_rule
"""
RAW_KEYS = frozenset(_RAW_KEYS_WORDS.split())
_SPACES = r"(?:\s++|[#][^\n]*+)*+"
_SPACE = re.compile(_SPACES)
_KEY = re.compile(r"[A-Za-z0-9_.+\-*@{}$]++")
_WORD = re.compile(r"(?:@\{[A-Za-z0-9_]*+\}|[^\s{}\[\]\":;,#@]|@(?!\{))++")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SWALLOWED = re.compile(
    r"^[ \t]*+(?:dimension|measure|dimension_group|filter|parameter|join|explore|view|set|test)[ \t]*+:[ \t]*+[+\w]++[ \t]*+\{",
    re.M,
)
_RAW = "|".join(sorted(RAW_KEYS, key=len, reverse=True))
_COMMON = re.compile(
    rf"""{_SPACES}(?:
        (\}})
        | ({_RAW}){_SPACES}:([^;]*+(?:;(?!;)[^;]*+)*+);;
        | ([A-Za-z0-9_]++){_SPACES}:{_SPACES}(?:
            "([^"\\]*+)"
            | ([^\s{{}}\[\]":;,\#@]++)(?!@){_SPACES}(\{{)?+
            | (\{{)
            | (\[)
        )
        | ()
    )""",
    re.VERBOSE,
)
"""One whole parameter at a time, as nearly all are written; the last, empty group says that the next thing
needs the careful path."""
_CLOSE, _RAW_VALUE, _TEXT_VALUE, _WORD_VALUE, _NAMED_BLOCK, _BLOCK, _LIST, _RARE = 1, 3, 5, 6, 7, 8, 9, 10
_SIMPLE_ITEMS = re.compile(rf'{_SPACES}(?:([\w.\-*+]++)|"([^"\\]*+)"){_SPACES}(?:,|(?=\]))')


class _Bad(Exception):
    """The text cannot be read on; carries the offset."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at
        self.message = message


class _Parser:
    """One pass over one file, with an explicit stack of open blocks and lists."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file
        self.text = file.text
        self.at = 0
        self.nodes = 0
        self.children: list[Node] = []  # of the innermost open node
        self.root = Node(file, "", 0, Kind.BLOCK, "", self.children)
        self.open: list[tuple[Node, list[Node], int]] = [
            (self.root, self.children, 0)
        ]  # with the bracket's offset
        self.findings: list[Finding] = []
        self.is_typeset = "“" in self.text or "”" in self.text  # pasted from a text program

    @property
    def inner(self) -> Node:
        """The innermost open node."""
        return self.open[-1][0]

    def run(self) -> None:
        """Reads to the end of the text, or raises _Bad."""
        size = len(self.text)
        while True:
            if self.inner.kind is not Kind.LIST:
                self.common()
            self.skip()
            if self.at >= size:
                break
            if self.inner.kind is Kind.LIST:
                self.item()
            else:
                self.pair()
        if len(self.open) > 1:
            node, _, at = self.open[-1]
            sign = "[" if node.kind is Kind.LIST else "{"
            name = f"{node.key}: {node.value}".rstrip(": ")
            raise _Bad(at, f'"{sign}" of "{name}" is never closed')

    def common(self) -> None:
        """Whole parameters, one match each, until something rarer comes; `at` is left before that."""
        file, open_, children = self.file, self.open, self.children
        for m in _COMMON.finditer(self.text, self.at):
            kind = m.lastindex
            if kind == _TEXT_VALUE:
                key, value = m.group(4, 5)
                if key in RAW_KEYS:
                    break
                children.append(Node(file, intern(key), m.start(4), Kind.TEXT, value))
            elif kind == _WORD_VALUE:
                key, value = m.group(4, 6)
                if key in RAW_KEYS or (self.is_typeset and value[0] in "“”"):
                    break
                children.append(Node(file, intern(key), m.start(4), Kind.WORD, intern(value)))
            elif kind == _RAW_VALUE:
                key, value = m.group(2, 3)
                if "\n" in value and _SWALLOWED.search(value):
                    break
                children.append(Node(file, intern(key), m.start(2), Kind.RAW, value.strip()))
            elif kind == _CLOSE:
                if len(open_) == 1:
                    break
                open_.pop()
                children = self.children = open_[-1][1]
            elif kind in (_NAMED_BLOCK, _BLOCK):
                if len(open_) > MAX_DEPTH or m.group(4) in RAW_KEYS:
                    break
                inside: list[Node] = []
                node = Node(file, intern(m.group(4)), m.start(4), Kind.BLOCK, m.group(6) or "", inside)
                children.append(node)
                open_.append((node, inside, m.end() - 1))
                children = self.children = inside
                self.nodes += 1
            elif kind == _LIST and m.group(4) not in RAW_KEYS:
                self.at = m.end() - 1
                self.enter(self.add(intern(m.group(4)), m.start(4), Kind.LIST))
                return
            else:
                break
            self.at = m.end()
            self.nodes += 1
            if self.nodes > MAX_NODES:
                break

    def skip(self) -> None:
        """Past white space and comments."""
        found = _SPACE.match(self.text, self.at)
        if found:
            self.at = found.end()

    def peek(self) -> str:
        """The next character, "" at the end."""
        return self.text[self.at : self.at + 1]

    def add(self, key: str, at: int, kind: Kind, value: str = "") -> Node:
        """A new child of the innermost open node."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _Bad(at, f"more than {MAX_NODES} parameters in one file")
        node = Node(self.file, key, at, kind, value)
        self.children.append(node)
        return node

    def enter(self, node: Node) -> None:
        """Opens a block or list, whose bracket is the next character."""
        if len(self.open) > MAX_DEPTH:
            raise _Bad(self.at, f"blocks are nested deeper than {MAX_DEPTH}")
        self.children = []
        node.children = self.children
        self.open.append((node, self.children, self.at))
        self.at += 1

    def leave(self) -> None:
        """Closes the innermost block or list, whose bracket is the next character."""
        self.open.pop()
        self.children = self.open[-1][1]
        self.at += 1

    def pair(self) -> None:
        """`key: value` or the end of a block."""
        sign = self.peek()
        if sign == "}":
            if len(self.open) == 1:
                raise _Bad(self.at, 'there is no open block for this "}"')
            self.leave()
            return
        # Looker's own parser ignores a stray ":" after "{" and a stray ";;" or "," between parameters (lkml
        # issue #90).
        if sign in (":", ",") and self.inner.key:
            self.at += 1
            return
        if self.text.startswith(";;", self.at):
            self.at += 2
            return
        at = self.at
        key = self.word(_KEY, "a parameter name")
        self.skip()
        if self.peek() != ":":
            raise _Bad(self.at, f'":" expected after "{key}"')
        self.at += 1
        self.value(key, at)

    def value(self, key: str, at: int) -> None:
        """What follows `key:`."""
        if key in RAW_KEYS:
            self.raw(key, at)
            return
        self.skip()
        sign = self.peek()
        if sign == '"':
            self.quoted(key, at)
        elif sign == "{":
            self.enter(self.add(key, at, Kind.BLOCK))
        elif sign == "[":
            self.enter(self.add(key, at, Kind.LIST))
        else:
            self.plain(key, at)

    def plain(self, key: str, at: int) -> None:
        """A word, or a block's name with its block."""
        if self.peek() in ("“", "”"):
            raise _Bad(self.at, f'straight quotes (") expected, found {self.peek()}')
        word = self.word(_WORD, f'a value for "{key}"')
        self.skip()
        if self.peek() == "{" and self.inner.kind is Kind.BLOCK:
            self.enter(self.add(key, at, Kind.BLOCK, word))
        else:
            self.add(key, at, Kind.WORD, word)

    def word(self, pattern: re.Pattern[str], wanted: str) -> str:
        """The word here."""
        found = pattern.match(self.text, self.at)
        if not found:
            sign = self.peek()
            raise _Bad(
                self.at, f"{wanted} expected, found {sign!r}" if sign else f"{wanted} expected, the file ends"
            )
        self.at = found.end()
        return found.group()

    def quoted(self, key: str, at: int) -> None:
        """A string; only \\" and \\\\ are escapes."""
        found = _TEXT.match(self.text, self.at)
        if not found:
            raise _Bad(self.at, "the string is never closed")
        value = found.group(1)
        if "\\" in value:
            value = value.replace('\\"', '"')
        self.add(key, at, Kind.TEXT, value)
        self.at = found.end()

    def raw(self, key: str, at: int) -> None:
        """Everything up to `;;`. A block head inside it means that the `;;` was forgotten."""
        end = self.text.find(";;", self.at)
        if end < 0:
            raise _Bad(at, f'"{key}" is not closed by ";;"')
        text = self.text[self.at : end]
        lost = _SWALLOWED.search(text)
        if lost:
            if (
                len(self.findings) >= MAX_FORGOTTEN
            ):  # each costs a scan to the far `;;`; the bound keeps the whole linear
                raise _Bad(at, f'"{key}" is not closed by ";;", like {MAX_FORGOTTEN} before it')
            line, column = self.file.place(at)
            message = f'"{key}" is not closed by ";;" before the next block'
            self.findings.append(Finding("syntax", message, Severity.ERROR, self.file.path, line, column))
            end = self.at + _own_end(text, lost.start())
            text = self.text[self.at : end]
        self.add(key, at, Kind.RAW, text.strip())
        self.at = end if lost else end + 2

    def item(self) -> None:
        """An item of a list: a word, a string, `field: value`, or the end."""
        found = _SIMPLE_ITEMS.match(self.text, self.at)
        while found:
            kind = Kind.WORD if found.lastindex == 1 else Kind.TEXT
            self.add(
                "",
                found.start(1) if kind is Kind.WORD else found.start(2) - 1,
                kind,
                found.group(found.lastindex or 1),
            )
            self.at = found.end()
            found = _SIMPLE_ITEMS.match(self.text, self.at)
        self.skip()
        sign = self.peek()
        if sign == ",":
            self.at += 1
        elif sign == "]":
            self.leave()
        elif sign == "}":
            raise _Bad(self.at, 'the list is not closed by "]"')
        else:
            if sign == '"':
                self.quoted("", self.at)
            else:
                self.named_item()
            self.comma()

    def named_item(self) -> None:
        """A word, or `field: value`."""
        at = self.at
        word = self.word(_WORD, "a list item")
        self.skip()
        if self.peek() == ":":
            self.at += 1
            self.skip()
            if self.peek() == '"':
                self.quoted(word, at)
            elif self.peek() == "[":
                self.enter(self.add(word, at, Kind.LIST))
            else:
                self.add(word, at, Kind.WORD, self.word(_WORD, "a value"))
        else:
            self.add("", at, Kind.WORD, word)

    def comma(self) -> None:
        """Items without a comma between them are told, and read on as if it were there."""
        self.skip()
        if self.peek() not in (",", "]", "}", "[", "") and len(self.findings) < MAX_FORGOTTEN:
            line, column = self.file.place(self.at)
            message = '"," expected between the items of a list'
            self.findings.append(Finding("syntax", message, Severity.ERROR, self.file.path, line, column))


def _own_end(text: str, limit: int) -> int:
    """Where a parameter without `;;` most likely ends: at the brace that closes its block, else at the next
    block."""
    depth = 0
    for at in range(limit):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth < 0:
                return at
    return limit


def parse(file: SourceFile) -> tuple[Node, list[Finding]]:
    """The file's top-level pairs as the children of one unnamed block, and what is wrong with the text."""
    parser = _Parser(file)
    try:
        parser.run()
    except _Bad as bad:
        line, column = file.place(min(bad.at, len(file.text)))
        parser.findings.append(Finding("syntax", bad.message, Severity.FATAL, file.path, line, column))
    return parser.root, parser.findings
