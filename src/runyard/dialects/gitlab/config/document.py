"""One configuration from many files: the root text and what it includes, inputs filled in, deep-merged
(gitlab.md §3.1, §3.6).

Called by the compiler. All files share one budget of nodes and of includes, so a hostile tree costs no more
than a hostile file.
"""

from collections.abc import Callable, Iterable
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field
from typing import Any

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.fields import is_null
from runyard.dialects.gitlab.config.findings import Findings, Place
from runyard.dialects.gitlab.config.including import (
    MAX_BYTES,
    MAX_INCLUDES,
    Fetched,
    Finder,
    Origin,
    elements,
)
from runyard.dialects.gitlab.config.inputs import (
    COMPONENT,
    MAX_INPUTS,
    InputSpec,
    component_values,
    read_inputs,
    settled,
)
from runyard.dialects.gitlab.config.interpolation import Filling, unveiled, veiled
from runyard.model.trigger import Files, Reach
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
    resolve,
    walk,
)

MAX_NODES = 400_000
REFERENCE = "!reference"


@dataclass(frozen=True, slots=True)
class Judge:
    """How includes are judged: `holds` their rules, `expand` fills variables into their paths and known ones
    into inputs (`known`)."""

    holds: Callable[[Node, Place], bool]
    expand: Callable[[str], str]
    known: Callable[[str], str]


@dataclass(slots=True)
class Loader:
    """Reads a tree's configuration."""

    files: Files
    out: Findings
    judge: Judge
    reach: Reach | None = None
    is_child: bool = False
    is_check: bool = False
    included: list[Dict[str, Any]] = field(default_factory=list)
    uses_references: bool = False
    asked: Dict[str, InputSpec] = field(default_factory=dict)  # of the file itself, not of what it includes
    finder: Finder = field(init=False)
    _nodes: int = MAX_NODES

    def __post_init__(self) -> None:
        self.finder = Finder(self.out, self.judge.expand, self.reach, self.is_child, self.is_check)

    def load(self, path: str, content: bytes | str, given: Dict[str, Node] | None = None) -> Mapping | None:
        """The merged configuration, or None when it is beyond reading. `given` None: inputs are not judged (a
        check without a run)."""
        root = self._parse(content, path, _Given(given, "", {}, Mark(1, 1, path)))
        if root is None:
            return None
        return self._with_includes(root, Origin(self.files), (path,))

    def _parse(self, content: bytes | str, name: str, given: "_Given") -> Mapping | None:
        limits = Limits(MAX_BYTES, nodes=max(self._nodes, 1), documents=2, tags=frozenset({REFERENCE}))
        veil = veiled(content if isinstance(content, str) else content.decode("utf-8", "replace"))
        try:
            documents = load_all(content if veil is None else veil, name, limits, self._repeated)
        except YamlError as error:
            hint = "lines of a merge conflict are left in the file" if _is_conflicted(content) else ""
            self.out.error(Mark(error.line, error.column, name), f"Invalid YAML: {error.message}", hint)
            return None
        if not documents:
            self.out.error(Mark(1, 1, name), f"Please provide content of {name}")
            return None
        if veil is not None:
            documents = [unveiled(document) for document in documents]
        body = self._body(documents, name, given)
        if body is None:
            return None
        self._nodes -= sum(1 for _ in walk(body))
        self.uses_references |= (b"!reference" if isinstance(content, bytes) else "!reference") in content  # type: ignore[operator]
        return body

    def _repeated(self, at: Mark, key: str, first: Mark) -> None:
        """GitLab takes the last and says nothing; it is mostly a slip."""
        shown = repr(key[:80])
        self.out.warn(
            at, f"duplicate key {shown}: the one on line {first.line} is ignored, as GitLab ignores it"
        )

    def _body(self, documents: list[Node], name: str, given: "_Given") -> Mapping | None:
        first = documents[0]
        header: Mapping | None = None
        if (
            isinstance(first, Mapping)
            and "spec" in first.entries
            and (len(documents) > 1 or len(first.entries) == 1)
        ):
            header, documents = first, documents[1:] or [Scalar(first.at, None, "", plain=True)]
        elif len(documents) > 1:
            self.out.error(documents[1].at, "a second YAML document is allowed only after a `spec:` header")
            return None
        body = documents[0]
        if not isinstance(body, Mapping):
            empty = is_null(body)
            message = f"Please provide content of {body.at.file}" if empty else "Invalid configuration format"
            self.out.error(body.at, message)
            return None
        return self._filled(body, header, name, given)

    def _filled(self, body: Mapping, header: Mapping | None, name: str, given: "_Given") -> Mapping | None:
        if header is None:
            if given.values:
                place = next(iter(given.values.values())).at
                owner = f"`{name}`: " if given.owner else ""
                self.out.error(
                    place if place.line else given.at,
                    f"{owner}Given inputs not defined in the `spec` section of the included configuration file",
                )
            return body
        specs, asked = self._spec(header, name)
        if not given.owner:
            self.asked = specs
        if not given.owner and len(specs) > MAX_INPUTS:
            self.out.error(
                header.at, f"a pipeline can have at most {MAX_INPUTS} inputs, but {len(specs)} are listed"
            )
        if given.values is None:
            values = {key: spec.default or _sample(spec) for key, spec in specs.items()}
        else:
            values = settled(specs, _coerced(specs, given), given.at, given.owner, self.out)
        components = component_values(asked, given.component, header.at)
        before = len(self.out.errors)
        filling = Filling({"inputs": values, "component": components}, self.judge.known, self.out)
        filled = filling.fill(body) if len(values) == len(specs) else None
        return filled if isinstance(filled, Mapping) and len(self.out.errors) == before else None

    def _spec(self, header: Mapping, name: str) -> tuple[dict[str, InputSpec], tuple[str, ...]]:
        place = Place("spec", self.out)
        fields.unknown_keys(header, Place("header", self.out), ("spec",))
        spec = header.get("spec")
        if spec is None or is_null(spec):
            return {}, ()
        found = fields.mapping(spec, place, ("inputs", "component"))
        if found is None:
            return {}, ()
        component = found.get("component")
        asked = fields.texts(component, place.sub("component")) or () if component is not None else ()
        for word in asked:
            if word not in COMPONENT and component is not None:
                place.sub("component").wrong(component.at, f"contains unknown values: {word[:60]}")
        return read_inputs(found.get("inputs"), self.out), asked

    def _with_includes(self, config: Mapping, origin: Origin, chain: tuple[str, ...]) -> Mapping:
        """The including file wins over the included, a later include over an earlier."""
        node = config.get("include")
        own = _without(config, "include")
        if node is None or is_null(node):
            return own
        merged = Mapping(config.at, {})
        place = Place("include", self.out)
        for item in elements(node):
            rules = item.get("rules") if isinstance(item, Mapping) else None
            if rules is not None and not is_null(rules) and not self.judge.holds(rules, place.sub("rules")):
                continue
            for fetched in self.finder.found(item, origin, place):
                included = self._include(fetched, chain)
                if included is not None:
                    merged = merge(merged, included)
        return merge(merged, own)

    def _include(self, fetched: Fetched, chain: tuple[str, ...]) -> Mapping | None:
        name = fetched.name
        if name in chain:
            self.out.error(
                fetched.at, f"Included file `{name}` includes itself: {' -> '.join([*chain, name])}"
            )
            return None
        if len(self.included) >= MAX_INCLUDES:
            self.out.error(fetched.at, f"Maximum of {MAX_INCLUDES} nested includes are allowed!")
            return None
        self.included.append(fetched.about)
        given = _Given(self._inputs(fetched), str(fetched.about["location"]), fetched.component, fetched.at)
        parsed = self._parse(fetched.content, name, given)
        origin = fetched.origin
        if origin.files is None and self.is_child and fetched.about["type"] == "artifact":
            origin = Origin(self.files)
        return self._with_includes(parsed, origin, (*chain, name)) if parsed is not None else None

    def _inputs(self, fetched: Fetched) -> dict[str, Node]:
        place = Place("include:inputs", self.out)
        if fetched.inputs is None or is_null(fetched.inputs):
            return {}
        if not isinstance(fetched.inputs, Mapping):
            place.wrong(fetched.inputs.at, "should be a hash")
            return {}
        return {key: entry.value for key, entry in fetched.inputs.entries.items()}


