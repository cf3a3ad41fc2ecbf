"""What a step's `uses` names, and an action's `action.yml`. Pure: the runner reads manifests of strangers
with it, the compiler judges `uses`.

Facts: contracts/actions.md §1.1, §7 (actions/runner ActionManifestManager). Every problem is an ActionError
with file, line and column.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from runyard.syntax import yamltree
from runyard.syntax.expressions import to_string
from runyard.syntax.yamltree import YamlError

MANIFESTS = ("action.yml", "action.yaml")
MAX_BYTES = 1 << 20
MAX_STEPS = 300
NODE_VERSIONS = (12, 16, 20, 24)
SHELLS: Mapping[str, tuple[str, ...]] = {
    "bash": ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "{script}"),
    "sh": ("sh", "-e", "{script}"),
    "python": ("python", "{script}"),
    "pwsh": ("pwsh", "-command", ". '{script.ps1}'"),
}
"""GitHub's exact invocations of the named shells (actions/runner: ScriptHandlerHelpers)."""

_LIMITS = yamltree.Limits(max_bytes=MAX_BYTES, depth=50, nodes=50_000)
_REMOTE = re.compile(
    r"(?P<owner>[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})/(?P<repo>[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99})(?P<path>/[^@]*)?@(?P<ref>[^\s@]\S{0,254})\Z"
)
_NODE = re.compile(r"node([0-9]{2})\Z", re.IGNORECASE)


class ActionError(ValueError):
    """This cannot be used as an action; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Uses:
    """A parsed `uses`. One of: `repository` with `ref` (and `path` inside it), `image`, or only a `path` in
    the workspace."""

    text: str
    repository: str = ""  # owner/name
    path: str = ""
    ref: str = ""
    image: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it lies in the workspace."""
        return not self.repository and not self.image

    @property
    def is_remote(self) -> bool:
        """Whether it must be fetched."""
        return bool(self.repository)


@lru_cache(maxsize=1024)
def parse_uses(text: str) -> Uses:
    """`owner/repo[/path]@ref`, `./path`, `$/path` or `docker://image`; ActionError for anything else."""
    text = text.strip()
    if text.startswith("docker://"):
        image = text.removeprefix("docker://").strip()
        if not image:
            raise ActionError("`docker://` must be followed by the name of an image")
        return Uses(text, image=image)
    if text.startswith(("./", "$/")) or text in (".", "$"):
        path = _inside(text[2:])
        if path is None:
            raise ActionError(f"the action's path '{text[:200]}' leads out of the workspace")
        return Uses(text, path=path)
    match = _REMOTE.match(text)
    path = _inside(match["path"] or "") if match else None
    if match is None or path is None or match["repo"] in (".", "..", ".git"):
        raise ActionError(f"Expected format {{org}}/{{repo}}[/path]@ref. Actual '{text[:200]}'")
    return Uses(text, f"{match['owner']}/{match['repo']}", path, match["ref"])


def _inside(path: str) -> str | None:
    """The path without empty parts; None when it climbs or holds what no path of a repository has."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if any(part == ".." or "\0" in part or "\\" in part for part in parts):
        return None
    return "/".join(parts)


def shell_argv(name: str) -> tuple[str, ...] | None:
    """The argv of a named shell or of a template with `{0}`, `{script}` standing for the script's path
    (`{script.ps1}`: under a name that ends so); None for what is neither."""
    if name.strip().lower() in SHELLS:
        return SHELLS[name.strip().lower()]
    try:
        words = shlex.split(name)
    except ValueError:
        return None
    if not any("{0}" in word for word in words[1:]):
        return None
    return (words[0], *(word.replace("{0}", "{script}") for word in words[1:]))


def shell_script(argv: Sequence[str], script: str) -> str:
    """What GitHub writes into the file that this shell runs: PowerShell stops at the first error and ends
    with the last program's exit code."""
    text = script if script.endswith("\n") else script + "\n"
    if tuple(argv) != SHELLS["pwsh"]:
        return text
    return f"$ErrorActionPreference = 'stop'\n{text}if ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) {{ exit $LASTEXITCODE }}\n"


