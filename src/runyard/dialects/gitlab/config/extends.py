"""`extends` and `!reference`, resolved over the merged configuration before any keyword is read (gitlab.md
§3.1, §3.3).

Called by the compiler, in this order. Depth of both is ten; what a reference splices in counts against a
budget of nodes, because a chain of references doubles as readily as aliases do.
"""

import json
from typing import NamedTuple

from runyard.dialects.gitlab.config.document import MAX_NODES, REFERENCE, children, merge
from runyard.dialects.gitlab.config.fields import text_or_texts
from runyard.dialects.gitlab.config.findings import Findings, Place, nearest
from runyard.syntax.yamltree import Entry, Mapping, Mark, Node, Scalar, Sequence, Tagged, walk

MAX_DEPTH = 10
MAX_NESTING = 100

NO_JOBS = frozenset(
    [
        "default",
        "include",
        "before_script",
        "image",
        "services",
        "after_script",
        "variables",
        "stages",
        "cache",
        "workflow",
        "spec",
        "types",
    ]
)


def extended(root: Mapping, out: Findings) -> Mapping:
    """Every job with what it extends merged under it: bases left to right, then its own keys."""
    if not any(isinstance(e.value, Mapping) and "extends" in e.value.entries for e in root.entries.values()):
        return root
    resolver = _Extender(root, out)
    entries = {
        key: entry._replace(value=resolver.job(key)) if _is_job(key, entry) else entry
        for key, entry in root.entries.items()
    }
    return Mapping(root.at, entries)


def _is_job(key: str, entry: Entry) -> bool:
    return key not in NO_JOBS and isinstance(entry.value, Mapping)


class _Extender:
    def __init__(self, root: Mapping, out: Findings) -> None:
        self.root, self.out = root, out
        self._known = {key: entry for key, entry in root.entries.items() if _is_job(key, entry)}
        self._done: dict[str, tuple[Mapping, int]] = {}

    def job(self, name: str) -> Mapping:
        return self._resolve(name, ())[0]

    def _resolve(self, name: str, chain: tuple[str, ...]) -> tuple[Mapping, int]:
        """The merged job and how deep its bases go."""
        if name in self._done:
            return self._done[name]
        own = self.root.entries[name].value
        assert isinstance(own, Mapping)  # noqa: S101 - callers looked
        node = own.get("extends")
        rest = Mapping(own.at, {k: e for k, e in own.entries.items() if k != "extends"})
        result = rest, 0
        if node is not None and not (isinstance(node, Scalar) and node.value is None):
            result = self._over_bases(name, rest, node, (*chain, name))
        self._done[name] = result
        return result

    def _over_bases(self, name: str, own: Mapping, node: Node, chain: tuple[str, ...]) -> tuple[Mapping, int]:
        names = text_or_texts(node, Place(f"jobs:{name}:extends", self.out))
        if names is None:
            return own, 0
        known = self._known
        if unknown := [base for base in names if base not in known]:
            hint = nearest(unknown[0], known)
            self.out.undefined(
                node.at, f"{name}: unknown keys in `extends` ({', '.join(unknown[:10])})", hint
            )
            self.out.halves.add(name)
        merged, depth = Mapping(own.at, {}), 0
        for base in dict.fromkeys(name for name in names if name in known):
            if base in chain:
                self.out.error(node.at, f"{name}: circular dependency detected in `extends`")
                return own, 0
            if len(chain) > MAX_DEPTH:
                self.out.error(node.at, f"{name}: nesting too deep in `extends`")
                return own, 0
            found, below = self._resolve(base, chain)
            if base in self.out.halves:
                self.out.halves.add(name)
            self.out.spend(_breadth(found), node.at)
            merged, depth = merge(merged, found), max(depth, below + 1)
        if depth > MAX_DEPTH:
            self.out.error(node.at, f"{name}: nesting too deep in `extends`")
            return own, 0
        return merge(merged, own), depth


def _breadth(job: Mapping) -> int:
    """What one merge touches: keys, and keys of the hashes right below."""
    return sum(1 + len(e.value.entries) if isinstance(e.value, Mapping) else 1 for e in job.entries.values())


def dereferenced(root: Mapping, out: Findings) -> Mapping:
    """The configuration with each `!reference [a, b]` replaced by what it names."""
    resolver = _Resolver(root, out)
    entries = {
        key: entry._replace(value=resolver.resolve(entry.value, (), 0)) for key, entry in root.entries.items()
    }
    return Mapping(root.at, entries)


class _Resolved(NamedTuple):
    """What a reference stands for: how much it weighs, how deep it nests, how many references it goes
    through."""

    node: Node
    weight: int
    height: int
    references: int