@dataclass(frozen=True, slots=True)
class _Given:
    """What a file is read with: input values (None: nobody runs it), who it is called in messages, its
    component's facts."""

    values: Dict[str, Node] | None
    owner: str
    component: Dict[str, str]
    at: Mark


def _coerced(specs: Dict[str, InputSpec], given: _Given) -> dict[str, Node]:
    """Values of an API arrive as texts in forms and queries; those of a file stay as they were written."""
    values = dict(given.values or {})
    if given.owner:
        return values
    for name, node in values.items():
        spec = specs.get(name)
        if spec is None or spec.type in ("string", "array") or not isinstance(node, Scalar):
            continue
        if isinstance(node.value, str):
            values[name] = Scalar(node.at, resolve(node.text), node.text, plain=True)
    return values


def _sample(spec: InputSpec) -> Node:
    """A stand-in for a required input, so that a file can be checked though nobody gave it."""
    if spec.type == "array":
        return Sequence(spec.at, ())
    text = {"number": "1", "boolean": "true"}.get(spec.type) or (
        spec.options[0] if spec.options else spec.name
    )
    return Scalar(spec.at, resolve(text), text, plain=spec.type != "string")


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


def _is_conflicted(content: bytes | str) -> bool:
    text = content if isinstance(content, str) else content.decode("utf-8", "replace")
    return any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines())


def _without(config: Mapping, key: str) -> Mapping:
    return Mapping(config.at, {k: e for k, e in config.entries.items() if k != key})
