"""The steps that are no process of the job: checkout, download, upload, cache. Called by `job.py`, between
steps, when nothing of the job moves."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from runyard.model.errors import Away, Conflict, Forbidden, Invalid, NotFound, RunyardError, TooLarge
from runyard.model.plan import Assignment, InputArtifact, StepKind, StepPlan
from runyard.model.state import Outcome, Reason
from runyard.runner.actions import inputs, ssh
from runyard.runner.actions.fetching import Fetching, Submodules
from runyard.runner.actions.keeping import Keeping
from runyard.runner.artifacts import Choice, TooManyFiles, add_files, choose, clear, give_to, unpack
from runyard.runner.cache import Cache, CacheKeyError
from runyard.runner.link import Link, Parcel
from runyard.runner.packing import pack
from runyard.runner.room import safe_folder
from runyard.runner.sandbox import FoldersMoved
from runyard.runner.steps import Ended, Scene
from runyard.runner.streams import heard
from runyard.runner.voice import Voice, speaks_actions
from runyard.syntax.actions import ActionError
from runyard.syntax.archives import ArchiveError
from runyard.syntax.patterns import PatternError, path_glob

if TYPE_CHECKING:
    from runyard.runner.actions.elsewhere import Elsewhere

UNPACK_LIMIT_BYTES = 20 << 30
NOT_IN_NAMES = frozenset('":<>|*?\r\n\\/')
SAID_NOT_IN_NAMES = '" : < > | * ? \\ / or a line break'
ATTEMPTS = {
    StepKind.CHECKOUT: "GET_SOURCES_ATTEMPTS",
    StepKind.DOWNLOAD: "ARTIFACT_DOWNLOAD_ATTEMPTS",
    StepKind.CACHE_RESTORE: "RESTORE_CACHE_ATTEMPTS",
}
MOST_ATTEMPTS = 10
PASSED = Ended(Outcome.PASSED)


@dataclass(frozen=True, slots=True)
class Builtins:
    """What built-in steps need beside the scene."""

    link: Link
    work: Assignment
    cache: Cache
    spool: Path  # for archives on their way

    def run(self, scene: Scene, step: StepPlan) -> Ended:
        """The step's end; trouble is told in the log."""
        params = (
            scene.facts.deep(step.params, scene.facts.context(scene.base)) if step.templated else step.params
        )
        if "with" in params:
            params = inputs.params(step.kind, str(params["action"]), params["with"])
        verbs: Mapping[StepKind, Callable[[Scene, Mapping[str, Any]], Ended]] = {
            StepKind.CHECKOUT: self._checkout,
            StepKind.DOWNLOAD: self._download,
            StepKind.UPLOAD: self._upload,
            StepKind.CACHE_RESTORE: self._restore,
            StepKind.CACHE_SAVE: self._save,
        }
        try:
            with scene.box.still():
                return self._tried(scene, step.kind, lambda: verbs[step.kind](scene, params))
        except (ArchiveError, PatternError, CacheKeyError, TooManyFiles, FoldersMoved, OSError) as error:
            return self._failed(scene, f"{step.name}: {error}")
        except Away:
            raise
        except RunyardError as error:
            if not speaks_actions(self.work):
                raise
            return self._failed(scene, error.message)

    def later(self, step: StepPlan, ended: Ended) -> StepPlan | None:
        """What a step of a well-known action leaves to do after all steps: actions/cache saves what it did
        not find."""
        if step.params.get("action") != "actions/cache" or ended.outcome is not Outcome.PASSED:
            return None
        if ended.outputs.get("cache-hit") == "true":
            return None
        return replace(step, kind=StepKind.CACHE_SAVE, params={**step.params, "action": "actions/cache/save"})

    def _tried(self, scene: Scene, kind: StepKind, act: Callable[[], Ended]) -> Ended:
        """As often as the job's own `…_ATTEMPTS` says (gitlab-runner); once without."""
        said = scene.env.get(ATTEMPTS.get(kind, ""), "") if self.work.job.stock else ""
        attempts = (
            int(said) if said.isascii() and said.isdigit() and 1 <= int(said[:4]) <= MOST_ATTEMPTS else 1
        )
        ended = act()
        while ended.outcome is not Outcome.PASSED and (attempts := attempts - 1) > 0:
            ended = act()
        return ended

    def _checkout(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        strategy = str(params.get("strategy", "fetch"))
        target = safe_folder(Path(scene.box.outside.workspace), str(params.get("path") or ""))
        if target is None:
            return self._failed(
                scene, f"the checkout's path {params.get('path')!r} is not inside the workspace"
            )
        if strategy == "none":
            scene.log.system("Skipping Git repository setup")
            return PASSED
        clear(target)  # what an earlier step left could be a repository with hooks of its own
        if strategy == "empty":
            return PASSED
        if not params.get("ssh"):
            return self._fetched(scene, params, Fetching(self.link, self.work), target)
        with ExitStack() as unless_kept:
            key = ssh.laid(scene, params["ssh"])
            unless_kept.callback(ssh.forget, scene, key.name)
            ended = self._fetched(scene, params, Fetching(self.link, self.work, key.command), target)
            if ended.outcome is not Outcome.PASSED or params["remote"] == "plain":
                return ended
            unless_kept.pop_all()
        return replace(ended, state={ssh.STATE: key.name})

    def _fetched(self, scene: Scene, params: Mapping[str, Any], fetching: Fetching, target: Path) -> Ended:
        """A tree into an empty folder."""
        inside = f"{scene.box.inside.workspace}/{params.get('path') or ''}".rstrip("/")
        if self._is_other(params):
            give_to(target, scene.box.uid)
            outputs = fetching.other(scene, params, inside)
            self._more(scene, fetching, params, inside)
            fetching.name_origin(scene, params, target, "")
            return Ended(Outcome.PASSED, outputs=outputs)
        ref, sha = str(params.get("ref") or ""), str(params.get("sha") or "")
        if not ref and not sha:
            sha = self.work.sha
            ref = (
                ""
                if self.work.job.stock
                else ("refs/tags/" if self.work.tag else "refs/heads/") + self.work.ref
            )
        try:
            sha = self.link.checkout(
                self._of_project(params), sha, ref, int(params.get("depth") or 0), target
            )
        except RunyardError as error:
            return self._no_sources(scene, f"the commit could not be laid out: {error.message}")
        if self.work.job.stock and self.work.repo_url:
            _name_origin(target, self.work)
        fetching.name_origin(scene, params, target, ref)
        give_to(target, scene.box.uid)
        scene.log.system(f"\x1b[32;1mChecking out {sha[:8]} as {self.work.ref}...\x1b[0;m")
        self._more(scene, fetching, params, inside)
        try:
            self._stock_submodules(scene, fetching, int(params.get("depth") or 0), target)
        except ActionError as error:
            return self._no_sources(scene, str(error))
        return Ended(Outcome.PASSED, outputs={"ref": ref or sha, "commit": sha})

    def _no_sources(self, scene: Scene, message: str) -> Ended:
        """A checkout of an Actions job is a step that may fail like any other; elsewhere the job could not
        begin."""
        if speaks_actions(self.work):
            return self._failed(scene, message)
        Voice(scene.log, self.work).trouble(message)
        return Ended(Outcome.ERRORED, Reason.CHECKOUT, message=message)

    def _failed(self, scene: Scene, message: str) -> Ended:
        Voice(scene.log, self.work).trouble(message)
        return Ended(Outcome.FAILED, Reason.SCRIPT, message=message)

    def _stock_submodules(self, scene: Scene, fetching: Fetching, depth: int, target: Path) -> None:
        """As the job's own GIT_SUBMODULE_… say, whoever set them: gitlab-runner reads them when the job runs.
        ActionError when that fails."""
        wanted = Submodules.of_variables(scene.env, depth) if self.work.job.stock else None
        if wanted is None or not (target / ".gitmodules").is_file():
            return
        if self.link.door() is None:  # `runyard run`: what lies in the working copy is there already
            scene.log.system("Submodules are not updated: no server runs here to fetch them from.")
        else:
            how = " recursively" if wanted.recursive else ""
            scene.log.system(f"\x1b[32;1mUpdating/initializing submodules{how}...\x1b[0;m")
            fetching.submodules(scene, wanted, scene.box.inside.workspace, self.work.project_path)

    def _is_other(self, params: Mapping[str, Any]) -> bool:
        named = str(params.get("repository") or "")
        return bool(params.get("ssh_url") or (named and named.lower() != self.work.project_path.lower()))

    @staticmethod
    def _more(scene: Scene, fetching: Fetching, params: Mapping[str, Any], folder: str) -> None:
        """What a checkout may ask for beside the tree."""
        if params.get("sparse_checkout"):
            fetching.sparse(scene, params, folder)
        if params.get("tags") and params.get("depth"):  # without a depth all tags are there
            fetching.tags(scene, params, folder)
        if params.get("lfs"):
            fetching.without_lfs(scene, folder)
        if params.get("submodules"):
            wanted = Submodules(
                str(params["submodules"]).lower() == "recursive", int(params.get("depth") or 0)
            )
            origin = str(params.get("repository") or fetching.work.project_path)
            fetching.submodules(scene, wanted, folder, origin, str(params.get("token") or ""))

    def _of_project(self, params: Mapping[str, Any]) -> Assignment:
        """The work as if it were another project's, where the plan allows that; a stock address would lead to
        our own."""
        if params.get("project_id") is None:
            return self.work
        wanted = int(params["project_id"])
        if wanted not in self.work.job.other_projects:
            raise Forbidden(f"this job may not see project {wanted}")
        return replace(self.work, project_id=wanted, repo_url="")

    def _download(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        workspace = Path(scene.box.outside.workspace)
        if params.get("from") == "run":
            return self._download_from_run(scene, params, workspace)
        wanted = set(params["jobs"]) if params.get("jobs") is not None else None
        for given in self.work.inputs:
            if not given.from_need or not given.filename.endswith(".zip"):
                continue
            if wanted is not None and not wanted & {given.job_name, given.job_key}:
                continue
            scene.log.system(
                f"\x1b[32;1mDownloading artifacts for {given.job_name} ({given.attempt_id})...\x1b[0;m"
            )
            try:
                self._unpack(given, workspace, scene)
            except NotFound as error:
                return Ended(Outcome.ERRORED, Reason.MISSING_DEPENDENCY, message=error.message)
        return PASSED

    def _download_from_run(self, scene: Scene, params: Mapping[str, Any], workspace: Path) -> Ended:
        """As download-artifact: a named one into `path`, several into a folder each unless merged."""
        other = self._elsewhere(params)
        there = self.link.artifacts(self.work) if other is None else other.artifacts()
        latest = {one.name: one for one in sorted(there, key=lambda i: i.id) if one.filename.endswith(".zip")}
        name, pattern = scene.log.shown(str(params.get("name") or "")), str(params.get("pattern") or "")
        if params.get("ids"):
            chosen = [one for one in there if one.id in params["ids"]]
            if missing := sorted(set(params["ids"]) - {one.id for one in chosen}):
                return self._failed(
                    scene, f"No artifacts found in this run for the ids {', '.join(map(str, missing))}"
                )
        elif name:
            chosen = [latest[name]] if name in latest else []
        else:
            glob = path_glob(pattern) if pattern else None
            chosen = [one for key, one in sorted(latest.items()) if glob is None or glob.found_in(key)]
        if name and not chosen:
            return self._failed(scene, f"Unable to download artifact(s): Artifact not found for name: {name}")
        root = str(params.get("path") or "")
        inside = scene.box.inside.workspace
        root = (
            root.removeprefix(inside).lstrip("/") if root == inside or root.startswith(inside + "/") else root
        )
        for given in chosen:
            single = name or len(params.get("ids") or ()) == 1
            apart = not single and not params.get("merge_multiple")
            target = safe_folder(workspace, f"{root}/{given.name}" if apart else root)
            if target is None:
                return self._failed(scene, f"the path {root!r} is not inside the workspace")
            with self.link.open(self.work, given) if other is None else other.open(given) as file:
                unpack(file, target, uid=scene.box.uid, limit_bytes=UNPACK_LIMIT_BYTES)
            scene.log.system(f"Artifact {given.name} was downloaded ({given.size_bytes} bytes)")
        return Ended(Outcome.PASSED, outputs={"download-path": f"{inside}/{root}".rstrip("/")})

    def _elsewhere(self, params: Mapping[str, Any]) -> Elsewhere | None:
        """Another run, where the step names one."""
        if not (params.get("run_id") or params.get("repository")):
            return None
        from runyard.runner.actions.elsewhere import Elsewhere  # only here: other jobs begin sooner without

        return Elsewhere.of(self.link, self.work, params, self.spool)

    def _unpack(self, given: InputArtifact, target: Path, scene: Scene) -> None:
        with self.link.open(self.work, given) as file:
            unpack(file, target, uid=scene.box.uid, limit_bytes=UNPACK_LIMIT_BYTES)

    def _upload(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        choice = self._choice(scene, params)
        if not choice.paths:
            return self._nothing(scene, params)
        parcel, is_action = _parcel(scene, params), params.get("root") == "common"
        if is_action and (refused := self._refused(parcel)):
            return self._failed(scene, refused)
        root = Path(scene.box.outside.workspace)
        self.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self.spool) as folder:
            file = Path(folder) / "parcel"
            _write(parcel.format, root, choice, file, _common(root, choice) if is_action else "")
            outputs = {"artifact-digest": _digest(file)} if is_action else {}
            try:
                number = self.link.upload(self.work, parcel, file)
            except (Conflict, Invalid, TooLarge) as error:
                return self._failed(scene, f"Uploading {parcel.name}: {error.message}")
        if is_action:
            outputs |= {"artifact-id": str(number), "artifact-url": self._address(number)}
        scene.log.system(
            f'Uploading artifacts as "{parcel.type}": {parcel.name}, {len(choice.paths)} entries'
        )
        return Ended(Outcome.PASSED, outputs=outputs)

    def _refused(self, parcel: Parcel) -> str:
        """Why upload-artifact does not take this name; "" when it does."""
        if set(parcel.name) & NOT_IN_NAMES:
            return (
                f"The artifact name is not valid: {parcel.name}. It may not hold any of {SAID_NOT_IN_NAMES}"
            )
        others = () if parcel.replace else self.link.artifacts(self.work)
        if any(one.name == parcel.name and one.job_key != self.work.job.key for one in others):
            return f"Conflict: an artifact with this name already exists on the workflow run: {parcel.name}"
        return ""

    def _nothing(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        sentence = f"No files were found for {params.get('name') or 'the artifact'}; nothing is uploaded."
        match params.get("if_no_files", "warn"):
            case "error":
                return self._failed(scene, sentence)
            case "ignore":
                return PASSED
            case _:
                scene.log.system(f"\x1b[0;33mWARNING: {sentence}\x1b[0;m")
                return PASSED

    def _address(self, number: int) -> str:
        """Where a person who may see the run finds an artifact."""
        url = str((self.work.facts.get("server") or {}).get("url") or "")
        return f"{url}/{self.work.project_path}/-/artifacts/{number}"

    def _choice(self, scene: Scene, params: Mapping[str, Any]) -> Choice:
        """The files of an upload or a cache, with words about each pattern."""
        root, inside = Path(scene.box.outside.workspace), scene.box.inside.workspace
        patterns = [str(p) for p in params.get("paths") or ()]
        exclude = [str(p) for p in params.get("exclude") or ()]
        choice = choose(root, patterns, exclude, inside)
        if params.get("hidden") is False:
            kept = [p for p in choice.paths if not any(part.startswith(".") for part in p.split("/"))]
            choice.paths = dict.fromkeys(kept)
        if params.get("untracked"):
            add_files(root, _untracked(scene), exclude, choice)
        for pattern, count in choice.matched.items():
            if count:
                scene.log.system(f"{pattern}: found {count} matching artifact files and directories")
            else:
                scene.log.system(f"\x1b[0;33mWARNING: {pattern}: no matching files\x1b[0;m")
        for warning in choice.warnings:
            scene.log.system(f"\x1b[0;33mWARNING: {warning}\x1b[0;m")
        return choice

    def _restore(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        if params.get("scoped"):
            return Keeping(self.link, self.work, self.spool).restore(scene, params)
        if params.get("policy") == "push":
            return PASSED
        keys = [str(params.get("key") or "default"), *map(str, params.get("fallback_keys") or ())]
        found = self.cache.restore(
            self.work.project_id,
            self._is_protected(params),
            keys,
            Path(scene.box.outside.workspace),
            scene.box.uid,
        )
        scene.log.system(f"Successfully extracted cache {found}" if found else f"No cache for {keys[0]}")
        return Ended(Outcome.PASSED, outputs={"cache-hit": "true" if found == keys[0] else "false"})

    def _save(self, scene: Scene, params: Mapping[str, Any]) -> Ended:
        if params.get("scoped"):
            return Keeping(self.link, self.work, self.spool).save(scene, params)
        if params.get("policy") == "pull":
            return PASSED
        choice = self._choice(scene, params)
        key = str(params.get("key") or "default")
        size = self.cache.save(
            self.work.project_id, self._is_protected(params), key, Path(scene.box.outside.workspace), choice
        )
        scene.log.system(f"Created cache {key} ({size} bytes)")
        return PASSED

    def _is_protected(self, params: Mapping[str, Any]) -> bool:
        """As the plan says; a job's variables may lie about its ref (GitLab lets YAML override predefined
        ones)."""
        if "protected" in params:
            return params["protected"] is True
        names = ("CI_COMMIT_REF_PROTECTED", "GITHUB_REF_PROTECTED")
        return any(v.key in names and v.value == "true" for v in self.work.variables)


def _name_origin(checkout: Path, work: Assignment) -> None:
    """As gitlab-runner leaves it: a remote `origin` whose address carries the job's token, so that scripts
    may fetch more. Our own repository of a moment ago: nothing of the job has touched it yet."""
    parts = urlsplit(work.repo_url)
    host = parts.netloc.rpartition("@")[2]
    url = urlunsplit((parts.scheme, f"gitlab-ci-token:{work.token}@{host}", parts.path, "", ""))
    with (checkout / ".git" / "config").open("a", encoding="utf-8") as config:
        config.write(f'[remote "origin"]\n\turl = {url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')


def _parcel(scene: Scene, params: Mapping[str, Any]) -> Parcel:
    """An upload's artifact as the step describes it; what the job masks stays masked in its names."""
    return Parcel(
        name=scene.log.shown(str(params.get("name") or params.get("type") or "artifact")),
        type=str(params.get("type") or "archive"),
        format=str(params.get("format") or "zip"),
        filename=scene.log.shown(str(params.get("filename") or f"{params.get('name') or 'artifacts'}.zip")),
        expires="expire_in_s" in params,
        expire_in_s=params.get("expire_in_s"),
        replace=bool(params.get("overwrite")),
    )


def _digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _untracked(scene: Scene) -> Sequence[str]:
    """Asked of git inside the box: the repository is the job's, so its configuration is too."""
    process = scene.box.run(
        ("git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "ls-files", "--others", "-z"),
        {"PATH": scene.env.get("PATH", ""), "HOME": scene.box.inside.home},
        scene.box.inside.workspace,
    )
    code, found = heard(process, 64 << 20, 60)
    if code != 0:
        return ()
    return [os.fsdecode(name) for name in found.split(b"\0") if name]


def _common(root: Path, choice: Choice) -> str:
    """The least folder that all files are in (upload-artifact names its entries from there)."""
    folders = [str(PurePosixPath(p).parent) for p in choice.paths if not _is_folder(root / p)]
    common = os.path.commonpath(folders) if folders else "."
    return "" if common == "." else common


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _write(form: str, root: Path, choice: Choice, target: Path, base: str) -> None:
    """As zip, as gzip (one member per file, as gitlab-runner does), or as it is."""
    with target.open("w+b") as out:
        if form == "zip":
            names = (
                [p[len(base) + 1 :] for p in choice.paths if len(p) > len(base)]
                if base
                else list(choice.paths)
            )
            pack(root / base, names, out)
            return
        for path in choice.paths:
            fd = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    continue
                if form == "gzip":
                    with gzip.GzipFile(
                        filename=PurePosixPath(path).name, mode="wb", fileobj=out, mtime=0
                    ) as member:
                        shutil.copyfileobj(file, member, 1 << 20)
                else:
                    shutil.copyfileobj(file, out, 1 << 20)
