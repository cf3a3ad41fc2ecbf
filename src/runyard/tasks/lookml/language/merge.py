"""extends and refinements: the effective object of a name, as one merged node. Used by `model`.

Order, later wins: each extended object in list order (with its own refinements), then the root, then each refinement in include order,
where a refinement that extends applies its bases just before itself. Merging is deep per named child; other parameters replace, a few add.
"""

from __future__ import annotations

from runyard.tasks.lookml.language.findings import Finding, Severity, nearest
from runyard.tasks.lookml.language.tree import NAMED, Kind, Node

ADDITIVE = frozenset({"link", "action", "access_filter"})
DEEP = frozenset({"derived_table"})
OWN = frozenset({"extension", "final"})  # never carried to children
EXTENDED = "${EXTENDED}"


class Family:
    """All declarations of one kind ("view" or "explore") that a model sees, in include order."""

    def __init__(self, kind: str, declarations: list[Node]) -> None:
        self.kind = kind
        self.roots: dict[str, Node] = {}
        self.refinements: dict[str, list[Node]] = {}
        self.findings: list[Finding] = []
        self._done: dict[str, Node] = {}
        self._open: list[str] = []
        self.incomplete: set[str] = (
            set()
        )  # names that extend something unknown: nobody can say what they hold
        for node in declarations:
            self._declare(node)
        for name, nodes in self.refinements.items():
            if name not in self.roots:
                for node in nodes:
                    guess = nearest(name, self.roots)
                    self._find(node, "unknown_refined", f'there is no {self.kind} "{name}" to refine', guess)

    def _declare(self, node: Node) -> None:
        if node.value.startswith("+"):
            self.refinements.setdefault(node.value[1:], []).append(node)
        elif node.value in self.roots:
            first = self.roots[node.value]
            where = f"{first.file.path}:{first.line}"
            self._find(node, "duplicate", f'there is already a {self.kind} named "{node.value}" ({where})')
        else:
            self.roots[node.value] = node

    def _find(self, node: Node, code: str, message: str, suggestion: str = "") -> None:
        line, column = node.place
        self.findings.append(
            Finding(code, message, Severity.ERROR, node.file.path, line, column, suggestion=suggestion)
        )

    def effective(self, name: str) -> Node | None:
        """The merged object; None when there is no such root. Cycles are found once and cut."""
        if name in self._done:
            return self._done[name]
        root = self.roots.get(name)
        if root is None:
            return None
        if len(self._open) > 200:
            self._find(root, "extends_depth", f'the chain of extends through "{name}" is longer than 200')
            return None
        self._open.append(name)
        layers: list[Node] = []
        for node in (root, *self.refinements.get(name, ())):
            layers += self._bases(node)
            layers.append(node)
        self._open.pop()
        merged = merge(layers, root)
        self._done[name] = merged
        return merged

    def _bases(self, node: Node) -> list[Node]:
        """What this declaration extends, each already effective."""
        found = []
        for base in extended_names(node):
            if base in self._open:
                chain = " → ".join([*self._open[self._open.index(base) :], base])
                self._find(node, "circular_extends", f"circular extends: {chain}")
            elif base not in self.roots:
                self.incomplete.add(self._open[-1])
                self._find(
                    node,
                    "unknown_extends",
                    f'unknown {self.kind} "{base}" in extends',
                    nearest(base, self.roots),
                )
            elif (merged := self.effective(base)) is not None:
                found.append(merged)
                self.incomplete |= {self._open[-1]} if base in self.incomplete else set()
        return found


def extended_names(node: Node) -> list[str]:
    """The names in `extends` and in the old form `extends: name`; `+name` means the same as `name`."""
    names: list[str] = []
    for child in node.all("extends", "extends__all"):
        stack = [child]
        while stack:
            item = stack.pop()
            if item.kind is Kind.LIST:
                stack.extend(reversed(item.children))
            elif item.value:
                names.append(item.value.removeprefix("+"))
    return names


def merge(layers: list[Node], root: Node) -> Node:
    """One node out of the layers; place and name are the root's."""
    children: list[Node] = []
    merged = Node(root.file, root.key, root.at, Kind.BLOCK, root.value, children)
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
    if len(layers) > 1 and merged.get("sql") and merged.get("explore_source"):
        last = layers[-1]
        loser = "sql" if last.get("explore_source") else "explore_source"
        merged.children = [c for c in merged.children if c.key != loser]
    return merged


def _merged_child(parts: list[Node]) -> Node:
    """A named child over several layers; its place is that of the last declaration, which is what a reader would edit."""
    return merge(parts, parts[-1])


def _extended(nodes: list[Node], before: list[Node]) -> list[Node]:
    """The new parameters, with `${EXTENDED}` standing for the one they replace."""
    if not before or not any(EXTENDED in n.value for n in nodes):
        return nodes
    return [
        Node(n.file, n.key, n.at, n.kind, n.value.replace(EXTENDED, before[-1].value), n.children)
        for n in nodes
    ]
