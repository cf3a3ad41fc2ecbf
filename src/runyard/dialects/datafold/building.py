"""Runs that a push starts: the repository's own dbt project is built at the fork and at the pushed commit,
then the models that differ are compared.

Called by rounds. The build is one job of ordinary steps in the sandbox (check out both, write profiles, dbt);
its manifests decide what is compared. On a server database each side is a schema of the data source; with
DuckDB both are schemas of a fresh file that the diffs are handed, and the data source's own file is attached
read-only: nothing is written to it.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from runyard.dialects.datafold import manifests, modified, pairs, renames, runs, sources
from runyard.dialects.datafold.compile import WORKFLOW, kept, own_paths, reach, shown
from runyard.dialects.datafold.life import Life, models_of, notes_of, reasons_of
from runyard.dialects.datafold.section import Section
from runyard.dialects.datafold.shapes import Builds, CiConfig
from runyard.engine.control import conclude
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.engine.trigger import extend
from runyard.http.bodies import decode_json
from runyard.http.services import Services
from runyard.model.errors import NotFound, RunyardError
from runyard.model.plan import Bind, ConnectionUse, JobPlan, Need, Network, StepKind, StepPlan
from runyard.model.state import Outcome, State
from runyard.model.work import Artifact, Connection, Project, Record, Run
from runyard.syntax.ignores import Ignores

BUILD_KEY = "build"
DATABASE = "runyard_build.duckdb"  # must not be called like an attached file
SIDES = ("base", "pr")
MANIFEST = "dbt_manifest_"
MOST_MANIFEST_BYTES = 256 << 20
KEPT_S = 7 * 86400
_DEPS = 'if [ -e packages.yml ] || [ -e dependencies.yml ]; then exec "$0" deps; fi'


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pushed run is built."""

    owner: Record
    config: CiConfig
    project: Project
    connection: Connection

    @property
    def use(self) -> ConnectionUse:
        """The data source as the build sees it."""
        return sources.for_job(self.connection)

    @property
    def builds(self) -> Builds:
        """The administrator's word on builds."""
        return self.config.builds or Builds()


async def go_on(services: Services, run: Run) -> None:
    """One step of a pushed run's life: its build, or its diffs once the build has ended."""
    graph = await services.db.read(lambda tx: tx.graph(run.id))
    if not graph:
        await _begin(services, run)
        return
    (job, attempt), *rest = graph
    if job.key != BUILD_KEY or rest or attempt.state is not State.DONE:
        return
    if attempt.outcome is Outcome.PASSED:
        await _compare(services, run)
    else:
        now = services.now()
        await services.db.write(lambda tx: conclude(tx, run.id, now))


async def _begin(services: Services, run: Run) -> None:
    section = Section.model_validate(runs.about(run)["build"])
    place = await services.db.read(lambda tx: _place(tx, run, section))
    now, terms = services.now(), services.terms
    if isinstance(place, str):
        job = _refusal(place)
        await services.db.write(
            lambda tx: (extend(tx, run.id, WORKFLOW, [job], now, terms), conclude(tx, run.id, now))
        )
        return
    branch = section.base_branch or place.config.custom_base_branch or place.project.default_branch
    change = await Life(services).change(place.project, run.sha, "", branch)
    told: dict[str, Any] = {
        "ci_config_id": place.owner.id,
        "base_branch": branch,
        "base_sha": change.base,
        "merge_base": change.base,
        "renames": [[r.old, r.new, r.models] for r in renames.collect(change.messages, ())],
    }
    ignored = Ignores(place.config.files_to_ignore).ignores_all(sorted(change.files or ()))
    if not change.base:
        jobs = [
            _refusal(f"The branch {branch} and this commit have no common history here: push {branch} first.")
        ]
    else:
        jobs = [] if ignored else [build_job(place, section, run, change.base)]

    def start(tx: Tx) -> None:
        fresh = tx.get(Run, run.id)
        if fresh is None or fresh.state is State.DONE or tx.graph(run.id):
            return  # another replica was faster
        runs.cancel_older(tx, place.owner, runs.tell(tx, fresh, **told), now)
        extend(tx, run.id, WORKFLOW, jobs, now, terms)
        if ignored:
            conclude(tx, run.id, now)

    await services.db.write(start)


