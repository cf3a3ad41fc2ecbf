"""The merged configuration read into a Config: root keywords, defaults, every visible job. Notes all problems
and goes on.

Called by the compiler after includes, extends and references are resolved. A job key replaces the default of
that name; a job key that is null removes it.
"""

from collections.abc import Mapping as Dict

from runyard.dialects.gitlab.config import bridges, fields, keywords, rules
from runyard.dialects.gitlab.config.document import Weigher
from runyard.dialects.gitlab.config.findings import Findings, Place, nearest
from runyard.dialects.gitlab.config.inputs import InputSpec
from runyard.dialects.gitlab.config.jobinputs import TAKING, check_references, job_inputs
from runyard.dialects.gitlab.config.parallel import read_parallel
from runyard.dialects.gitlab.config.runsteps import run_steps
from runyard.dialects.gitlab.config.script import failing
from runyard.dialects.gitlab.config.spec import Config, JobSpec, RetrySpec, VariableSpec, WorkflowSpec
from runyard.syntax.yamltree import Entry, Mapping, Mark, Node, Scalar, Sequence

MONTH_S = 30 * 86400
MAX_NAME = 255
MAX_JOBS = 20_000
MAX_TAGS = 49

ROOT = (
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
)
RESERVED_NAMES = frozenset((*ROOT, "spec", "types", "true", "false", "nil"))
DEFAULTS = (
    "before_script", "after_script", "hooks", "cache", "image", "services", "interruptible", "timeout", "retry", "tags",
    "artifacts", "id_tokens", "identity",
)  # fmt: skip
_GLOBAL_DEFAULTS = ("before_script", "image", "services", "after_script", "cache")

# What one job asks for is no reason to refuse the others: it fails when it runs, before its script or after
# it.
UNSERVED = {
    "secrets": "external secret stores are not served; use CI/CD variables",
    "identity": "workload identity is not served",
    "dast_configuration": "DAST profiles are not served",
}
TWO_PIPELINES = "may allow multiple pipelines to run for a single action due to `rules:when` clause with no `workflow:rules`"
UNSERVED_AFTER = {"release": "releases are not served"}
JOB = (
    *DEFAULTS, *UNSERVED, *UNSERVED_AFTER, "script", "trigger", "stage", "when", "start_in", "coverage", "parallel", "environment", "allow_failure",
    "dependencies", "needs", "rules", "only", "except", "variables", "resource_group", "inherit", "extends",
    "manual_confirmation", "pages", "publish", "inputs", "run",
)  # fmt: skip


def read(root: Mapping, out: Findings) -> Config:
    """The configuration; trust it only when `out` has no errors."""
    place = Place("root", out)
    defaults = _defaults(root, out)
    stages = _stages(root.get("stages"), Place("stages", out))
    variables, workflow = root.get("variables"), root.get("workflow")
    jobs: dict[str, JobSpec] = {}
    weigh = Weigher()
    entries = [(name, entry) for name, entry in root.entries.items() if name not in ROOT]
    for name, entry in entries:
        if name.startswith("."):
            continue
        if not _may_be_job(name, entry, place):
            continue
        if len(jobs) >= MAX_JOBS:
            place.wrong(entry.key.at, f"has more than {MAX_JOBS} jobs")
            break
        assert isinstance(entry.value, Mapping)  # noqa: S101 - _may_be_job looked
        out.spend(weigh(entry.value), entry.key.at)
        jobs[name] = _job(name, entry.key.at, entry.value, defaults, out)
    if not jobs and not out.errors and not out.trusting:
        told = "jobs whose names begin with a dot are templates for `extends`" if entries else ""
        out.error(root.at, "jobs config should contain at least one visible job", told)
    ruled = _workflow(workflow, Place("workflow", out)) if workflow is not None else WorkflowSpec()
    if ruled.rules is None and not out.trusting:  # an include that is not read here may have them
        _warn_of_two_pipelines(jobs, out)
    return Config(root.at, stages, jobs, _root_variables(variables, out), ruled)


