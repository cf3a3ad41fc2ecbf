"""What the built-in checkout does with the job's own git, inside the box: other repositories of this server, submodules, sparse trees. Called by
`builtins.py`.

The server decides at its own door what a token may read; the runner passes on the job's, or the one that the step was given. It travels in git's
environment, never in an argv or a stored address.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runyard.model.plan import Assignment, StepPlan
from runyard.model.state import Outcome
from runyard.runner.link import Link
from runyard.runner.steps import Ended, Scene, run
from runyard.syntax.actions import ActionError

_REPOSITORY = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+\Z")
_REF = re.compile(r"(?!-)[^\s~^:?*\[\\\x00-\x1f]{1,250}\Z")
SHOWN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Fetching:
    """git inside one box. ActionError when something cannot be done."""

    link: Link
    work: Assignment

    def other(self, scene: Scene, params: Mapping[str, Any], folder: str) -> dict[str, str]:
        """Another repository of this server into `folder` (inside, empty); answers the outputs."""
        repository, ref = str(params["repository"]), str(params.get("ref") or "HEAD")
        if not _REPOSITORY.match(repository) or ".." in repository:
            raise ActionError(f"'{repository[:200]}' is not the name of a repository")
        if not _REF.match(ref) or ".." in ref:
            raise ActionError(f"'{ref[:200]}' is not the name of a ref")
        base = self._base(scene)
        env = self._environment(scene, base, str(params.get("token") or ""))
        depth = [f"--depth={params['depth']}"] if params.get("depth") else []
        self._git(scene, ["init", "-q", "-b", "main", "."], folder, env)
        fetch = ["fetch", "-q", "--no-tags", *depth, "--end-of-options", f"{base}/{repository}.git", ref]
        self._git(scene, fetch, folder, env)
        self._git(scene, ["checkout", "-q", "--detach", "FETCH_HEAD"], folder, env)
        commit = self._said(scene, ["rev-parse", "HEAD"], folder)
        scene.log.system(f"Checking out {commit[:8]} of {repository} as {ref}...")
        return {"ref": ref, "commit": commit}

    def submodules(self, scene: Scene, params: Mapping[str, Any], folder: str) -> None:
        """What .gitmodules names; addresses that are relative lie beside the repository on this server."""
        base = self._base(scene)
        env = self._environment(scene, base, str(params.get("token") or ""))
        origin = str(params.get("repository") or self.work.project_path)
        count = int(env["GIT_CONFIG_COUNT"])
        env |= {
            f"GIT_CONFIG_KEY_{count}": "remote.origin.url",
            f"GIT_CONFIG_VALUE_{count}": f"{base}/{origin}.git",
        }
        env["GIT_CONFIG_COUNT"] = str(count + 1)
        depth = [f"--depth={params['depth']}"] if params.get("depth") else []
        deep = ["--recursive"] if str(params["submodules"]).lower() == "recursive" else []
        self._git(scene, ["submodule", "update", "--init", "--force", *deep, *depth], folder, env)

    def sparse(self, scene: Scene, params: Mapping[str, Any], folder: str) -> None:
        """Only the given folders (cone mode) or patterns stay in the work tree."""
        lines = [line.strip() for line in str(params["sparse_checkout"]).splitlines() if line.strip()]
        if any(line.startswith("-") for line in lines):
            raise ActionError("a line of sparse-checkout may not start with a dash")
        cone = "--cone" if params.get("cone", True) else "--no-cone"
        self._git(scene, ["sparse-checkout", "set", cone, *lines], folder, {})

    def _base(self, scene: Scene) -> str:
        door = self.link.door()
        base = scene.box.reach(door.host, door.port, door.secure) if door else ""
        if not base:
            raise ActionError(
                "this checkout needs a way from the job to the server: the runner's network must not be `none`, and a server must run"
            )
        return base

    def _environment(self, scene: Scene, base: str, token: str) -> dict[str, str]:
        """Credentials for this server only, and its own addresses turned to where the box reaches it."""
        basic = base64.b64encode(f"x-access-token:{token or self.work.token}".encode()).decode()
        scene.log.masker.add([basic])
        pairs = [
            (f"http.{base}/.extraheader", f"Authorization: Basic {basic}"),
            ("protocol.file.allow", "never"),
        ]
        server = str((self.work.facts.get("server") or {}).get("url") or "")
        pairs += [(f"url.{base}/.insteadOf", f"{server}/")] if server and server != base else []
        env = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": str(len(pairs))}
        for number, (key, value) in enumerate(pairs):
            env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return env

    def _git(self, scene: Scene, arguments: Sequence[str], folder: str, env: Mapping[str, str]) -> None:
        plan = StepPlan(
            key="", name="git", argv=("git", "-c", "safe.directory=*", *arguments), env=env, cwd=folder
        )
        ended: Ended = run(scene, plan, "git")
        if ended.outcome is not Outcome.PASSED:
            raise ActionError(
                f"git {arguments[0]} failed (exit code {ended.exit_code}); is there such a repository and ref, and may this job read it?"
            )

    def _said(self, scene: Scene, arguments: Sequence[str], folder: str) -> str:
        env = {"PATH": scene.env.get("PATH", ""), "HOME": scene.box.inside.home}
        process = scene.box.run(("git", "-c", "safe.directory=*", *arguments), env, folder)
        with os.fdopen(process.output, "rb") as output:
            said = output.read(SHOWN_BYTES)
        if process.wait(60) is None:
            process.kill()
        return said.decode("utf-8", "replace").strip()
