"""What rules decide: whether a pipeline is made, which jobs are in it and how they start (gitlab.md §3.4,
§3.5).

Called by the compiler, with the repository as `Ground`. The first rule whose clauses all hold wins; no rule,
no job.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from runyard.dialects.gitlab.config.findings import Findings
from runyard.dialects.gitlab.config.scope import Scope, VariableError
from runyard.dialects.gitlab.config.spec import (
    AllowFailure,
    JobSpec,
    NeedSpec,
    Paths,
    Policy,
    Rule,
    Variables,
)
from runyard.model.errors import RunyardError
from runyard.model.trigger import Files, Trigger
from runyard.syntax.patterns import PatternError, any_match, literal, path_glob

MAX_COMPARISONS = 50_000
MAX_ALL_COMPARISONS = 500_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job that is in the pipeline starts."""

    when: str
    allow_failure: AllowFailure
    start_in_s: int | None = None
    variables: Variables = field(default_factory=dict)
    needs: tuple[NeedSpec, ...] | None = None
    interruptible: bool | None = None


@dataclass(slots=True)
class Ground:
    """The repository and the event that rules look at; every diff is made once."""

    trigger: Trigger
    files: Files
    out: Findings
    _diffs: dict[str | None, frozenset[str] | None] = field(default_factory=dict)
    _found: dict[tuple[str, ...], bool] = field(default_factory=dict)
    _matched: dict[tuple[str | None, tuple[str, ...]], bool] = field(default_factory=dict)
    _compared: int = 0

    def changed(self, paths: Paths, scope: Scope) -> bool:
        """An unknown difference (new branch, tag, schedule, api) holds; an empty one does not."""
        base = scope.expand(paths.compare_to) if paths.compare_to else None
        diff = self._diff(base, paths)
        if diff is None:
            return True
        asked = base, tuple(scope.expand(glob) for glob in paths.globs)
        if asked not in self._matched:
            self._matched[asked] = any(self._any(glob, diff, paths) for glob in asked[1])
        return self._matched[asked]

    def _any(self, glob: str, names: Collection[str], paths: Paths) -> bool:
        self._compared += len(names)
        if self._compared > MAX_ALL_COMPARISONS:
            self.out.error(paths.at, f"rules compare more than {MAX_ALL_COMPARISONS} paths with globs")
            self.out.check()
        return any_match(path_glob(glob), names)

    def _diff(self, base: str | None, paths: Paths) -> frozenset[str] | None:
        if base not in self._diffs:
            try:
                self._diffs[base] = self.files.changed(base)
            except RunyardError:
                self._diffs[base] = None
            if base is not None and self._diffs[base] is None:
                self.out.error(paths.at, f"rules:changes:compare_to is not a valid ref: {base}")
        return self._diffs[base]

    def exists(self, paths: Paths, scope: Scope) -> bool:
        """Exact names, folders with a trailing `/`, or globs; beyond 50,000 comparisons the answer is yes, as
        in GitLab."""
        globs = tuple(scope.expand(glob).removeprefix("./") for glob in paths.globs)
        project, ref = scope.expand(paths.project or ""), scope.expand(paths.ref or "")
        asked = (project, ref, *globs)
        if asked not in self._found:
            files = self._elsewhere(project, ref, paths) if project else self.files
            self._found[asked] = files is not None and self._exists(globs, paths, files)
        return self._found[asked]

    def _elsewhere(self, project: str, ref: str, paths: Paths) -> Files | None:
        """The tree of another project; GitLab makes it an error of the pipeline when there is none."""
        if self.trigger.reach is None:
            self.out.error(paths.at, f"rules:exists:project `{project}` can only be read by a server")
            return None
        try:
            found = self.trigger.reach.tree(project, ref)
        except RunyardError as error:
            self.out.error(
                paths.at, f"rules:exists:ref `{ref}` is not a valid ref of `{project}`: {error.message}"
            )
            return None
        if found is None:
            self.out.error(paths.at, f"rules:exists:project `{project}` is not a valid project path")
        return found[0] if found else None

    def _exists(self, globs: tuple[str, ...], paths: Paths, files: Files) -> bool:
        names = files.paths()
        compared = 0
        for glob in globs:
            if not set(glob) & set("*?[{"):
                at = bisect_left(names, glob)
                if at < len(names) and (
                    names[at] == glob or (glob.endswith("/") and names[at].startswith(glob))
                ):
                    return True
                continue
            likely = _sharing_prefix(names, glob)
            compared += len(likely)
            if compared > MAX_COMPARISONS or self._any(glob, likely, paths):
                return True
        return False

    def holds(self, rule: Rule, scope: Scope) -> bool:
        """Whether all clauses of a rule hold."""
        self.out.spend(1, rule.at)
        if rule.condition is not None and not rule.condition.holds(scope.plain):
            return False
        try:
            if rule.changes is not None and not self.changed(rule.changes, scope):
                return False
            return rule.exists is None or self.exists(rule.exists, scope)
        except (PatternError, VariableError) as error:
            self.out.error(rule.at, f"rules: {error}")
            return False