def _warn_of_two_pipelines(jobs: dict[str, JobSpec], out: Findings) -> None:
    for job in jobs.values():
        if job.rules and rules.may_start_two_pipelines(job.rules):
            out.warn(job.rules[-1].at, f"jobs:{job.name} {TWO_PIPELINES}")


def _root_variables(node: Node | None, out: Findings) -> dict[str, VariableSpec]:
    if node is None or fields.is_null(node):
        return {}
    return rules.variables_of(node, Place("variables", out), described=True)


def _may_be_job(name: str, entry: Entry, place: Place) -> bool:
    at = entry.key.at
    if name in RESERVED_NAMES:
        hint = "`spec` is a document of its own: write `---` after it" if name == "spec" else ""
        place.error(at, f"jobs:{name} config: `{name}` is a reserved word and cannot name a job", hint)
    elif not isinstance(entry.value, Mapping):
        place.wrong(at, f"contains unknown keys: {name[:80]}", nearest(name, ROOT))
    elif any(ord(char) < 32 or ord(char) == 127 for char in name):
        place.error(at, f"jobs name {name[:40]!r} contains control characters")
    elif not name.strip():
        place.error(at, "jobs name can't be blank")
    elif len(name) > MAX_NAME:
        place.error(at, f"jobs:{name[:40]}… name is too long (maximum is {MAX_NAME} characters)")
    else:
        return True
    return False


def _defaults(root: Mapping, out: Findings) -> dict[str, Node]:
    node = root.get("default")
    found: dict[str, Node] = {}
    if node is not None and not fields.is_null(node):
        place = Place("default", out)
        mapping = fields.mapping(node, place, DEFAULTS)
        for key, entry in mapping.entries.items() if mapping else ():
            found[key] = entry.value
    for key in _GLOBAL_DEFAULTS:
        value = root.get(key)
        if value is None:
            continue
        if key in found:
            out.error(root.key_at(key), f"root:{key} is defined both at the top level and in `default:`")
        found[key] = value
    return found


def _stages(node: Node | None, place: Place) -> tuple[str, ...]:
    names: tuple[str, ...] | None = ("build", "test", "deploy")
    if node is not None and not fields.is_null(node):
        names = fields.texts(node, place, 1000)
        for name in names or ():
            if not 0 < len(name) <= MAX_NAME or any(ord(char) < 32 for char in name):
                place.wrong(node.at, f"has a bad name: {name[:40]!r}")
    middle = [name for name in dict.fromkeys(names or ()) if name not in (".pre", ".post")]
    return (".pre", *middle, ".post")


def _workflow(node: Node, place: Place) -> WorkflowSpec:
    if fields.is_null(node):
        return WorkflowSpec()
    found = fields.mapping(node, place, ("name", "rules", "auto_cancel"))
    if found is None:
        return WorkflowSpec()
    name, listed = found.get("name"), found.get("rules")
    text = fields.scalar_text(name, place.sub("name")) if name and not fields.is_null(name) else None
    if name is not None and text is not None and len(text) > MAX_NAME:
        place.wrong(name.at, f"name is too long (maximum is {MAX_NAME} characters)")
    stop = rules.auto_cancel(found.get("auto_cancel"), place.sub("auto_cancel"))
    return WorkflowSpec(
        name=text,
        rules=rules.workflow_rules(listed, place.sub("rules"))
        if listed and not fields.is_null(listed)
        else None,
        on_new_commit=stop.get("on_new_commit", "conservative"),
        on_job_failure=stop.get("on_job_failure", "none"),
    )


