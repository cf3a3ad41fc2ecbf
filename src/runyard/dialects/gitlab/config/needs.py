"""Which jobs of the pipeline a job waits for and fetches artifacts from, once rules have said who is there
(gitlab.md §3.7).

Called by lower.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runyard.dialects.gitlab.config.findings import Findings
from runyard.dialects.gitlab.config.graph import Names
from runyard.dialects.gitlab.config.parallel import Leg, leg_name
from runyard.dialects.gitlab.config.spec import JobSpec, NeedSpec
from runyard.model.plan import Need


@dataclass(slots=True)
class Present:
    """Jobs that are in the pipeline, by base name and by leg."""

    names: Names
    legs: dict[str, list[str]] = field(default_factory=dict)
    giving: dict[str, int] = field(
        default_factory=dict
    )  # base names with an archive, by stage order of arrival
    _all: set[str] = field(default_factory=set)

    def add(self, job: JobSpec, leg: Leg) -> None:
        self.legs.setdefault(job.name, []).append(leg.name)
        self._all.add(leg.name)
        if job.artifacts is not None and (job.artifacts.paths or job.artifacts.untracked):
            self.giving.setdefault(job.name, len(self.giving))

    def has(self, name: str) -> bool:
        """A job with any leg, or a single leg."""
        return name in self.legs or name in self._all

    def gives(self, name: str) -> bool:
        """Whether it, or the job it is a leg of, leaves an archive."""
        job = self.names.job_of(name)
        return job is not None and job.name in self.giving


def wanted(need: NeedSpec) -> list[str]:
    """The names that one element of `needs` stands for."""
    return [leg_name(need.job, values) for values in need.matrix] or [need.job]


def needs_of(name: str, specs: tuple[NeedSpec, ...], present: Present, out: Findings) -> tuple[Need, ...]:
    """Needs that exist; an absent one that is not optional is an error of the pipeline."""
    found: dict[str, Need] = {}
    for spec in specs:
        for group in wanted(spec):
            if present.has(group):
                found.setdefault(group, Need(group, artifacts=spec.artifacts))
            elif not spec.optional:
                out.error(
                    spec.at,
                    f"'{name}' job needs '{group}' job, but '{group}' does not exist in the pipeline. "
                    "The only, except or rules keywords may have left it out.",
                    "use `needs:optional` for a job that sometimes does not exist",
                )
    return tuple(found.values())


def download_of(
    job: JobSpec, specs: tuple[NeedSpec, ...] | None, present: Present, rank: int, ranks: Mapping[str, int]
) -> dict[str, Any] | None:
    """Parameters of the download step; None when nobody could give anything. `jobs` narrows what needs or
    stages allow."""
    if specs is not None:
        groups = [group for spec in specs if spec.artifacts for group in wanted(spec) if present.gives(group)]
    else:
        groups = (
            [name for name in present.giving if ranks[present.names.config.jobs[name].stage] < rank]
            if rank
            else []
        )
    if job.dependencies is None or (specs is None and not rank):
        return {"from": "needs"} if groups or job.foreign else None
    # An empty list is kept: it also says that no dotenv report of an earlier stage is handed on.
    return {"from": "needs", "jobs": [name for name in job.dependencies if present.has(name)]}


def dependency_names(
    job: JobSpec, needs: tuple[Need, ...] | None, present_legs: Mapping[str, list[str]]
) -> list[str] | None:
    """Full names whose archives are fetched; None: those of all earlier stages."""
    if job.dependencies is not None:
        names = list(job.dependencies)
    elif needs is not None:
        names = [need.group for need in needs if need.artifacts]
    else:
        return None
    return [leg for name in names for leg in present_legs.get(name, [name])]