def _place(tx: Tx, run: Run, section: Section) -> Place | str:
    """Where to build, or why nowhere."""
    project = tx.get(Project, run.project_id)
    found = [
        r
        for r in tx.records(runs.CONFIG, run.project_id, None, Page(limit=1000, descending=False))
        if section.config in ("", r.id, r.data.get("name"), str(r.id))
    ]
    if project is None or not found:
        named = f" {section.config!r}" if section.config else ""
        return (
            f"There is no CI configuration{named} for this repository. An administrator makes one with POST /api/v1/ci "
            '{"name": …, "repository": …, "data_source_id": …, "builds": {}}.'
        )
    if len(found) > 1:
        return 'This repository has several CI configurations; say which with `config = "name"` under [datafold].'
    config = runs.options(found[0])
    if config.builds is None:
        return (
            f"The CI configuration {config.name} does not allow builds. An administrator allows them with PATCH /api/v1/ci/{found[0].id} "
            "{\"builds\": {}}: the project's code will get the data source's password."
        )
    return Place(found[0], config, project, sources.find(tx, config.data_source_id))


def _refusal(message: str) -> JobPlan:
    """A job that says why there is nothing to do, where the person who pushed will look."""
    program = "import sys; sys.exit(sys.argv[1])"
    step = StepPlan("refused", "Find the configuration", argv=(sys.executable, "-I", "-c", program, message))
    return JobPlan(key=BUILD_KEY, name="dbt build", steps=(step,), network=Network.NONE, binds=_paths(""))


def _paths(environment: str) -> tuple[Bind, ...]:
    """Our own program, and the environment that has dbt with the Python under it."""
    paths = own_paths()
    if environment:
        python = (Path(environment) / "bin/python").resolve().parent.parent
        paths = [*paths, environment, *([] if python.is_relative_to("/usr") else [str(python)])]
    return tuple(Bind(path) for path in dict.fromkeys(paths))


def build_job(place: Place, section: Section, run: Run, base: str) -> JobPlan:
    """Both sides' dbt builds, one after the other: a DuckDB file has one writer."""
    builds, use = place.builds, place.use
    is_file = use.settings["dialect"] == "duckdb"
    steps = [
        *(_checkout(side, sha) for side, sha in zip(SIDES, (base, run.sha), strict=True)),
        _profiles(place, section, run),
        *(step for side in SIDES for step in _side(section, builds, side)),
        *(
            kept(
                f"manifest-{s}",
                f"Keep the manifest of {s}",
                "manifest.json",
                MANIFEST + s,
                _target(section, s),
            )
            for s in SIDES
        ),
    ]
    if is_file:
        params = {
            "name": BUILD_KEY,
            "paths": [DATABASE],
            "format": "zip",
            "type": "archive",
            "expire_in_s": KEPT_S,
        }
        steps.append(StepPlan("database", "Keep the built database", StepKind.UPLOAD, params=params))
    network = Network(builds.network) if builds.network else reach([use])
    return JobPlan(
        key=BUILD_KEY,
        name="dbt build",
        steps=tuple(steps),
        connections=(use,),
        network=network,
        binds=tuple(dict.fromkeys([*shown([use]), *_paths(builds.environment)])),
        timeout_s=builds.timeout_s,
    )


def _checkout(side: str, sha: str) -> StepPlan:
    return StepPlan(
        f"checkout-{side}",
        f"Check out {side}",
        StepKind.CHECKOUT,
        params={"path": side, "sha": sha, "depth": 1},
    )


def _profiles(place: Place, section: Section, run: Run) -> StepPlan:
    spec = {
        "connection": place.use.name,
        "projects": [f"{side}/{section.project_dir}" for side in SIDES],
        "targets": {side: schema_of(place.owner, run, side) for side in SIDES},
        "threads": section.threads,
        "file": f"{_up(section)}{DATABASE}",
    }
    argv = (sys.executable, "-I", "-m", "runyard.tasks.dbt", "--spec", "{script}", "--out", "profiles")
    return StepPlan("profiles", "Write dbt profiles", argv=argv, script=json.dumps(spec, indent=1))


