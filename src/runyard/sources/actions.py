"""Repositories of actions (`owner/repo@ref`), fetched from the operator's base address and kept by commit.
Called by the runner's lines.

A ref is asked for once a minute at most; a commit is fetched once and kept as a zip of its tree, so what ran
stays what it was. Names and refs are strangers' text: only `names` and `syntax.actions` judge what git hears,
always after `--end-of-options` (contracts/reliability.md §5 G1 to G5, G11).
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from runyard.model.errors import Forbidden, Invalid, NotFound
from runyard.sources.names import Remote, check_ref, is_sha, parse_remote
from runyard.sources.process import GitFailed, run_git
from runyard.sources.turns import Turns
from runyard.syntax.actions import ActionError, parse_uses

ASK_S, FETCH_S = 60.0, 300.0
GROWTH_BYTES = 1 << 30
KEEP_BYTES = 10 << 30
KNOWN_FOR_S = 60.0
MOST_KNOWN = 10_000


class ActionTrees:
    """The port `engine.ports.Actions`. `base`: an address or an absolute folder below which repositories lie
    as owner/name."""

    def __init__(self, folder: Path, base: str, keep_bytes: int = KEEP_BYTES) -> None:
        self._folder = folder.absolute()
        self._base = base.rstrip("/")
        self._keep_bytes = keep_bytes
        self._known: dict[tuple[str, str], tuple[float, str]] = {}
        self._turns = Turns()

    def tree(self, repository: str, ref: str) -> tuple[str, BinaryIO]:
        """(commit, zip of its tree, open: it may have to make room for others at any moment). NotFound when
        there is no such repository or ref, Invalid for names that are none, Unavailable otherwise."""
        try:
            uses = parse_uses(f"{repository}@{ref}")
        except ActionError as error:
            raise Invalid(str(error)) from None
        if uses.repository != repository:
            raise Invalid(f"'{repository[:200]}' is not the name of a repository")
        check_ref(ref)
        if not self._base:
            raise Forbidden("remote actions are switched off here (setting actions_url)")
        with self._turns.of(repository.lower()):
            remote = self._remote(repository)
            sha = ref if is_sha(ref) else self._resolved(remote, repository, ref)
            kept = self._folder / repository.lower() / f"{sha}.zip"
            try:
                file = kept.open("rb")
            except FileNotFoundError:
                return sha, self._fetch(remote, repository, ref, sha, kept)
            os.utime(file.fileno())
            return sha, file

    def _remote(self, repository: str) -> Remote:
        """The base is the operator's word, so it may be local; a folder may hold `name` or `name.git`."""
        path = self._base.removeprefix("file://")
        if not path.startswith("/"):
            return parse_remote(f"{self._base}/{repository}")
        found = next(
            (p for p in (f"{path}/{repository}", f"{path}/{repository}.git") if Path(p).is_dir()), ""
        )
        if not found:
            raise NotFound(f"Unable to resolve action `{repository}`, repository not found")
        return parse_remote(found)

    def _resolved(self, remote: Remote, repository: str, ref: str) -> str:
        at, sha = self._known.get((repository, ref), (0.0, ""))
        if sha and time.monotonic() - at < KNOWN_FOR_S:
            return sha
        wanted = (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", ref)
        argv = [
            *_options(remote),
            "ls-remote",
            "--quiet",
            "--end-of-options",
            remote.url,
            *wanted[1:3],
            *wanted[:1],
        ]
        argv += [ref] if ref.startswith("refs/") else []
        with self._scratch() as scratch:
            try:
                said = run_git(Path(scratch), argv, environment=_protocol(remote), timeout_s=ASK_S)
            except GitFailed as error:
                raise NotFound(f"Unable to resolve action `{repository}@{ref}`: {error.message}") from None
        found = dict(
            line.split("\t", 1)[::-1] for line in said.decode("utf-8", "replace").splitlines() if "\t" in line
        )
        sha = next((found[name] for name in wanted if is_sha(found.get(name, ""))), "")
        if not sha:
            raise NotFound(f"Unable to resolve action `{repository}@{ref}`, unable to find version `{ref}`")
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()  # it spares a question, no more
        self._known[repository, ref] = (time.monotonic(), sha)
        return sha

    def _fetch(self, remote: Remote, repository: str, ref: str, sha: str, kept: Path) -> BinaryIO:
        """One commit, as a zip of its tree; the file appears whole or not at all."""
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._scratch() as scratch:
            git_dir = Path(scratch) / "repository"
            run_git(git_dir, ["init", "--quiet", "--bare", "--template="])
            fetch = [
                *_options(remote),
                "fetch",
                "--quiet",
                "--depth=1",
                "--no-tags",
                "--no-recurse-submodules",
                "--end-of-options",
                remote.url,
            ]
            bounded = partial(run_git, git_dir, timeout_s=FETCH_S, growth_limit_bytes=GROWTH_BYTES)
            try:
                try:
                    bounded([*fetch, sha], environment=_protocol(remote))
                except GitFailed:
                    if is_sha(ref):
                        raise
                    bounded([*fetch, ref], environment=_protocol(remote))  # some give no commits by name
                # A small repository may hold a large tree: the same file under a million names.
                made = Path(scratch) / "tree.zip"
                archive = ["archive", "--format=zip", "-1", f"--output={made}", "--end-of-options"]
                bounded([*archive, f"{sha}^{{commit}}"], growing=Path(scratch))
            except GitFailed as error:
                raise NotFound(
                    f"Unable to fetch action `{repository}@{ref}` ({sha}): {error.message}"
                ) from None
            file = made.open("rb")
            made.replace(kept)
        self._bound()
        return file

    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return tempfile.TemporaryDirectory(dir=self._folder, prefix="fetching-", ignore_cleanup_errors=True)

    def _bound(self) -> None:
        """The longest unused go first; a job that reads one keeps its bytes by its descriptor."""
        found = []
        for path in self._folder.glob("*/*/*.zip"):
            with suppress(FileNotFoundError):  # another thread does the same
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found)[:-1]:
            if total <= self._keep_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def _protocol(remote: Remote) -> dict[str, str]:
    return {"GIT_ALLOW_PROTOCOL": remote.scheme, "GIT_PROTOCOL_FROM_USER": "0"}


def _options(remote: Remote) -> list[str]:
    options = ["-c", "protocol.version=2", "-c", "http.followRedirects=initial", "-c", "safe.directory=*"]
    return [*options, "-c", f"http.curloptResolve={remote.pin}"] if remote.pin else options
