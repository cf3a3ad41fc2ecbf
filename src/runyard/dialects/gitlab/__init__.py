"""The GitLab door: `.gitlab-ci.yml` and REST API v4, and the runner protocol that every fleet speaks. `app`
imports DIALECT and nothing else.

`config` compiles; `routes` answers; `shapes` and `words` say it GitLab's way. README.md: served, narrower,
refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from runyard.dialects import Asgi, Dialect, PushTrigger, Round
from runyard.dialects.gitlab import config
from runyard.dialects.gitlab.words import WORDS
from runyard.engine.ports import Tx
from runyard.http.services import Services
from runyard.model.access import Role
from runyard.model.plan import JobPlan, Plan, Variable
from runyard.model.trigger import Files, Push, Trigger
from runyard.model.work import Run
from runyard.syntax.variables import KEY


def _mount(services: Services) -> Asgi:
    from runyard.dialects.gitlab.routes import (
        mount,
    )  # FastAPI takes 0.2 s to import; `runyard run` does without it

    return mount(services)


def _compile(trigger: Trigger, files: Files) -> Plan:
    """The plan, whose jobs take the project's own variables at claim: they stay sealed at rest, so a plan
    never holds them."""
    plan = config.compile(trigger, files)
    return replace(
        plan, workflows=tuple(replace(w, jobs=tuple(map(_with_own, w.jobs))) for w in plan.workflows)
    )


def _with_own(job: JobPlan) -> JobPlan:
    return replace(job, project_variables=True)


def _on_push(push: Push, files: Files) -> Sequence[PushTrigger]:
    """A branch or tag with a configuration starts one pipeline. Options (doc/topics/git/commit, "push
    options"): `ci.skip` makes it a skipped one, `ci.no_pipeline` none at all, `ci.variable=KEY=VALUE` and
    `ci.input=key=value` are for this pipeline."""
    if "ci.no_pipeline" in push.options or files.read(config.config_path(push.project)) is None:
        return []
    variables = tuple(
        Variable(key, value) for key, value in _options(push, "ci.variable=") if KEY.fullmatch(key)
    )
    return [PushTrigger("push", {}, variables, dict(_options(push, "ci.input=")))]


def _options(push: Push, prefix: str) -> list[tuple[str, str]]:
    """The key=value pairs of one kind of push option; the value may be in quotes."""
    found = []
    for option in push.options:
        key, equals, value = option.removeprefix(prefix).partition("=")
        if option.startswith(prefix) and equals and key:
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found.append((key, value[1:-1] if quoted else value))
    return found


async def _pushed(services: Services, push: Push) -> Sequence[Run]:
    from runyard.dialects.gitlab import merging

    return await merging.pushed(services, push)


async def _lost(services: Services, push: Push) -> None:
    from runyard.dialects.gitlab import stopping

    await stopping.stop_abandoned(services, push)


def _rounds(services: Services) -> Sequence[Round]:
    """Schedules that fall due, environments whose time to stop has come, cards of jobs that have ended."""
    from runyard.dialects.gitlab import cards, schedules, stopping

    return [
        Round("gitlab schedules", partial(schedules.run_due, services), every_s=5.0),
        Round("gitlab environments", partial(stopping.stop_due, services), every_s=10.0),
        Round("gitlab cards", partial(cards.draw_due, services), every_s=1.0),
    ]


def _facts(tx: Tx, draft: Trigger) -> Mapping[str, Any]:
    """Open merge requests from its branch, the id of its namespace as the API shows it, the actor's role."""
    from runyard.dialects.gitlab import merging
    from runyard.engine.access import standing

    project = draft.project
    group = tx.group_by_path(project.path.rpartition("/")[0])
    role = standing(tx, draft.actor, draft.now).role_in(project) or Role.NONE
    about = {"namespace_id": group.id if group else 0, "actor_role": role.name.lower()}
    return {**merging.known_of(tx, project, draft.ref, draft.tag), **about}


DIALECT = Dialect(
    name="gitlab",
    title="GitLab",
    words=WORDS,
    prefixes=("/api/v4", "/api/graphql", "/.well-known/openid-configuration", "/oauth/discovery/keys"),
    mount=_mount,
    compile=_compile,
    entries=config.entries,
    check=config.check,
    on_push=_on_push,
    rounds=_rounds,
    pushed=_pushed,
    lost=_lost,
    facts=_facts,
    offers=config.offers,
    job_inputs=config.JOB_INPUTS,
)