@dataclass(frozen=True, slots=True)
class Script:
    """`using: node…`: `main`, and what runs before and after all steps of the job."""

    node: int
    main: str
    pre: str = ""
    pre_if: str = "always()"
    post: str = ""
    post_if: str = "always()"


@dataclass(frozen=True, slots=True)
class Container:
    """`using: docker`: `image` is a Dockerfile's path or an image's name (`built` says which)."""

    image: str
    built: bool
    entrypoint: str = ""
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    pre: str = ""
    pre_if: str = "always()"
    post: str = ""
    post_if: str = "always()"


@dataclass(frozen=True, slots=True)
class Inner:
    """One step of a composite action: exactly one of `run` and `uses`."""

    id: str = ""
    name: str = ""
    condition: str = ""
    run: str = ""
    shell: str = ""
    cwd: str = ""
    uses: Uses | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    continue_on_error: str = ""


@dataclass(frozen=True, slots=True)
class Composite:
    """`using: composite`."""

    steps: tuple[Inner, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One action. `inputs`: name as written → default (a template). `outputs`: name → value (composite only).
    `required`: the inputs that whoever uses it should give; nothing enforces that."""

    name: str
    runs: Script | Container | Composite
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    deprecated: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()


DOCKERFILE = Manifest("", Container("Dockerfile", built=True))
"""A folder with nothing but a Dockerfile is an action too."""


def read_manifest(data: bytes, file: str) -> Manifest:
    """The action that a text describes."""
    try:
        root = _mapping(yamltree.load(data, file, _LIMITS), "an action")
    except YamlError as error:
        raise ActionError(f"{file}:{error.line}:{error.column}: {error.message}") from None
    inputs, deprecated = _inputs(root.get("inputs"))
    runs = root.get("runs")
    if runs is None:
        raise ActionError(f"{root.at}: Required property is missing: runs")
    outputs = {}
    for name, entry in _entries(root.get("outputs")):
        value = entry.get("value") if isinstance(entry, yamltree.Mapping) else None
        outputs[name] = _text(value)
    required = tuple(name for name, entry in _entries(root.get("inputs")) if _is_required(entry))
    name, ran = _text(root.get("name")), _runs(_mapping(runs, "`runs`"))
    return Manifest(name, ran, inputs, outputs, deprecated, required)


def _is_required(entry: yamltree.Node) -> bool:
    """A default stands in for who gives none."""
    if not isinstance(entry, yamltree.Mapping) or "default" in entry.entries:
        return False
    return _text(entry.get("required")).strip().lower() == "true"


def _inputs(node: yamltree.Node | None) -> tuple[dict[str, str], dict[str, str]]:
    defaults, deprecated = {}, {}
    for name, entry in _entries(node):
        about = entry if isinstance(entry, yamltree.Mapping) else None
        defaults[name] = _text(about.get("default")) if about else ""
        if about and (warning := _text(about.get("deprecationMessage"))):
            deprecated[name] = warning
    return defaults, deprecated


def _runs(runs: yamltree.Mapping) -> Script | Container | Composite:
    using = _text(runs.get("using")).strip()
    if using.lower() == "composite":
        return Composite(_steps(runs))
    if using.lower() == "docker":
        return _container(runs)
    match = _NODE.match(using)
    if match and int(match[1]) >= NODE_VERSIONS[0]:
        main = _needed(runs, "main")
        return Script(
            int(match[1]), main, _path(runs, "pre"), _condition(runs, "pre-if"), _path(runs, "post"), _condition(runs, "post-if")
        )  # fmt: skip
    at = runs.key_at("using") if "using" in runs.entries else runs.at
    raise ActionError(
        f"{at}: 'using: {using[:80]}' is not known; expected node20, node24, composite or docker"
    )


def _container(runs: yamltree.Mapping) -> Container:
    image = _needed(runs, "image", path=False)
    built = not image.lower().startswith("docker://")
    args = runs.get("args")
    env = {name: _text(value) for name, value in _entries(runs.get("env"))}
    return Container(
        image if built else image[len("docker://") :],
        built,
        _text(runs.get("entrypoint")),
        None if args is None else tuple(_text(item) for item in _items(args, "`args`")),
        env,
        _text(runs.get("pre-entrypoint")),
        _condition(runs, "pre-if"),
        _text(runs.get("post-entrypoint")),
        _condition(runs, "post-if"),
    )


def _steps(runs: yamltree.Mapping) -> tuple[Inner, ...]:
    node = runs.get("steps")
    items = _items(node, "`steps`") if node is not None else ()
    if node is None:
        raise ActionError(f"{runs.at}: Required property is missing: steps")
    if len(items) > MAX_STEPS:
        raise ActionError(f"{runs.at}: an action may have at most {MAX_STEPS} steps")
    return tuple(_inner(_mapping(item, "a step")) for item in items)


def _inner(step: yamltree.Mapping) -> Inner:
    known = {
        "id",
        "name",
        "if",
        "run",
        "shell",
        "working-directory",
        "uses",
        "with",
        "env",
        "continue-on-error",
    }
    for key in step.entries:
        if key not in known:
            raise ActionError(f"{step.key_at(key)}: Unexpected value '{key[:80]}'")
    run, uses = step.get("run"), step.get("uses")
    if (run is None) == (uses is None):
        raise ActionError(f"{step.at}: a step has either `run` or `uses`")
    shell = _text(step.get("shell"))
    if run is not None and not shell.strip():
        raise ActionError(f"{step.at}: Required property is missing: shell")
    try:
        parsed = parse_uses(_text(uses)) if uses is not None else None
    except ActionError as error:
        raise ActionError(f"{step.key_at('uses')}: {error}") from None
    return Inner(
        id=_text(step.get("id")),
        name=_text(step.get("name")),
        condition=_text(step.get("if")),
        run=_text(run),
        shell=shell,
        cwd=_text(step.get("working-directory")),
        uses=parsed,
        inputs={name.lower(): _text(value) for name, value in _entries(step.get("with"))},
        env={name: _text(value) for name, value in _entries(step.get("env"))},
        continue_on_error=_text(step.get("continue-on-error")),
    )


def _condition(runs: yamltree.Mapping, key: str) -> str:
    return _text(runs.get(key)).strip() or "always()"


def _needed(runs: yamltree.Mapping, key: str, *, path: bool = True) -> str:
    text = _path(runs, key) if path else _text(runs.get(key)).strip()
    if not text:
        raise ActionError(f"{runs.at}: Required property is missing: {key}")
    return text


def _path(runs: yamltree.Mapping, key: str) -> str:
    """A file of the action. `../` is allowed by the vendor (several actions of one repository share a
    bundle); the runner looks where it leads."""
    text = _text(runs.get(key)).strip()
    if "\0" in text or text.startswith("/"):
        raise ActionError(f"{runs.key_at(key)}: '{text[:80]}' is not a path inside the action")
    return text


def _mapping(node: yamltree.Node, what: str) -> yamltree.Mapping:
    if isinstance(node, yamltree.Mapping):
        return node
    raise ActionError(f"{node.at}: {what} must be a mapping")


def _entries(node: yamltree.Node | None) -> list[tuple[str, yamltree.Node]]:
    if node is None or (isinstance(node, yamltree.Scalar) and node.value is None):
        return []
    return [(name, entry.value) for name, entry in _mapping(node, "this").entries.items()]


def _items(node: yamltree.Node, what: str) -> tuple[yamltree.Node, ...]:
    if isinstance(node, yamltree.Sequence):
        return tuple(node.items)
    raise ActionError(f"{node.at}: {what} must be a sequence")


def _text(node: yamltree.Node | None) -> str:
    if node is None:
        return ""
    if not isinstance(node, yamltree.Scalar):
        raise ActionError(f"{node.at}: a text was expected")
    return node.value if isinstance(node.value, str) else to_string(node.value)
