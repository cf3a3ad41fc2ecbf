"""Logical checks over all jobs of a configuration, whatever rules will say: stages, needs, dependencies,
cycles (gitlab.md §3.1, §3.7).

Called by the compiler after reading, so `runyard check` finds them without a trigger. Sentences are GitLab's.
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from runyard.dialects.gitlab.config.findings import Findings, nearest
from runyard.dialects.gitlab.config.interpolation import OPEN
from runyard.dialects.gitlab.config.parallel import leg_count, leg_name, legs, of_leg
from runyard.dialects.gitlab.config.spec import Config, JobSpec, NeedSpec
from runyard.model.trigger import ServerFacts

MAX_LEGS = 20_000
USUAL_NEEDS = ServerFacts().needs_per_job


class Names:
    """Who a need may name: jobs, and single legs of parallel ones (`job 1/3`, `job: [a]`)."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._legs: dict[str, str] | None = None

    def job_of(self, name: str) -> JobSpec | None:
        """The job that `name` is, or is a leg of."""
        found = self.config.jobs.get(name)
        if found is None and ("/" in name or ": [" in name):
            base = self._leg_bases().get(name)
            found = self.config.jobs[base] if base else None
        return found

    def _leg_bases(self) -> dict[str, str]:
        if self._legs is None:
            parallel = [job for job in self.config.jobs.values() if job.parallel is not None]
            self._legs = {leg.name: job.name for job in parallel for leg in legs(job.name, job.parallel)}
        return self._legs


def check_graph(config: Config, most_needs: int | None, out: Findings) -> None:
    """Notes every problem between jobs. `most_needs` of one job; None: the server that will run it is not
    known, so more than a server takes unless told otherwise is worth a warning only."""
    count = sum(leg_count(job.parallel) for job in config.jobs.values())
    if count > MAX_LEGS:
        out.error(config.at, f"the configuration makes {count} jobs; at most {MAX_LEGS} are allowed")
        return
    _check_leg_names(config, out)
    order = {stage: i for i, stage in enumerate(config.stages)}
    names = Names(config)
    for job in config.jobs.values():
        if job.stage not in order:
            known = ", ".join(config.stages)
            message = f"{job.name} job: chosen stage {job.stage} does not exist; available stages are {known}"
            out.undefined(job.stage_at, message, nearest(job.stage, config.stages))
            continue
        for needs in _lists(job):
            if _are_too_many(job, needs, most_needs, out):
                continue
            _check_needs(job, needs, names, order, out)
        _check_dependencies(job, names, order, out)
        _check_on_stop(job, config, out)
    if not out.errors:
        _check_cycles(config, names, out)


def _check_leg_names(config: Config, out: Findings) -> None:
    """Two jobs of one name could not be told apart by needs, by retries or in the list."""
    seen = set(config.jobs)
    for job in config.jobs.values():
        if job.parallel is None:
            continue
        for leg in legs(job.name, job.parallel):
            if leg.name in seen:
                out.error(job.at, f"jobs:{job.name}:parallel makes two jobs named `{leg.name[:80]}`")
            seen.add(leg.name)


def _lists(job: JobSpec) -> Iterator[tuple[NeedSpec, ...]]:
    if job.needs is not None:
        yield job.needs
    for rule in job.rules or ():
        if rule.needs is not None:
            yield rule.needs


def _are_too_many(job: JobSpec, needs: tuple[NeedSpec, ...], most: int | None, out: Findings) -> bool:
    """GitLab's administrators set this limit (`ci_needs_size_limit`), ours by RUNYARD_NEEDS_PER_JOB."""
    if len(needs) <= (USUAL_NEEDS if most is None else most):
        return False
    said = f"{job.name} job: one job can only need {{}} others, but {len(needs)} are listed"
    if most is not None:
        out.error(needs[0].at, said.format(most))
        return True
    out.warn(needs[0].at, f"{said.format(USUAL_NEEDS)}, unless RUNYARD_NEEDS_PER_JOB allows more")
    return False


def _check_needs(
    job: JobSpec, needs: tuple[NeedSpec, ...], names: Names, order: dict[str, int], out: Findings
) -> None:
    seen: set[str] = set()
    for need in needs:
        shown = _shown(job, need)
        if seen & set(shown):
            out.error(need.at, f"{job.name} has the following needs duplicated: {need.job}.")
        seen |= set(shown)
        target = names.job_of(need.job)
        if need.optional and target is None:
            continue  # it need not exist anywhere
        if target is None or not all(names.job_of(name) for name in shown):
            hint = _stage_hint(need.job, names.config) or nearest(need.job, names.config.jobs)
            out.undefined(
                need.at, f"{job.name} job: undefined need: {shown[0] if target else need.job}", hint
            )
        elif out.halves & {job.name, target.name}:
            continue  # their stages may stand in an include that was not read
        elif target.name == job.name or order.get(target.stage, 0) > order[job.stage]:
            out.error(need.at, f"{job.name} job: need {need.job} is not defined in current or prior stages")


def _stage_hint(name: str, config: Config) -> str:
    """For who needs a whole stage."""
    members = [job.name for job in config.jobs.values() if job.stage == name]
    return f"`{name}` is a stage; name its jobs: {', '.join(members[:10])}" if members else ""


def _shown(job: JobSpec, need: NeedSpec) -> list[str]:
    """The names that a need stands for, whichever leg of its job asks."""
    if not any(OPEN in value for values in need.matrix for value in values.values()):
        return [leg_name(need.job, values) for values in need.matrix] or [need.job]
    asked = [one for leg in legs(job.name, job.parallel) for one in of_leg((need,), leg)]
    return list(dict.fromkeys(leg_name(need.job, values) for one in asked for values in one.matrix))


def _check_dependencies(job: JobSpec, names: Names, order: dict[str, int], out: Findings) -> None:
    at = job.dependencies_at or job.at
    needed = {need.job for need in job.needs} if job.needs is not None else None
    for name in job.dependencies or ():
        target = names.job_of(name)
        if target is None:
            out.undefined(
                at, f"{job.name} job: undefined dependency: {name}", nearest(name, names.config.jobs)
            )
        elif out.halves & {job.name, target.name}:
            continue
        elif needed is not None and name not in needed:
            out.error(at, f"{job.name} job: dependencies the {name} should be part of needs")
        elif needed is None and order.get(target.stage, 0) >= order[job.stage]:
            out.error(at, f"{job.name} job: dependency {name} is not defined in prior stages")


def _check_on_stop(job: JobSpec, config: Config, out: Findings) -> None:
    stop = job.environment.on_stop if job.environment else None
    if stop is None:
        return
    target = config.jobs.get(stop)
    if target is None:
        out.undefined(
            job.at, f"{job.name} job: on_stop job {stop} is not defined", nearest(stop, config.jobs)
        )
    elif target.environment is None:
        out.error(job.at, f"{job.name} job: on_stop job {stop} does not have environment defined")
    elif target.environment.action != "stop":
        out.error(job.at, f"{job.name} job: on_stop job {stop} needs to have action stop defined")


def _check_cycles(config: Config, names: Names, out: Findings) -> None:
    graph = {}
    for job in config.jobs.values():
        targets = (names.job_of(need.job) for needs in _lists(job) for need in needs)
        graph[job.name] = [target.name for target in targets if target]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        members = error.args[1][::-1]  # each needs the next; the last is the first again
        shown = " needs ".join(members[:10])
        out.error(config.jobs[members[0]].at, f"The pipeline has circular dependencies: {shown}")