def _sharing_prefix(names: Sequence[str], glob: str) -> Sequence[str]:
    """Those of the sorted names that begin as the glob does before its first sign."""
    signs = [at for sign in "*?[{\\" if (at := glob.find(sign)) >= 0]
    prefix = glob[: min(signs)] if signs else glob
    if not prefix:
        return names
    return names[bisect_left(names, prefix) : bisect_left(names, prefix + chr(0x10FFFF))]


def first(rules: tuple[Rule, ...], ground: Ground, scope: Scope) -> Rule | None:
    """The rule that wins."""
    return next((rule for rule in rules if ground.holds(rule, scope)), None)


def decide(job: JobSpec, ground: Ground, scope: Scope, *, workflow_has_rules: bool) -> Verdict | None:
    """How the job starts, or None when it is not in the pipeline."""
    if job.rules is not None:
        return _by_rules(job, job.rules, ground, scope)
    default = None if workflow_has_rules else Policy(refs=("branches", "tags"))
    only = job.only or default
    try:
        if only is not None and not all(_policies(only, ground, scope)):
            return None
        if job.except_ is not None and any(_policies(job.except_, ground, scope)):
            return None
    except (PatternError, VariableError) as error:
        ground.out.error(job.at, f"jobs:{job.name}: {error}")
        return None
    allow = job.allow_failure or AllowFailure(always=job.when == "manual")
    return Verdict(job.when or "on_success", allow, job.start_in_s)


def _by_rules(job: JobSpec, rules: tuple[Rule, ...], ground: Ground, scope: Scope) -> Verdict | None:
    rule = first(rules, ground, scope)
    when = (rule.when or job.when or "on_success") if rule else "never"
    if rule is None or when == "never":
        return None
    return Verdict(
        when,
        # A job that is manual by itself may fail, whatever else its rules say; `when: manual` of a rule does
        # not allow it (GitLab).
        rule.allow_failure or job.allow_failure or AllowFailure(always=job.when == "manual"),
        rule.start_in_s or job.start_in_s,
        rule.variables,
        rule.needs,
        rule.interruptible,
    )


def _policies(policy: Policy, ground: Ground, scope: Scope) -> list[bool]:
    """One answer per key that was given; within a key any element is enough."""
    answers = []
    if policy.refs is not None:
        answers.append(any(_names(ref, ground.trigger) for ref in policy.refs))
    if policy.conditions is not None:
        answers.append(any(condition.holds(scope.plain) for condition in policy.conditions))
    if policy.kubernetes:
        answers.append(False)
    if policy.changes is not None:
        answers.append(ground.changed(policy.changes, scope))
    return answers


def _names(ref: str, trigger: Trigger) -> bool:
    """Whether a `refs` element means this pipeline: a kind of ref, its source or the source's plural, an
    exact ref or a pattern."""
    name, path = _of_project(ref)
    if path and path != trigger.project.path:
        return False
    of_request = trigger.source == "merge_request_event"
    match name:
        case "branches":
            return not trigger.tag and not of_request
        case "tags":
            return trigger.tag
    source = trigger.source.removesuffix("_event")
    if name in (source, f"{source}{'es' if source.endswith('sh') else 's'}"):
        return True
    if of_request:  # exact names and patterns are for branches and tags only
        return False
    pattern = literal(name)
    return pattern.found_in(trigger.ref) if pattern else name == trigger.ref


def _of_project(ref: str) -> tuple[str, str]:
    """`ref@group/project`; of a pattern only what follows its closing slash and flags."""
    if not ref.startswith("/"):
        name, _, path = ref.partition("@")
        return name, path
    name, _, path = ref.rpartition("@")
    return (name, path) if name and literal(name) else (ref, "")
