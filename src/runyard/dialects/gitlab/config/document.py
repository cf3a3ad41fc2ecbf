"""One configuration from many files: the root text, its local includes, deep-merged (gitlab.md §3.1, §3.6).

Called by the compiler. All files share one budget of nodes and of includes, so a hostile tree costs no more than a hostile file.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from runyard.dialects.gitlab.config.fields import is_null, texts
from runyard.dialects.gitlab.config.findings import Findings, Place
from runyard.model.errors import TooLarge
from runyard.model.trigger import Files
from runyard.syntax.patterns import PatternError, path_glob
from runyard.syntax.yamltree import (
    Limits,
    Mapping,
    Mark,
    Node,
    Scalar,
    Sequence,
    Tagged,
    YamlError,
    load_all,
    walk,
)

MAX_INCLUDES = 150
MAX_NODES = 100_000
MAX_BYTES = 1 << 20
REFERENCE = "!reference"

_ELSEWHERE = {
    "remote": "files from other hosts are not fetched",
    "project": "files of other projects are not read",
    "template": "GitLab's own templates are not part of this server",
    "component": "the CI/CD catalog is not served",
    "artifact": "child pipelines are not served",
}


@dataclass(slots=True)
class Loader:
    """Reads a tree's configuration. `holds` judges include:rules; `expand` fills variables into paths."""

    files: Files
    out: Findings
    holds: Callable[[Node, Place], bool]
    expand: Callable[[str], str]
    included: list[str] = field(default_factory=list)
    uses_references: bool = False
    _nodes: int = MAX_NODES

    def load(self, path: str, content: bytes | str) -> Mapping | None:
        """The merged configuration, or None when it is beyond reading."""
        root = self._parse(content, path)
        if root is None:
            return None
        return self._with_includes(root, (path,))

    def _parse(self, content: bytes | str, path: str) -> Mapping | None:
        limits = Limits(MAX_BYTES, nodes=max(self._nodes, 1), documents=2, tags=frozenset({REFERENCE}))
        try:
            documents = load_all(content, path, limits)
        except YamlError as error:
            self.out.error(Mark(error.line, error.column, path), f"Invalid YAML: {error.message}")
            return None
        if not documents:
            self.out.error(Mark(1, 1, path), f"Please provide content of {path}")
            return None
        body = self._body(documents)
        if body is None:
            return None
        self._nodes -= sum(1 for _ in walk(body))
        self.uses_references |= (b"!reference" if isinstance(content, bytes) else "!reference") in content  # type: ignore[operator]
        return body

    def _body(self, documents: list[Node]) -> Mapping | None:
        first = documents[0]
        if isinstance(first, Mapping) and "spec" in first.entries:
            spec = first.get("spec")
            if not is_null(spec) and not (isinstance(spec, Mapping) and not spec.entries):
                self.out.error(first.key_at("spec"), "spec: inputs and components are not served here")
                return None
            documents = documents[1:] or documents
        elif len(documents) > 1:
            self.out.error(documents[1].at, "a second YAML document is allowed only after a `spec:` header")
            return None
        body = documents[0]
        if not isinstance(body, Mapping):
            empty = is_null(body)
            message = f"Please provide content of {body.at.file}" if empty else "Invalid configuration format"
            self.out.error(body.at, message)
            return None
        return body

    def _with_includes(self, config: Mapping, chain: tuple[str, ...]) -> Mapping:
        """The including file wins over the included, a later include over an earlier."""
        node = config.get("include")
        own = _without(config, "include")
        if node is None or is_null(node):
            return own
        merged = Mapping(config.at, {})
        place = Place("include", self.out)
        for item in node.items if isinstance(node, Sequence) else (node,):
            for path in self._paths(item, place):
                included = self._include(path, item.at, chain)
                if included is not None:
                    merged = merge(merged, included)
        return merge(merged, own)

    def _include(self, path: str, at: Mark, chain: tuple[str, ...]) -> Mapping | None:
        if path in chain:
            self.out.error(at, f"Included file `{path}` includes itself: {' -> '.join([*chain, path])}")
            return None
        if len(self.included) >= MAX_INCLUDES:
            self.out.error(at, f"Maximum of {MAX_INCLUDES} nested includes are allowed!")
            return None
        self.included.append(path)
        try:
            content = self.files.read(path)
        except TooLarge:
            self.out.error(at, f"Included file `{path}` is larger than {MAX_BYTES} bytes")
            return None
        if content is None:
            self.out.error(at, f"Local file `{path}` does not exist!")
            return None
        parsed = self._parse(content, path)
        return self._with_includes(parsed, (*chain, path)) if parsed is not None else None

    def _paths(self, item: Node, place: Place) -> list[str]:
        if isinstance(item, Scalar) and isinstance(item.value, str):
            if item.text.startswith(("http://", "https://")):
                place.error(item.at, f"Included file `{item.text}`: {_ELSEWHERE['remote']}")
                return []
            return self._local(item, place)
        if not isinstance(item, Mapping):
            place.wrong(item.at, "should be a string or a hash")
            return []
        for kind, why in _ELSEWHERE.items():
            if kind in item.entries:
                place.error(item.key_at(kind), f"include:{kind} is not served: {why}")
                return []
        if unknown := [key for key in item.entries if key not in ("local", "rules", "inputs")]:
            place.wrong(item.key_at(unknown[0]), f"contains unknown keys: {', '.join(unknown[:10])}")
        if "inputs" in item.entries:
            place.error(item.key_at("inputs"), "include:inputs is not served: `spec:inputs` is not")
        local, rules = item.get("local"), item.get("rules")
        if local is None:
            place.wrong(item.at, "must name a `local` file")
            return []
        if rules is not None and not self.holds(rules, place.sub("rules")):
            return []
        found = texts(local, place.sub("local"))
        return self._local(local, place) if found and isinstance(local, Scalar) else []

    def _local(self, node: Scalar, place: Place) -> list[str]:
        path = self.expand(node.text).strip().lstrip("/")
        if not path.endswith((".yml", ".yaml")):
            place.error(node.at, f"Included file `{path}` does not have YAML extension!")
            return []
        if ".." in path.split("/"):
            place.error(
                node.at, f"Local file `{path}` does not exist!", "paths begin at the repository's root"
            )
            return []
        if not set(path) & set("*?[{"):
            return [path]
        try:
            pattern = path_glob(path)
        except PatternError as error:
            place.error(node.at, str(error))
            return []
        found = list(islice((p for p in self.files.paths() if pattern.found_in(p)), MAX_INCLUDES + 1))
        if not found:
            place.error(node.at, f"Local file `{path}` does not exist!")
        return found


def merge(base: Mapping, over: Mapping) -> Mapping:
    """Deep merge: hashes unite, everything else of `over` replaces. Depth is bounded by the reader's 64."""
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        if below is not None and isinstance(below.value, Mapping) and isinstance(entry.value, Mapping):
            entry = entry._replace(value=merge(below.value, entry.value))
        entries[key] = entry
    return Mapping(over.at, entries)


class Weigher:
    """Nodes below a node; shared ones are weighed once and counted each time. Nodes must outlive it."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def __call__(self, node: Node) -> int:
        if isinstance(node, Scalar):
            return 1
        if id(node) not in self._known:
            self._known[id(node)] = 1 + sum(map(self, children(node)))
        return self._known[id(node)]


def children(node: Node) -> Iterable[Node]:
    """The nodes right below a node."""
    match node:
        case Sequence():
            return node.items
        case Mapping():
            return (entry.value for entry in node.entries.values())
        case Tagged():
            return (node.value,)
        case Scalar():
            return ()


def _without(config: Mapping, key: str) -> Mapping:
    return Mapping(config.at, {k: e for k, e in config.entries.items() if k != key})
