"""download-artifact's inputs `run-id`, `repository` and `github-token`: artifacts of another run, by the
calls that GitHub has for them. Called by `builtins.py`.

The server decides at its own door what the token may fetch: the job's own, or the one that the step was
given.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlsplit

from runyard.model.plan import Assignment, InputArtifact
from runyard.runner.link import Link
from runyard.syntax.actions import ActionError

if TYPE_CHECKING:
    from runyard.runner.remote import Answer, Wire

ROWS = 100
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another run's artifacts. ActionError for what cannot be had."""

    wire: Wire
    token: str = field(repr=False)
    repository: str
    run: str
    spool: Path

    @classmethod
    def of(cls, link: Link, work: Assignment, params: Mapping[str, Any], spool: Path) -> Elsewhere | None:
        """None when the artifacts of this very run are meant."""
        run, repository = (
            str(params.get("run_id") or work.run_id),
            str(params.get("repository") or work.project_path),
        )
        if run == str(work.run_id) and repository.lower() == work.project_path.lower():
            return None
        if (door := link.door()) is None:
            raise ActionError("artifacts of another run are at a server, and none runs here")
        from runyard.runner.remote import Wire  # only here: `runyard run` begins sooner without it

        wire = Wire(f"{'https' if door.secure else 'http'}://{door.host}:{door.port}")
        return cls(wire, str(params.get("github_token") or work.token), repository, run, spool)

    def artifacts(self) -> tuple[InputArtifact, ...]:
        """All that the token may fetch."""
        found: list[InputArtifact] = []
        for page in range(1, MOST_PAGES + 1):
            answer = self._asked(f"/runs/{self.run}/artifacts?per_page={ROWS}&page={page}")
            if answer.status != 200:
                raise ActionError(
                    f"the artifacts of run {self.run} of {self.repository} cannot be had ({answer.status}); is there such a run, and may "
                    "the token (`github-token`) read it?"
                )
            rows = json.loads(answer.body)["artifacts"]
            found += [_given(row) for row in rows]
            if len(rows) < ROWS:
                break
        return tuple(found)

    def open(self, given: InputArtifact) -> BinaryIO:
        """The archive, in a nameless file."""
        answer = self._asked(f"/artifacts/{given.id}/zip")
        self.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = tempfile.TemporaryFile(dir=self.spool)  # noqa: SIM115 - the caller closes it
        if answer.status == 302:
            place = urlsplit(answer.headers.get("location", ""))
            answer = self.wire.call("GET", f"{place.path}?{place.query}", into=file, base=False)
        if answer.status != 200:
            file.close()
            raise ActionError(f"the artifact {given.name!r} of run {self.run} is gone ({answer.status})")
        file.seek(0)
        return file

    def _asked(self, path: str) -> Answer:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.wire.call(
            "GET", f"/api/v3/repos/{quote(self.repository)}/actions{path}", headers=headers, base=False
        )


def _given(row: Mapping[str, Any]) -> InputArtifact:
    name = str(row["name"])
    return InputArtifact(
        int(row["id"]), 0, "", "", name, f"{name}.zip", int(row["size_in_bytes"]), "", from_need=False
    )