class _Keys:
    """A job's own keys over the defaults it inherits."""

    def __init__(
        self, job: Mapping, defaults: dict[str, Node], inherits: bool | frozenset[str], place: Place
    ) -> None:
        self.job, self.place = job, place
        self.defaults = {
            k: v for k, v in defaults.items() if inherits is True or (inherits and k in inherits)
        }

    def get(self, key: str) -> tuple[Node, Place] | None:
        """The node with its place, or None when absent or null."""
        node = self.job.get(key) if key in self.job.entries else self.defaults.get(key)
        return None if node is None or fields.is_null(node) else (node, self.place.sub(key))

    def lines(self, key: str) -> tuple[str, ...]:
        found = self.get(key)
        return (fields.lines(*found) or ()) if found else ()

    def texts(self, key: str, most: int) -> tuple[str, ...] | None:
        found = self.get(key)
        return fields.texts(*found, most) if found else None

    def flag(self, key: str) -> bool:
        found = self.get(key)
        return bool(found and fields.boolean(*found))

    def text(self, key: str) -> str | None:
        found = self.get(key)
        return fields.text(*found) if found else None

    def seconds(self, key: str, most_s: int) -> int | None:
        found = self.get(key)
        return fields.duration(*found, most_s) if found else None


def _job(name: str, at: Mark, job: Mapping, defaults: dict[str, Node], out: Findings) -> JobSpec:
    place = Place(f"jobs:{name}", out)
    fields.unknown_keys(job, place, JOB)
    inherit = job.get("inherit")
    of_default, of_variables = (
        keywords.inherit(inherit, place.sub("inherit"), DEFAULTS) if inherit else (True, True)
    )
    keys = _Keys(job, defaults, of_default, place)
    triggered, needs = keys.get("trigger"), keys.get("needs")
    own, foreign = rules.all_needs(*needs) if needs else (None, ())
    trigger = bridges.trigger(*triggered) if triggered else bridges.upstream(foreign)
    _refuse(name, at, job, place, is_bridge=trigger is not None or triggered is not None)
    _check_together(job, place)
    if trigger is not None:
        bridges.check_bridge(job, foreign, place)
        keys = _Keys(job, {k: v for k, v in defaults.items() if k == "interruptible"}, of_default, place)
    stage = keys.get("stage")
    image, services, cache = keys.get("image"), keys.get("services"), keys.get("cache")
    artifacts, retry, parallel = keys.get("artifacts"), keys.get("retry"), keys.get("parallel")
    variables, dependencies, tokens = keys.get("variables"), keys.get("dependencies"), keys.get("id_tokens")
    listed, only, except_ = keys.get("rules"), keys.get("only"), keys.get("except")
    when, allow, coverage = keys.get("when"), keys.get("allow_failure"), keys.get("coverage")
    environment, listed_steps = keys.get("environment"), keys.get("run")
    run = run_steps(listed_steps[0], job, place.sub("run")) if listed_steps else None
    return JobSpec(
        name=name,
        at=at,
        stage=(fields.text(*stage) if stage else None) or "test",
        stage_at=stage[0].at if stage else at,
        script=(*(run.commands if run else keys.lines("script")), *_failing(keys, UNSERVED_AFTER)),
        before_script=(*_failing(keys, UNSERVED), *(() if run else keys.lines("before_script"))),
        after_script=() if run else keys.lines("after_script"),
        pre_get_sources=_hooks(keys.get("hooks")),
        image=keywords.image(*image) if image else None,
        services=keywords.services(*services) if services else (),
        variables=rules.variables_of(*variables) if variables else {},
        inherit_variables=of_variables,
        tags=keys.texts("tags", MAX_TAGS) or (),
        rules=rules.job_rules(*listed) if listed else None,
        only=rules.policy(*only) if only else None,
        except_=rules.policy(*except_) if except_ else None,
        when=fields.choice(*when, (w for w in rules.WHENS if w != "never")) if when else None,
        start_in_s=keys.seconds("start_in", rules.WEEK_S),
        allow_failure=rules.allow_failure(*allow) if allow else None,
        needs=own,
        foreign=tuple(need for need in foreign if need.job),
        trigger=trigger,
        id_tokens=bridges.id_tokens(*tokens) if tokens else (),
        dependencies=fields.texts(*dependencies) if dependencies else None,
        dependencies_at=dependencies[0].at if dependencies else None,
        artifacts=keywords.artifacts(*artifacts) if artifacts else None,
        cache=keywords.caches(*cache) if cache else (),
        retry=keywords.retry(*retry) if retry else RetrySpec(),
        timeout_s=keys.seconds("timeout", MONTH_S),
        interruptible=keys.flag("interruptible"),
        resource_group=keys.text("resource_group"),
        parallel=read_parallel(*parallel) if parallel else None,
        coverage=keywords.coverage(*coverage) if coverage else None,
        environment=keywords.environment(*environment) if environment else None,
        manual_confirmation=keys.text("manual_confirmation"),
        inputs=_inputs(keys, place),
        run=run.steps if run else (),
    )


