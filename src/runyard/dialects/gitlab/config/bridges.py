"""Readers of `trigger`, `needs` of other pipelines' status, and `id_tokens`: nodes become specs (gitlab.md
§3.11).

Called by the job reader. A job with one of the first two is a bridge: its work is another pipeline, so it has
no script.
"""

from typing import Any

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.findings import Place, nearest
from runyard.dialects.gitlab.config.spec import ForeignNeed, IdTokenSpec, TriggerSpec
from runyard.syntax.variables import KEY
from runyard.syntax.yamltree import Mapping, Node, Scalar, Sequence

MAX_INCLUDES = 3
WHENS = ("on_success", "on_failure", "always", "manual")
STRATEGIES = ("depend", "mirror")
NOT_FOR_BRIDGES = (
    "script", "before_script", "after_script", "image", "services", "cache", "artifacts", "retry", "timeout", "tags", "hooks",
    "dependencies", "coverage", "id_tokens", "run", "release", "secrets", "pages", "publish", "inputs",
)  # fmt: skip
_COMMON = ("strategy", "forward", "inputs")


def trigger(node: Node, place: Place) -> TriggerSpec | None:
    """`trigger`: a project, or a hash."""
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.text.strip():
        if node.text.endswith((".yml", ".yaml")):
            told = f"{place.path}: `{node.text}` is the path of a project here; write `include: {node.text}` below `trigger` for a file"
            place.out.warn(node.at, told)
        return TriggerSpec(node.at, project=node.text.strip())
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a string or a hash")
        return None
    if ("include" in node.entries) == ("project" in node.entries):
        slip = next((hint for key in node.entries if (hint := nearest(key, ("project", "include")))), "")
        slip = slip or (
            "a file is named under `include`" if {"file", "local", "path"} & set(node.entries) else ""
        )
        place.wrong(node.at, "should have either `project` or `include`", slip)
        return None
    keys = ("include", *_COMMON) if "include" in node.entries else ("project", "branch", *_COMMON)
    fields.unknown_keys(node, place, keys)
    project, branch, strategy = (node.get(key) for key in ("project", "branch", "strategy"))
    include, inputs = node.get("include"), node.get("inputs")
    yaml, pipeline = _forward(node.get("forward"), place.sub("forward"))
    return TriggerSpec(
        node.at,
        project=(fields.text(project, place.sub("project")) or "") if project is not None else "",
        branch=(fields.scalar_text(branch, place.sub("branch")) or "") if branch is not None else "",
        include=_include(include, place.sub("include")) if include is not None else (),
        inputs=_inputs(inputs, place.sub("inputs")) if inputs is not None else {},
        strategy=(fields.choice(strategy, place.sub("strategy"), STRATEGIES) or "")
        if strategy is not None
        else "",
        forward_yaml=yaml,
        forward_pipeline=pipeline,
    )


def _forward(node: Node | None, place: Place) -> tuple[bool, bool]:
    found = (
        fields.mapping(node, place, ("yaml_variables", "pipeline_variables")) if node is not None else None
    )
    yaml = found.get("yaml_variables") if found else None
    pipeline = found.get("pipeline_variables") if found else None
    return (
        yaml is None or fields.boolean(yaml, place.sub("yaml_variables")) is not False,
        pipeline is not None and fields.boolean(pipeline, place.sub("pipeline_variables")) is True,
    )


def _include(node: Node, place: Place) -> tuple[Any, ...]:
    items = node.items if isinstance(node, Sequence) else (node,)
    if not items or len(items) > MAX_INCLUDES:
        place.wrong(node.at, f"should have 1 to {MAX_INCLUDES} entries")
        return ()
    for item in items:
        if isinstance(item, Mapping) and "artifact" in item.entries and "job" not in item.entries:
            place.wrong(item.at, "must specify the job where to fetch the artifact from")
        elif not isinstance(item, Mapping) and not (isinstance(item, Scalar) and isinstance(item.value, str)):
            place.wrong(item.at, "should be a string or a hash")
    return tuple(fields.plain(item, place) for item in items)


def _inputs(node: Node, place: Place) -> dict[str, Any]:
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash")
        return {}
    return {key: fields.plain(entry.value, place) for key, entry in node.entries.items()}


def upstream(foreign: tuple[ForeignNeed, ...]) -> TriggerSpec | None:
    """`needs: {pipeline: group/project}` without a job: this job shows that project's newest pipeline."""
    for need in foreign:
        if need.pipeline and not need.job:
            return TriggerSpec(need.at, strategy="mirror", upstream=need.pipeline)
    return None


def check_bridge(job: Mapping, foreign: tuple[ForeignNeed, ...], place: Place) -> None:
    """Keys that need a runner have no meaning here; some others have fewer forms."""
    wrong = [key for key in NOT_FOR_BRIDGES if key in job.entries and not fields.is_null(job.get(key))]
    if wrong:
        hint = "a job that triggers a pipeline runs no commands itself"
        place.wrong(job.key_at(wrong[0]), f"contains unknown keys: {', '.join(wrong)}", hint)
    when, parallel, allow = (job.get(key) for key in ("when", "parallel", "allow_failure"))
    if when is not None and not fields.is_null(when):
        fields.choice(when, place.sub("when"), WHENS)
    if isinstance(parallel, Scalar) and not fields.is_null(parallel):
        place.error(parallel.at, f'{place.path}:parallel config cannot use "parallel: <number>".')
    if allow is not None and not fields.is_null(allow):
        fields.boolean(allow, place.sub("allow_failure"))
    shown = [need for need in foreign if need.pipeline and not need.job]
    if len(shown) > 1:
        place.wrong(shown[1].at, "should contain at most one bridge need")


def id_tokens(node: Node, place: Place) -> tuple[IdTokenSpec, ...]:
    """`id_tokens`: by name, each with an audience."""
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash")
        return ()
    found = []
    for name, entry in node.entries.items():
        mine = place.sub(name)
        token = fields.mapping(entry.value, mine, ("aud",))
        audience = token.get("aud") if token else None
        if not KEY.fullmatch(name):
            mine.wrong(
                entry.key.at, f"has an invalid variable name: {name[:60]!r}", "letters, digits and `_` only"
            )
        elif audience is None:
            mine.wrong(entry.value.at, "missing required keys: aud")
        else:
            found.append(IdTokenSpec(name, fields.text_or_texts(audience, mine.sub("aud")) or ()))
    return tuple(found)
