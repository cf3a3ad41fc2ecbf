"""Archives that a job fetches from runs it is not part of (`JobPlan.imports`): of its family of child runs,
or the newest passed one of a ref.

Called by assign at claim. Undeliverable when one is not there and was not optional, in the words of a missing
dependency.
"""

from __future__ import annotations

from collections.abc import Mapping

from runyard.engine.access import standing
from runyard.engine.lineage import eldest
from runyard.engine.ports import ArtifactFilter, Page, Tx
from runyard.model.access import OPEN_TO_ALL, Role
from runyard.model.plan import Import, InputArtifact
from runyard.model.work import Artifact, Attempt, Job, Run, User
from runyard.syntax.variables import expand

_ALL = Page(limit=1000, descending=True)


def imported(
    tx: Tx, run: Run, user_id: int, wanted: Import, values: Mapping[str, str], now: int
) -> list[InputArtifact]:
    """The archives that this import means; none when there are none."""
    if wanted.run_id:
        rows = _of_family(tx, run, expand(wanted.run_id, values).strip(), wanted.job)
    else:
        row = _newest(
            tx, user_id, expand(wanted.project, values), expand(wanted.ref, values), wanted.job, now
        )
        rows = [row] if row is not None else []
    return [found for row in rows if (found := _input(tx, row)) is not None]


def _of_family(tx: Tx, run: Run, run_id: str, job_name: str) -> list[Artifact]:
    """Of a run of the same family and project: its parent, its siblings (GitLab: the pipeline hierarchy)."""
    other = tx.get(Run, int(run_id)) if run_id.isascii() and run_id.isdigit() and len(run_id) < 19 else None
    if other is None or other.project_id != run.project_id or eldest(tx, other).id != eldest(tx, run).id:
        return []
    latest = {
        attempt.id for job, attempt in tx.graph(other.id) if job_name in (job.name, job.plan.matrix_group)
    }
    rows = tx.artifacts(ArtifactFilter(run_id=other.id, type="archive"), _ALL)
    return [row for row in rows if row.attempt_id in latest]


def _newest(tx: Tx, user_id: int, project: str, ref: str, job_name: str, now: int) -> Artifact | None:
    """Of a project whose code the job's user may read."""
    found, user = tx.project_by_path(project.strip("/")), tx.get(User, user_id)
    if found is None or user is None:
        return None
    role = standing(tx, user, now).role_in(found)
    if role is None or (role < Role.REPORTER and found.visibility not in OPEN_TO_ALL):
        return None
    return tx.newest_archive(found.id, ref, job_name)


def _input(tx: Tx, row: Artifact) -> InputArtifact | None:
    attempt = tx.get(Attempt, row.attempt_id)
    job = tx.get(Job, attempt.job_id) if attempt is not None else None
    if attempt is None or job is None or (row.expires_at is not None and attempt.erased_at is not None):
        return None
    return InputArtifact(
        id=row.id,
        attempt_id=row.attempt_id,
        job_key=job.key,
        job_name=job.name,
        name=row.name,
        filename=row.filename,
        size_bytes=row.size_bytes,
        blob=row.blob,
        from_need=True,
    )
