"""Readers of `rules`, `only`/`except`, `changes`, `exists`, `allow_failure`, `needs` and `variables`: nodes
become specs.

Called by the job and workflow readers. Sentences are GitLab's where it has one.
"""

from collections.abc import Mapping as Dict

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.expression import Expression, ExpressionError, parse
from runyard.dialects.gitlab.config.findings import Place
from runyard.dialects.gitlab.config.parallel import matrix_of
from runyard.dialects.gitlab.config.spec import (
    AllowFailure,
    ForeignNeed,
    NeedSpec,
    Paths,
    Policy,
    Rule,
    VariableSpec,
)
from runyard.syntax.patterns import PatternError, path_glob
from runyard.syntax.variables import KEY, MAX_VALUE_BYTES
from runyard.syntax.yamltree import Mapping, Node, Scalar

MAX_RULES = 1000
MAX_GLOBS = 50
MAX_FOREIGN = 5
MAX_EXIT_CODE = 0xFFFF_FFFF  # a Windows runner's
WEEK_S = 7 * 86400

WHENS = ("on_success", "on_failure", "always", "never", "manual", "delayed")
_JOB_RULE = (
    "if",
    "changes",
    "exists",
    "when",
    "start_in",
    "allow_failure",
    "variables",
    "needs",
    "interruptible",
)
_WORKFLOW_RULE = ("if", "changes", "exists", "when", "variables", "auto_cancel")
_INCLUDE_RULE = ("if", "changes", "exists", "when")


def job_rules(node: Node, place: Place) -> tuple[Rule, ...]:
    """`rules` of a job."""
    return _rules(node, place, _JOB_RULE, WHENS)


def workflow_rules(node: Node, place: Place) -> tuple[Rule, ...]:
    """`workflow:rules`."""
    return _rules(node, place, _WORKFLOW_RULE, ("always", "never"))


def include_rules(node: Node, place: Place) -> tuple[Rule, ...]:
    """`include:rules`."""
    return _rules(node, place, _INCLUDE_RULE, ("always", "never"))


def _rules(node: Node, place: Place, keys: tuple[str, ...], whens: tuple[str, ...]) -> tuple[Rule, ...]:
    items = fields.sequence(node, place, "should be an array of hashes")
    if items is None:
        return ()
    if not items:
        place.wrong(node.at, "can't be blank")
    if len(items) > MAX_RULES:
        place.wrong(node.at, f"is too long (maximum is {MAX_RULES})")
        return ()
    return tuple(_rule(item, place.sub("rule"), keys, whens) for item in items)


def _rule(node: Node, place: Place, keys: tuple[str, ...], whens: tuple[str, ...]) -> Rule:
    rule = fields.mapping(node, place, keys)
    if rule is None:
        return Rule(node.at)
    get = rule.get
    when_node, start, allow = get("when"), get("start_in"), get("allow_failure")
    if isinstance(when_node, Scalar) and "$" in when_node.text and when_node.text not in whens:
        place.sub("when").wrong(
            when_node.at, f"should be one of: {', '.join(whens)}", "write the condition under `if:`"
        )
        when_node = None
    when = fields.choice(when_node, place.sub("when"), whens) if when_node else None
    start_in_s = fields.duration(start, place.sub("start_in"), WEEK_S) if start else None
    if when == "delayed" and not start:
        place.wrong(node.at, "start_in must be given when `when: delayed`")
    elif start and when != "delayed":
        place.wrong(rule.key_at("start_in"), "start_in may only be used with `when: delayed`")
    condition, changes, exists = get("if"), get("changes"), get("exists")
    variables, wanted, stops = get("variables"), get("needs"), get("interruptible")
    return Rule(
        at=node.at,
        condition=None
        if condition is None or fields.is_null(condition)
        else expression(condition, place.sub("if")),
        changes=paths(changes, place.sub("changes"), ("paths", "compare_to")) if changes else None,
        exists=paths(exists, place.sub("exists"), ("paths", "project", "ref")) if exists else None,
        when=when,
        start_in_s=start_in_s,
        allow_failure=_tolerance(allow, place) if allow and not fields.is_null(allow) else None,
        variables=variables_of(variables, place.sub("variables")) if variables else {},
        needs=needs(wanted, place.sub("needs")) if wanted else None,
        interruptible=fields.boolean(stops, place.sub("interruptible")) if stops else None,
        auto_cancel=auto_cancel(get("auto_cancel"), place.sub("auto_cancel")),
    )


def _tolerance(node: Node, place: Place) -> AllowFailure | None:
    """`allow_failure` of a rule: GitLab takes exit codes under the job's own only."""
    if isinstance(node, Mapping):
        hint = "exit codes belong under the job's own `allow_failure`"
        place.error(node.at, f"{place.path} allow failure should be a boolean value", hint)
        return None
    return allow_failure(node, place.sub("allow_failure"))


