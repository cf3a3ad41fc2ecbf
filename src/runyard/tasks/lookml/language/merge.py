"""extends and refinements: the effective object of a name, as one merged node. Used by `model`.

Order, later wins: each extended object in list order (with its own refinements), then the root, then each
refinement in include order, where a refinement that extends applies its bases just before itself. Merging is
deep per named child; other parameters replace, a few add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.outline import Declaration
from runyard.tasks.lookml.language.tree import NAMED, Kind, Node

ADDITIVE = frozenset({"link", "action", "access_filter"})
DEEP = frozenset({"derived_table"})
OWN = frozenset({"extension", "final"})  # never carried to children
EXTENDED = "${EXTENDED}"
MAX_CHAIN = 200


class Family:
    """All declarations of one kind ("view" or "explore") that a model sees, in include order. `node` gives
    the tree of one.

    What is wrong with extends and refinements is found from the declarations alone, once; merging happens
    when a name is asked for.
    """

    def __init__(
        self, kind: str, declarations: Iterable[Declaration], node: Callable[[Declaration], Node]
    ) -> None:
        self.kind = kind
        self.node = node
        self.roots: dict[str, Declaration] = {}
        self.refinements: dict[str, list[Declaration]] = {}
        self.findings: list[Finding] = []
        self._done: dict[str, Node] = {}
        self._layers: dict[str, list[Declaration]] = {}
        self.incomplete: set[str] = (
            set()
        )  # names that extend something unknown: nobody can say what they hold
        for declared in declarations:
            self._declare(declared)
        self._check_refinements()
        self._check_extends()

    def _declare(self, declared: Declaration) -> None:
        name = declared.name
        if name.startswith("+"):
            self.refinements.setdefault(name[1:], []).append(declared)
        elif name in self.roots:
            first = self.roots[name]
            where = f"{first.path}:{first.line}"
            self._find(declared, "duplicate", f'there is already a {self.kind} named "{name}" ({where})')
        else:
            self.roots[name] = declared

    def _find(self, declared: Declaration, code: str, message: str, suggestion: str = "") -> None:
        self.findings.append(
            Finding(code, message, Severity.ERROR, declared.path, *declared.place, suggestion=suggestion)
        )

    def _check_refinements(self) -> None:
        for name, found in self.refinements.items():
            closed = next((d for d in found if d.is_closed), None)
            for declared in found:
                if name not in self.roots:
                    guess = nearest(name, self.roots)
                    self._find(
                        declared, "unknown_refined", f'there is no {self.kind} "{name}" to refine', guess
                    )
                elif (
                    closed is not None
                    and declared is not closed
                    and found.index(closed) < found.index(declared)
                ):
                    where = f"{closed.path}:{closed.line}"
                    self._find(
                        declared,
                        "final",
                        f'{self.kind} "{name}" is refined after its final refinement ({where})',
                    )

    def _check_extends(self) -> None:
        """Unknown bases, circles and chains that are too long. Depth-first with an explicit stack; every name
        is left once."""
        depth = {name: 1 for name in self.roots if not self._bases(name)}  # most extend nothing
        for start in self.roots:
            stack = [] if start in depth else [(start, iter(self._bases(start)))]
            open_names = [name for name, _ in stack]
            while stack:
                name, rest = stack[-1]
                step = next(rest, None)
                if step is None:
                    stack.pop()
                    open_names.pop()
                    below = [depth.get(base, 0) for _, base in self._bases(name)]
                    depth[name] = 1 + max(below, default=0)
                    if depth[name] == MAX_CHAIN + 1:
                        self._find(
                            self.roots[name],
                            "extends_depth",
                            f'the chain of extends through "{name}" is longer than {MAX_CHAIN}',
                        )
                    if depth[name] > MAX_CHAIN or any(b in self.incomplete for _, b in self._bases(name)):
                        self.incomplete.add(name)
                    continue
                declared, base = step
                if base in open_names:
                    chain = " → ".join([*open_names[open_names.index(base) :], base])
                    self._find(declared, "circular_extends", f"circular extends: {chain}")
                elif base not in self.roots:
                    self.incomplete.add(name)
                    guess = nearest(base, self.roots)
                    self._find(declared, "unknown_extends", f'unknown {self.kind} "{base}" in extends', guess)
                elif base not in depth:
                    stack.append((base, iter(self._bases(base))))
                    open_names.append(base)

    def _bases(self, name: str) -> list[tuple[Declaration, str]]:
        """(the declaration that says so, base) of everything that a name extends."""
        return [(d, base) for d in self.declarations(name) for base in d.extends]

    def declarations(self, name: str) -> list[Declaration]:
        """The root and its refinements, in order."""
        root = self.roots.get(name)
        return [root, *self.refinements.get(name, ())] if root is not None else []

    def closure(self, name: str) -> list[Declaration]:
        """Every declaration that the effective object is made of: its own and those of everything it
        extends."""
        if name not in self._layers:
            found: dict[int, Declaration] = {}
            level, seen = [name], {name}
            for _ in range(MAX_CHAIN + 1):  # deeper objects are refused
                declared = [d for one in level for d in self.declarations(one)]
                found |= {id(d): d for d in declared}
                level = list(dict.fromkeys(b for d in declared for b in d.extends if b not in seen))
                seen.update(level)
                if not level:
                    break
            self._layers[name] = list(found.values())
        return self._layers[name]

    def effective(self, name: str) -> Node | None:
        """The merged object; None when there is no such root. Circles are cut."""
        return self._effective(name, [])

    def _effective(self, name: str, above: list[str]) -> Node | None:
        if name in self._done:
            return self._done[name]
        root = self.roots.get(name)
        if root is None or len(above) > MAX_CHAIN:
            return None
        layers: list[Node] = []
        inner = [*above, name]
        for declared in self.declarations(name):
            for base in declared.extends:
                merged = self._effective(base, inner) if base not in inner else None
                if merged is not None:
                    layers.append(merged)
            layers.append(self.node(declared))
        found = self._done[name] = merge(layers, self.node(root)) if len(layers) > 1 else layers[0]
        return found


def merge(layers: list[Node], root: Node) -> Node:
    """One node out of the layers; place and name are the root's."""
    children: list[Node] = []
    named: dict[tuple[str, str], list[Node]] = {}
    plain: dict[str, list[Node]] = {}
    for layer in layers:
        fresh: dict[str, list[Node]] = {}
        for child in layer.children:
            if child.key in OWN and layer.value.removeprefix("+") != root.value:
                continue
            if child.kind is Kind.BLOCK and (child.key in DEEP or (child.key in NAMED and child.value)):
                named.setdefault((child.key, child.value.removeprefix("+")), []).append(child)
            else:
                fresh.setdefault(child.key, []).append(child)
        for key, nodes in fresh.items():
            if key in ADDITIVE and key in plain:
                plain[key] += [n for n in nodes if n not in plain[key]]
            else:
                plain[key] = _extended(nodes, plain.get(key, []))
    for nodes in plain.values():
        children += nodes
    for parts in named.values():
        children.append(parts[0] if len(parts) == 1 else _merged_child(parts))
    merged = Node(root.file, root.key, root.at, Kind.BLOCK, root.value, children)
    if len(layers) > 1 and merged.get("sql") and merged.get("explore_source"):
        last = layers[-1]
        loser = "sql" if last.get("explore_source") else "explore_source"
        merged.children = [c for c in children if c.key != loser]
    return merged


def _merged_child(parts: list[Node]) -> Node:
    """A named child over several layers; its place is that of the last declaration, which is what a reader
    would edit."""
    return merge(parts, parts[-1])


def _extended(nodes: list[Node], before: list[Node]) -> list[Node]:
    """The new parameters, with `${EXTENDED}` standing for the one they replace."""
    if not before or not any(EXTENDED in n.value for n in nodes):
        return nodes
    return [
        Node(n.file, n.key, n.at, n.kind, n.value.replace(EXTENDED, before[-1].value), n.children)
        for n in nodes
    ]
