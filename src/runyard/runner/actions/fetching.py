"""What the built-in checkout does with the job's own git, inside the box: other repositories of this server,
submodules, sparse trees. Called by `builtins.py`.

The server decides at its own door what a token may read; the runner passes on the job's, or the one that the
step was given. It travels in git's environment, never in an argv or a stored address; only `name_origin`
leaves it with the repository, as the action does for scripts that push.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runyard.model.plan import Assignment, StepPlan
from runyard.model.state import Outcome
from runyard.runner.link import Link
from runyard.runner.room import safe_folder
from runyard.runner.steps import Ended, Scene, run
from runyard.runner.streams import heard
from runyard.syntax.actions import ActionError

_REPOSITORY = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+\Z")
_REF = re.compile(r"(?!-)[^\s~^:?*\[\\\x00-\x1f]{1,250}\Z")
SHOWN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Submodules:
    """Which submodules come with a checkout, and how. `paths` are pathspecs, `flags` more options of `git
    submodule update`."""

    recursive: bool = False
    depth: int = 0
    paths: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    over_http: bool = False  # addresses of this server for ssh are asked for over HTTP

    @classmethod
    def of_variables(cls, given: Mapping[str, str], depth: int) -> Submodules | None:
        """As gitlab-runner reads a job's GIT_SUBMODULE_* (its `common/build.go`, `shells/abstract.go`); None:
        no submodules."""
        match given.get("GIT_SUBMODULE_STRATEGY", ""):
            case "" | "none":
                return None
            case "normal" | "recursive" as strategy:
                pass
            case unknown:
                raise ActionError(
                    f"unknown GIT_SUBMODULE_STRATEGY {unknown[:50]!r}: it is none, normal or recursive"
                )
        paths = tuple(given.get("GIT_SUBMODULE_PATHS", "").split())
        if ":(exclude)" in paths or ":" in paths:
            raise ActionError(
                "GIT_SUBMODULE_PATHS: `:(exclude)` stands right before its path, without a blank"
            )
        wanted = given.get("GIT_SUBMODULE_DEPTH", "").strip()
        return cls(
            recursive=strategy == "recursive",
            depth=int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 7 else depth,
            paths=paths,
            flags=tuple(given.get("GIT_SUBMODULE_UPDATE_FLAGS", "").split()),
            over_http=given.get("GIT_SUBMODULE_FORCE_HTTPS", "").lower() in ("true", "1"),
        )

    @property
    def argv(self) -> list[str]:
        """What `git` is given."""
        recursive = ["--recursive"] if self.recursive else []
        depth = [f"--depth={self.depth}"] if self.depth else []
        paths = ["--", *self.paths] if self.paths else []
        return ["submodule", "update", "--init", "--force", *recursive, *depth, *self.flags, *paths]


@dataclass(frozen=True, slots=True)
class Fetching:
    """git inside one box. ActionError when something cannot be done."""

    link: Link
    work: Assignment
    ssh: str = ""  # the command line for addresses of ssh; empty: git's own

    def other(self, scene: Scene, params: Mapping[str, Any], folder: str) -> dict[str, str]:
        """Another repository of this server, or one elsewhere by ssh, into `folder` (inside, empty); answers
        the outputs."""
        repository = str(params.get("repository") or self.work.project_path)
        ref = str(params.get("ref") or "HEAD")
        if not _REPOSITORY.match(repository) or ".." in repository:
            raise ActionError(f"'{repository[:200]}' is not the name of a repository")
        if not _REF.match(ref) or ".." in ref:
            raise ActionError(f"'{ref[:200]}' is not the name of a ref")
        base = str(params.get("ssh_url") or "") or self._base(scene)
        env = self._environment(scene, base, str(params.get("token") or ""))
        depth = [f"--depth={params['depth']}"] if params.get("depth") else []
        self._git(scene, ["init", "-q", "-b", "main", "."], folder, env)
        fetch = ["fetch", "-q", "--no-tags", *depth, "--end-of-options", f"{base}/{repository}.git", ref]
        self._git(scene, fetch, folder, env)
        self._git(scene, ["checkout", "-q", "--detach", "FETCH_HEAD"], folder, env)
        commit = self._said(scene, ["rev-parse", "HEAD"], folder)
        scene.log.system(f"Checking out {commit[:8]} of {repository} as {ref}...")
        return {"ref": ref, "commit": commit}

    def name_origin(self, scene: Scene, params: Mapping[str, Any], checkout: Path, ref: str) -> None:
        """As actions/checkout leaves it: a remote `origin` at this server, with the token as a header in the
        repository's own configuration unless `remote` is plain; `refs/heads/X` follows its branch there.
        Nothing where the job does not reach the server."""
        elsewhere = str(params.get("ssh_url") or "")
        if not params.get("remote") or not (base := elsewhere or self._reached(scene)):
            return
        folder = safe_folder(checkout, ".git")
        if folder is None:
            raise ActionError("the job has put something else where its repository belongs")
        repository = str(params.get("repository") or self.work.project_path)
        lines = [
            '[remote "origin"]',
            f"url = {base}/{repository}.git",
            "fetch = +refs/heads/*:refs/remotes/origin/*",
        ]
        if ref.startswith("refs/heads/") and not set(branch := ref.removeprefix("refs/heads/")) & set(
            '"\\\n'
        ):
            lines += [f'[branch "{branch}"]', "remote = origin", f"merge = {ref}"]
        if params["remote"] != "plain" and self.ssh:
            escaped = self.ssh.replace("\\", "\\\\").replace('"', '\\"')
            lines += ["[core]", f'sshCommand = "{escaped}"']
        if params["remote"] != "plain" and not elsewhere:
            lines += [
                f'[http "{base}/"]',
                f"extraheader = {self._header(scene, str(params.get('token') or ''))}",
            ]
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(folder / "config", flags, 0o644), "a", encoding="utf-8") as config:
            config.write("\n".join(lines) + "\n")

    def tags(self, scene: Scene, params: Mapping[str, Any], folder: str) -> None:
        """All tags of the repository, as deep as the checkout is."""
        base = self._base(scene)
        url = f"{base}/{params.get('repository') or self.work.project_path}.git"
        order = [
            "fetch",
            "-q",
            "--no-tags",
            f"--depth={params['depth']}",
            "--end-of-options",
            url,
            "+refs/tags/*:refs/tags/*",
        ]
        self._git(scene, order, folder, self._environment(scene, base, str(params.get("token") or "")))

    def without_lfs(self, scene: Scene, folder: str) -> None:
        """ActionError for a repository that keeps files in Git LFS: this server stores none. Others may ask
        for it, as many do out of habit."""
        named = self._said(
            scene,
            ["grep", "--cached", "-lF", "version https://git-lfs.github.com/spec/v1", "--", ":!*.md"],
            folder,
        )
        if named:
            files = named.splitlines()
            raise ActionError(
                f"checkout's input `lfs`: {files[0]!r} is kept in Git LFS, which this server does not store ({len(files)} such files); commit "
                "the files themselves, or fetch them from where they are with a step of your own"
            )

    def submodules(self, scene: Scene, wanted: Submodules, folder: str, origin: str, token: str = "") -> None:
        """What .gitmodules names; addresses that are relative lie beside the repository `origin` on this
        server."""
        base = self._base(scene)
        pairs = [("remote.origin.url", f"{base}/{origin}.git")]
        host = urlsplit(self._server()).hostname if wanted.over_http else None
        if host:
            pairs += [
                (f"url.{base}/.insteadOf", f"git@{host}:"),
                (f"url.{base}/.insteadOf", f"ssh://git@{host}/"),
            ]
        self._git(scene, wanted.argv, folder, self._environment(scene, base, token, pairs))

    def sparse(self, scene: Scene, params: Mapping[str, Any], folder: str) -> None:
        """Only the given folders (cone mode) or patterns stay in the work tree."""
        lines = [line.strip() for line in str(params["sparse_checkout"]).splitlines() if line.strip()]
        if any(line.startswith("-") for line in lines):
            raise ActionError("a line of sparse-checkout may not start with a dash")
        cone = "--cone" if params.get("cone", True) else "--no-cone"
        # The tree was given to the job's user since it was laid out: git would take every file for changed
        # and leave it.
        self._git(scene, ["update-index", "-q", "--refresh"], folder, {})
        self._git(scene, ["sparse-checkout", "set", cone, *lines], folder, {})

    def _reached(self, scene: Scene) -> str:
        door = self.link.door()
        return scene.box.reach(door.host, door.port, door.secure) if door else ""

    def _base(self, scene: Scene) -> str:
        base = self._reached(scene)
        if not base:
            raise ActionError(
                "this checkout needs a way from the job to the server: the runner's network must not be `none`, and a server must run"
            )
        return base

    def _server(self) -> str:
        return str((self.work.facts.get("server") or {}).get("url") or "")

    def _environment(
        self, scene: Scene, base: str, token: str, more: Sequence[tuple[str, str]] = ()
    ) -> dict[str, str]:
        """Credentials for this server only, and its own addresses turned to where the box reaches it."""
        pairs = [("protocol.file.allow", "never"), *more]
        if not base.startswith("ssh:"):
            pairs.append((f"http.{base}/.extraheader", self._header(scene, token)))
            server = self._server()
            pairs += [(f"url.{base}/.insteadOf", f"{server}/")] if server and server != base else []
        env = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_COUNT": str(len(pairs))}
        if self.ssh:
            env["GIT_SSH_COMMAND"] = self.ssh
        for number, (key, value) in enumerate(pairs):
            env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return env

    def _header(self, scene: Scene, token: str) -> str:
        """The job's token, or the one that the step was given."""
        basic = base64.b64encode(f"x-access-token:{token or self.work.token}".encode()).decode()
        scene.log.masker.add([basic])
        return f"Authorization: Basic {basic}"

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
        _, said = heard(process, SHOWN_BYTES, 60)
        return said.decode("utf-8", "replace").strip()
