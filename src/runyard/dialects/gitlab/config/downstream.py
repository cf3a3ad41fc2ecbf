"""What a bridge starts, and whose archives a job fetches from other pipelines, as the engine's `Bridge` and
`Import` (gitlab.md §3.7, §3.11).

Called by jobplan. A child pipeline runs the project's own commit with what `trigger:include` names; another
project's runs its own file.
"""

from typing import Any

from runyard.dialects.gitlab.config.spec import ForeignNeed, TriggerSpec
from runyard.model.plan import Bridge, Follow, Import, Variable
from runyard.model.trigger import Trigger

CHILD = "child"  # in Trigger.options: {"include": [...], "name": str}, what a child pipeline is made of
PASSED_ON = ("merge_request", "schedule", "protected")  # facts of the event that children know too


def bridge_of(spec: TriggerSpec, trigger: Trigger, name: str, yaml: tuple[Variable, ...]) -> Bridge:
    """The bridge of one trigger job; `yaml` are the variables that its text gives it."""
    follow = Follow(spec.strategy) if spec.strategy else Follow.NONE
    handed_on = yaml if spec.forward_yaml else ()
    if spec.upstream:
        return Bridge("pipeline", follow, project=spec.upstream, existing=True)
    if spec.project:
        return Bridge(
            "pipeline",
            follow,
            project=spec.project,
            ref=spec.branch,
            variables=handed_on,
            hands_on_run_variables=spec.forward_pipeline,
            inputs=spec.inputs,
        )
    options: dict[str, Any] = {key: trigger.options[key] for key in PASSED_ON if key in trigger.options}
    options[CHILD] = {"include": [_element(item, spec) for item in spec.include], "name": name}
    return Bridge(
        "parent_pipeline",
        follow,
        variables=handed_on,
        hands_on_run_variables=spec.forward_pipeline,
        options=options,
    )


def _element(item: Any, spec: TriggerSpec) -> Any:
    """One element of the child's `include`; `trigger:inputs` are for each that has none of its own."""
    if isinstance(item, str):
        kind = "remote" if item.startswith(("http://", "https://")) else "local"
        item = {kind: item}
    return {**item, "inputs": dict(spec.inputs)} if spec.inputs and "inputs" not in item else item


def import_of(need: ForeignNeed) -> Import:
    """A need of another pipeline, as what the claim looks for."""
    return Import(need.job, need.project, need.ref, need.pipeline, need.optional)