def may_start_two_pipelines(listed: tuple[Rule, ...]) -> bool:
    """Whether the last rule is a bare `when`, which holds for a push and for its merge request alike."""
    last = listed[-1] if listed else None
    return last is not None and last.when not in (None, "never") and last == Rule(last.at, when=last.when)


def expression(node: Node, place: Place) -> Expression | None:
    """An `if`."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        place.error(node.at, f"{place.path} should be a string")
        return None
    try:
        return parse(node.text)
    except ExpressionError as error:
        owner = place.path.removesuffix(":if")
        place.error(node.at, f"{owner} if invalid expression syntax: {error}", error.suggestion)
        return None


def auto_cancel(node: Node | None, place: Place) -> Dict[str, str]:
    """`auto_cancel` of the workflow or of its rule."""
    if fields.is_null(node) or node is None:
        return {}
    words = {"on_new_commit": ("conservative", "interruptible", "none"), "on_job_failure": ("all", "none")}
    found = fields.mapping(node, place, words)
    if found is None:
        return {}
    chosen = {
        key: fields.choice(e.value, place.sub(key), words[key])
        for key, e in found.entries.items()
        if key in words
    }
    return {key: word for key, word in chosen.items() if word}


def paths(node: Node, place: Place, keys: tuple[str, ...]) -> Paths | None:
    """`changes` or `exists`: an array of globs, or a hash with `paths`."""
    compare_to = None
    globs: Node | None = node
    project = at_ref = None
    if isinstance(node, Mapping):
        fields.unknown_keys(node, place, keys)
        globs = node.get("paths")
        compare_to, project, at_ref = (
            _optional_text(node, key, place) for key in ("compare_to", "project", "ref")
        )
        if at_ref and not project:
            place.wrong(node.key_at("ref"), "missing required keys: project")
    if globs is None:
        place.wrong(node.at, "should have `paths`")
        return None
    is_lone = (
        "project" in keys and globs is node
    )  # GitLab takes one path of `exists` for a list, but not of `changes`
    found = (
        fields.text_or_texts(globs, place, MAX_GLOBS) if is_lone else fields.texts(globs, place, MAX_GLOBS)
    )
    for glob in found or ():
        try:
            path_glob(glob)
        except PatternError as error:
            place.wrong(globs.at, f"has a bad path: {error}")
    return Paths(found, node.at, compare_to, project, at_ref) if found is not None else None


def _optional_text(node: Mapping, key: str, place: Place) -> str | None:
    value = node.get(key)
    return fields.text(value, place.sub(key)) if value is not None else None


def allow_failure(node: Node, place: Place) -> AllowFailure | None:
    """A boolean, or a hash with exit codes."""
    if isinstance(node, Mapping):
        fields.unknown_keys(node, place, ("exit_codes",))
        codes = exit_codes(node.get("exit_codes"), place.sub("exit_codes"), node)
        return AllowFailure(exit_codes=codes)
    answer = fields.boolean(node, place)
    return None if answer is None else AllowFailure(always=answer)


def exit_codes(node: Node | None, place: Place, around: Node) -> tuple[int, ...]:
    """One exit code or an array of them."""
    if node is None:
        place.wrong(around.at, "should be an array of integers or an integer")
        return ()
    items = (node,) if isinstance(node, Scalar) else fields.sequence(node, place) or ()
    codes = [fields.integer(item, place, 0, MAX_EXIT_CODE) for item in items]
    return tuple(code for code in codes if code is not None)


def variables_of(node: Node, place: Place, *, described: bool = False) -> dict[str, VariableSpec]:
    """A hash of variables; root ones may also have `description` and `options`."""
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash of key value pairs")
        return {}
    found = {}
    for key, entry in node.entries.items():
        if not KEY.fullmatch(key) or len(key) > 255:
            place.wrong(
                entry.key.at, f"has an invalid variable name: {key[:60]!r}", "letters, digits and `_` only"
            )
            continue
        value = _variable(entry.value, place.sub(key), described)
        if value is not None and len(value.text.encode("utf-8", "replace")) > MAX_VALUE_BYTES:
            place.sub(key).wrong(entry.value.at, f"is too long (maximum is {MAX_VALUE_BYTES} bytes)")
        elif value is not None:
            found[key] = value
    return found


def _variable(node: Node, place: Place, described: bool) -> VariableSpec | None:
    if isinstance(node, Scalar) and node.value is not None:
        return VariableSpec(node.text)
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a string or a hash", "write '' for an empty value")
        return None
    fields.unknown_keys(
        node, place, ("value", "expand", "description", "options") if described else ("value", "expand")
    )
    value, expand, options = node.get("value"), node.get("expand"), node.get("options")
    text = fields.scalar_text(value, place.sub("value")) if value else None
    if text is None and (not described or options):
        place.wrong(node.at, "should have a `value`")
        return None
    if options and text not in (fields.texts(options, place.sub("options"), 50) or ()):
        place.wrong(node.at, "value must be present in options")
    return VariableSpec(
        text or "", raw=expand is not None and fields.boolean(expand, place.sub("expand")) is False
    )


def needs(node: Node, place: Place) -> tuple[NeedSpec, ...]:
    """`needs` of a rule: jobs of this pipeline."""
    own, foreign = all_needs(node, place)
    for need in foreign:
        place.wrong(
            need.at, "uses invalid types of needs: only jobs of this pipeline can be needed by a rule"
        )
    return own


def all_needs(node: Node, place: Place) -> tuple[tuple[NeedSpec, ...], tuple[ForeignNeed, ...]]:
    """`needs` of a job: of this pipeline, and of others."""
    single = isinstance(node, Mapping)
    items = (node,) if single else fields.sequence(node, place, "can only be a hash or an array")
    found = [_need(item, place) for item in items or ()]
    foreign = tuple(need for need in found if isinstance(need, ForeignNeed))
    if len(foreign) > MAX_FOREIGN:
        place.wrong(foreign[0].at, f"cross-pipeline needs are limited to {MAX_FOREIGN}")
    return tuple(need for need in found if isinstance(need, NeedSpec)), foreign


def _need(node: Node, place: Place) -> NeedSpec | ForeignNeed | None:
    if isinstance(node, Scalar) and isinstance(node.value, str | int | float):
        return NeedSpec(node.text, node.at)
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a string or a hash")
        return None
    if "pipeline" in node.entries or "project" in node.entries:
        return _foreign(node, place)
    fields.unknown_keys(node, place, ("job", "artifacts", "optional", "parallel"))
    job, artifacts, optional, legs = (node.get(k) for k in ("job", "artifacts", "optional", "parallel"))
    name = fields.scalar_text(job, place.sub("job")) if job else None
    if name is None:
        if job is None:
            place.wrong(node.at, "should name a `job`")
        return None
    return NeedSpec(
        name,
        node.at,
        artifacts=artifacts is None or fields.boolean(artifacts, place.sub("artifacts")) is not False,
        optional=optional is not None and fields.boolean(optional, place.sub("optional")) is True,
        matrix=_legs(legs, place.sub("parallel")) if legs else (),
    )


def _foreign(node: Mapping, place: Place) -> ForeignNeed | None:
    """`{pipeline, job, artifacts}`, `{project, job, ref, artifacts}`, or `{pipeline: group/project}` alone,
    whose status a job shows."""
    of_project = "project" in node.entries
    keys = (
        ("project", "job", "ref", "artifacts", "optional")
        if of_project
        else ("pipeline", "job", "artifacts", "optional")
    )
    fields.unknown_keys(node, place, keys)
    texts = {
        key: fields.scalar_text(entry.value, place.sub(key)) or ""
        for key, entry in node.entries.items()
        if key in ("project", "job", "ref", "pipeline")
    }
    artifacts, optional = node.get("artifacts"), node.get("optional")
    need = ForeignNeed(
        texts.get("job", ""),
        node.at,
        texts.get("project", ""),
        texts.get("ref", ""),
        texts.get("pipeline", ""),
        artifacts is None or fields.boolean(artifacts, place.sub("artifacts")) is not False,
        optional is not None and fields.boolean(optional, place.sub("optional")) is True,
    )
    if of_project and not (need.job and need.ref):
        place.wrong(node.at, "should have `project`, `job` and `ref`")
        return None
    if need.job and not need.artifacts:
        place.wrong(node.at, "artifacts should be true: a need of another pipeline only fetches artifacts")
    return need


def _legs(node: Node, place: Place) -> tuple[Dict[str, str], ...]:
    found = fields.mapping(node, place, ("matrix",))
    matrix = found.get("matrix") if found else None
    return matrix_of(matrix, place.sub("matrix")) if matrix else ()


def policy(node: Node, place: Place) -> Policy:
    """`only` or `except`."""
    if not isinstance(node, Mapping):
        return Policy(refs=fields.texts(node, place))
    fields.unknown_keys(node, place, ("refs", "variables", "changes", "kubernetes"))
    kubernetes = node.get("kubernetes")
    if kubernetes is not None:
        fields.choice(kubernetes, place.sub("kubernetes"), ("active",))
    refs, conditions, changes = node.get("refs"), node.get("variables"), node.get("changes")
    return Policy(
        refs=fields.texts(refs, place.sub("refs")) if refs else None,
        kubernetes=kubernetes is not None,
        conditions=_conditions(conditions, place.sub("variables")) if conditions else None,
        changes=paths(changes, place.sub("changes"), ("paths",)) if changes else None,
    )


def _conditions(node: Node, place: Place) -> tuple[Expression, ...]:
    items = (
        (node,) if isinstance(node, Scalar) else fields.sequence(node, place, "should be an array of strings")
    )
    found = [expression(item, place) for item in items or ()]
    return tuple(one for one in found if one)
