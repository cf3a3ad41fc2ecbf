"""What a process of an action needs of its surroundings: a Node.js, and the server's services for it
(contracts/actions.md §6.2, §10). Called by `acting`.

Actions reach the server under `runyard.localhost`: their client library takes other hosts for an older
product and refuses to work there.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from runyard.model.plan import Assignment, StepKind
from runyard.runner.link import Link
from runyard.runner.sandbox import Box
from runyard.runner.steps import Scene
from runyard.runner.streams import heard
from runyard.syntax.actions import NODE_VERSIONS, ActionError

_VERSION = re.compile(rb"v([0-9]{1,3})\.")
_ADDRESSES = ("GITHUB_SERVER_URL", "GITHUB_API_URL", "GITHUB_GRAPHQL_URL")
TOKEN_S = 6 * 3600


@dataclass
class Reachable:
    """One attempt's. `url` is the server as the job reaches it; empty where it cannot."""

    work: Assignment
    url: str = ""
    identity: bool = False
    _majors: dict[str, int] = field(default_factory=dict)

    def node(self, scene: Scene, wanted: int) -> str:
        """A Node.js for `using: node<wanted>`: that very version where there is one, else the plain `node`;
        old versions are long gone."""
        wanted = max(wanted, 20)
        exact = [f"node{wanted}", *(f"node{v}" for v in NODE_VERSIONS if v > wanted)]
        found = next(
            (path for path in (scene.box.find([name]) for name in exact) if path.startswith("/")), ""
        )
        found = found or scene.box.find(["node"])
        if not found.startswith("/"):
            raise ActionError(
                f"the action needs Node.js {wanted}, and there is none here: install it on the runner (apt install nodejs, or npm's package "
                f"`node@{wanted}` as /usr/local/bin/node{wanted}), or in the job's image"
            )
        if found.endswith("/node") and (major := self._major(scene, found)) < wanted:
            scene.log.system(
                f"##[warning]The action asks for Node.js {wanted}; this runner has {major}. Install one as /usr/local/bin/node{wanted}."
            )
        return found

    def _major(self, scene: Scene, path: str) -> int:
        if path not in self._majors:
            process = scene.box.run(
                (path, "--version"), {"PATH": scene.env.get("PATH", "")}, scene.box.inside.workspace
            )
            match = _VERSION.match(heard(process, 64, 10)[1])
            self._majors[path] = int(match[1]) if match else 0
        return self._majors[path]

    def environment(self, scene: Scene) -> dict[str, str]:
        """ACTIONS_* variables, and the server's addresses as they work inside the box."""
        if not self.url:
            return {}
        found = {
            "ACTIONS_RUNTIME_URL": f"{self.url}/",
            "ACTIONS_RESULTS_URL": f"{self.url}/",
            "ACTIONS_CACHE_URL": f"{self.url}/",
            "ACTIONS_CACHE_SERVICE_V2": "True",
            "ACTIONS_RUNTIME_TOKEN": runtime_token(self.work),
            **self.for_scripts(),
        }
        github = self.work.facts.get("github") or {}
        server = str(github.get("server_url") or "")
        for name in _ADDRESSES:
            value = str(github.get(name.removeprefix("GITHUB_").lower()) or "")
            if server and value.startswith(server):
                found[name] = self.url + value[len(server) :]
        return found

    def for_scripts(self) -> dict[str, str]:
        """What run steps get too: with `id-token: write` the way to an identity token."""
        if not (self.url and self.identity):
            return {}
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/_apis/identity/token?api-version=2.0&job={quote(self.work.job.key)}",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": runtime_token(self.work),
        }


def reachable(link: Link, work: Assignment, box: Box) -> Reachable:
    """For this job's box; the way to the server is opened only where an action or an identity token may need
    it."""
    if not (work.job.identity or any(step.kind is StepKind.ACTION for step in work.job.steps)):
        return Reachable(work)
    door = link.door()
    return Reachable(work, box.reach(door.host, door.port, door.secure) if door else "", work.job.identity)


def runtime_token(work: Assignment) -> str:
    """A token in the form of a JWT, whose `scp` tells the client library where results belong. What proves
    anything is its last part: the job's own token, so that it lives and dies with the job. The server looks
    at nothing else (`dialects/depot/results`)."""
    claims: Mapping[str, object] = {
        "scp": f"Actions.Results:{work.run_id}:{work.attempt_id} Actions.GenericRead:{work.run_id}",
        "sub": f"run:{work.run_id}",
        "exp": (int(work.facts.get("run", {}).get("created_at") or 0) // 1000) + 10 * TOKEN_S,
    }
    head = {"alg": "none", "typ": "JWT"}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, claims)
    ]
    return ".".join([*parts, work.token])