def _inputs(keys: _Keys, place: Place) -> Dict[str, InputSpec]:
    found = keys.get("inputs")
    inputs = job_inputs(*found) if found else {}
    if inputs:
        check_references((taking for key in TAKING if (taking := keys.get(key))), inputs, place)
    return inputs


def _hooks(found: tuple[Node, Place] | None) -> tuple[str, ...]:
    mapping = fields.mapping(*found, ("pre_get_sources_script",)) if found else None
    node = mapping.get("pre_get_sources_script") if mapping else None
    return (fields.lines(node, found[1].sub("pre_get_sources_script")) or ()) if node and found else ()


def _failing(keys: _Keys, unserved: Dict[str, str]) -> list[str]:
    """Commands that end a job which asks for something of these, itself or by default; a warning for each."""
    found = []
    for key, why in unserved.items():
        if asked := keys.get(key):
            node, place = asked
            at = keys.job.key_at(key) if key in keys.job.entries else node.at
            said = f"{place.path} is not served: {why}"
            place.out.warn(at, f"{said}. The job fails when it runs")
            found.append(failing(said))
    return found


def _refuse(name: str, at: Mark, job: Mapping, place: Place, *, is_bridge: bool) -> None:
    is_half = (
        place.out.trusting or name in place.out.halves
    )  # the rest may stand in an include that was not read
    if not is_bridge and "run" not in job.entries and not is_half:
        script = job.get("script")
        if script is None or fields.is_null(script):
            what = f"{place.path} config should implement the script:, run:, or trigger: keyword"
            place.error(at, what, _meant(name, job))
        elif (isinstance(script, Scalar) and not script.text.strip()) or (
            isinstance(script, Sequence) and not script.items
        ):
            place.error(script.at, f"{place.path}:script config can't be blank")
    is_pages = name == "pages" or "pages" in job.entries
    if "publish" in job.entries and not is_pages:
        place.error(
            job.key_at("publish"), f"{place.path} config publish can only be used within a `pages` job"
        )
    if is_pages:
        place.out.warn(at, f"{place.path}: the job runs, but its pages are not published")


def _meant(name: str, job: Mapping) -> str:
    """What somebody may have wanted who wrote a job without a script."""
    if name == "jobs" or {"runs-on", "steps"} & set(job.entries):
        return "this is the form of GitHub Actions: it belongs into .github/workflows"
    return nearest(name, ROOT)


def _check_together(job: Mapping, place: Place) -> None:
    if "rules" in job.entries and not fields.is_null(job.get("rules")):
        both = [
            key
            for key in ("only", "except", "start_in")
            if key in job.entries and not fields.is_null(job.get(key))
        ]
        if both:
            place.wrong(job.key_at(both[0]), f"key may not be used with `rules`: {', '.join(both)}")
        return
    when = job.get("when")
    delayed = isinstance(when, Scalar) and when.text == "delayed"
    if delayed and "start_in" not in job.entries and when is not None:
        place.wrong(when.at, "start_in should be a duration when `when: delayed`")
    if "start_in" in job.entries and not delayed:
        place.wrong(job.key_at("start_in"), "start_in must be blank unless `when: delayed`")