class _Resolver:
    """Every path is resolved once; depth and budget count what each use splices in, so that nothing doubles
    unseen."""

    def __init__(self, root: Mapping, out: Findings) -> None:
        self.root, self.out = root, out
        self._done: dict[tuple[str, ...], _Resolved] = {}
        self._inner = [0]  # for each open reference: the deepest chain found inside it so far
        self._budget = MAX_NODES

    def resolve(self, node: Node, chain: tuple[tuple[str, ...], ...], nesting: int) -> Node:
        if nesting > MAX_NESTING:
            self.out.error(node.at, f"the configuration is nested deeper than {MAX_NESTING} levels")
            return _nothing(node.at)
        match node:
            case Tagged():
                return self._reference(node, chain, nesting)
            case Sequence():
                items = [self.resolve(item, chain, nesting + 1) for item in node.items]
                return (
                    Sequence(node.at, tuple(items))
                    if any(a is not b for a, b in zip(items, node.items, strict=True))
                    else node
                )
            case Mapping():
                entries = {}
                for key, entry in node.entries.items():
                    value = self.resolve(entry.value, chain, nesting + 1)
                    if not self._is_unknown(entry.value, value):
                        entries[key] = entry._replace(value=value)
                changed = any(
                    key not in entries or entries[key].value is not e.value for key, e in node.entries.items()
                )
                return Mapping(node.at, entries) if changed else node
            case Scalar():
                return node

    def _is_unknown(self, node: Node, found: Node) -> bool:
        """Whether only an unread include could say what a key holds: the key is then as if it were not
        given."""
        is_nothing = isinstance(found, Sequence) and not found.items
        return is_nothing and isinstance(node, Tagged) and self.out.trusting

    def _reference(self, node: Tagged, chain: tuple[tuple[str, ...], ...], nesting: int) -> Node:
        path = self._path(node)
        if path is None:
            return _nothing(node.at)
        shown = f"{REFERENCE} {json.dumps(path)}"
        if path in chain:
            self.out.error(node.at, f"{shown} is part of a circular chain")
            return _nothing(node.at)
        resolved = self._resolved(node, path, shown, chain, nesting)
        if resolved is None:
            return _nothing(node.at)
        if len(chain) + resolved.references > MAX_DEPTH:
            self.out.error(node.at, f"{shown} is nested deeper than {MAX_DEPTH} references")
        elif nesting + resolved.height > MAX_NESTING:
            self.out.error(node.at, f"the configuration is nested deeper than {MAX_NESTING} levels")
        elif resolved.weight > self._budget:
            self.out.error(node.at, f"references splice in more than {MAX_NODES} nodes")
        else:
            self._budget -= resolved.weight
            self._inner[-1] = max(self._inner[-1], resolved.references)
            return resolved.node
        return _nothing(node.at)

    def _resolved(
        self,
        node: Tagged,
        path: tuple[str, ...],
        shown: str,
        chain: tuple[tuple[str, ...], ...],
        nesting: int,
    ) -> _Resolved | None:
        if path in self._done:
            return self._done[path]
        if len(chain) >= MAX_DEPTH:
            self.out.error(node.at, f"{shown} is nested deeper than {MAX_DEPTH} references")
            return None
        target = self._find(path)
        if target is None:
            self.out.undefined(node.at, f"{shown} could not be found", self._hint(path))
            return None
        self._inner.append(0)
        found = self.resolve(target, (*chain, path), nesting + 1)
        resolved = _Resolved(found, sum(1 for _ in walk(found)), _height(found), self._inner.pop() + 1)
        self._done[path] = resolved
        return resolved

    def _hint(self, path: tuple[str, ...]) -> str:
        """The nearest name where the path breaks off."""
        current: Node | None = self.root
        for part in path:
            if not isinstance(current, Mapping):
                return ""
            if part not in current.entries:
                return nearest(part, current.entries)
            current = current.get(part)
        return ""

    def _path(self, node: Tagged) -> tuple[str, ...] | None:
        value = node.value
        if isinstance(value, Sequence) and value.items and all(isinstance(i, Scalar) for i in value.items):
            return tuple(item.text for item in value.items if isinstance(item, Scalar))
        self.out.error(node.at, f"{REFERENCE} should be a list of keys, like [.setup, script]")
        return None

    def _find(self, path: tuple[str, ...]) -> Node | None:
        current: Node | None = self.root
        for part in path:
            if not isinstance(current, Mapping):
                return None
            current = current.get(part)
        return current


def _height(node: Node) -> int:
    """Levels of collections, one row of nodes after the other."""
    height, row = 0, [node]
    while row := [child for one in row for child in children(one)]:
        height += 1
    return height


def _nothing(at: Mark) -> Node:
    return Sequence(at, ())