def schema_of(owner: Record, run: Run, side: str) -> str:
    """One schema per configuration, branch and side; the next push of the branch builds over it."""
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in run.ref.lower())[:24].strip("_")
    return f"runyard_{owner.id}_{plain}_{sha256(run.ref.encode()).hexdigest()[:6]}_{side}"


def _up(section: Section) -> str:
    """From where dbt runs to the workspace."""
    return "../" * (1 + len([p for p in section.project_dir.split("/") if p != "."]))


def _folder(section: Section, side: str) -> str:
    return side if section.project_dir == "." else f"{side}/{section.project_dir}"


def _target(section: Section, side: str) -> str:
    return f"{_folder(section, side)}/target"


def _side(section: Section, builds: Builds, side: str) -> list[StepPlan]:
    """Set-up, packages and dbt of one side."""
    dbt = f"{builds.environment}/bin/dbt" if builds.environment and section.dbt == "dbt" else section.dbt
    env = {
        "DBT_PROFILES_DIR": f"{_up(section)}profiles",
        "DBT_TARGET_PATH": "target",
        "DBT_LOG_PATH": "logs",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DBT_VERSION_CHECK": "false",
        "DBT_USE_COLORS": "false",
    }
    if builds.environment:
        env["PATH"] = f"{builds.environment}/bin:/usr/local/bin:/usr/bin:/bin"
    cwd = _folder(section, side)

    def step(key: str, name: str, argv: tuple[str, ...]) -> StepPlan:
        return StepPlan(f"{key}-{side}", f"{name} ({side})", argv=argv, env=env, cwd=cwd)

    return [
        *(step(f"setup{n}", text[:60], ("sh", "-ec", text)) for n, text in enumerate(section.setup)),
        step("deps", "dbt deps", ("sh", "-c", _DEPS, dbt)),
        *(
            step(f"dbt{n}", f"dbt {text[:60]}", (dbt, *shlex.split(text), "--target", side))
            for n, text in enumerate(section.commands)
        ),
    ]


async def _compare(services: Services, run: Run) -> None:
    """The models that differ between the two manifests become diffs."""
    told = runs.about(run)

    def look(tx: Tx) -> tuple[Record, Connection, dict[str, Artifact]]:
        owner = runs.config(tx, int(told["ci_config_id"]))
        found = tx.artifacts(ArtifactFilter(run_id=run.id), Page(limit=100))
        return owner, sources.find(tx, runs.options(owner).data_source_id), {a.type: a for a in found}

    now, terms = services.now(), services.terms
    try:
        owner, connection, kept_files = await services.db.read(look)
        config = runs.options(owner)
        digests = [
            await asyncio.to_thread(_digest, services, kept_files.get(MANIFEST + side), config)
            for side in SIDES
        ]
    except RunyardError as error:  # the configuration was removed meanwhile, or dbt left no manifest
        note = f"Nothing was compared: {error.message}"
        await services.db.write(lambda tx: runs.give(tx, run.id, [], now, terms, notes=[note]))
        return
    chosen = await asyncio.to_thread(modified.select, digests[0], digests[1], slim=config.slim_diff)
    models = await asyncio.to_thread(models_of, chosen, digests[0], digests[1])
    jobs = pairs.from_models(models, config, connection, told, _built(sources.for_job(connection)))
    notes, why = notes_of(chosen), reasons_of(chosen, digests[1])
    await services.db.write(lambda tx: runs.give(tx, run.id, jobs, now, terms, notes=notes, reasons=why))


def _digest(services: Services, artifact: Artifact | None, config: CiConfig) -> Mapping[str, Any]:
    if artifact is None or artifact.size_bytes > MOST_MANIFEST_BYTES:
        raise NotFound("dbt left no manifest.json in its target folder.")
    data = b"".join(services.blobs.open(artifact.blob))
    return manifests.digest(decode_json(data), config.primary_key_tag)


def _built(use: ConnectionUse) -> pairs.Built:
    needs = (Need(BUILD_KEY, artifacts=False),)
    if use.settings["dialect"] != "duckdb":
        return pairs.Built(use, needs)
    own = ConnectionUse(use.name, use.connection_id, {**use.settings, "file": DATABASE})
    params = {"from": "run", "name": BUILD_KEY, "path": ""}
    return pairs.Built(
        own, needs, (StepPlan("database", "Bring the built database", StepKind.DOWNLOAD, params=params),)
    )
