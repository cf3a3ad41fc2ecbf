"""The Source port: bare repositories under `<root>/<project id>.git`, made, mirrored, kept and removed.

`app` builds one GitSource. Its methods block (threads call them); none keeps an open repository between
calls, so any thread may. Reading trees is in `trees`, laying out a work tree in `workspace`; this module
joins them into the port.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pygit2
import pygit2.enums

from runyard.engine.ports import Edit, RefUpdate
from runyard.model.errors import Forbidden, Invalid, NotFound, Unavailable
from runyard.model.trigger import ZERO_SHA, Commit, Files
from runyard.sources import patching, trees, workspace
from runyard.sources.edits import Author, commit_edits, drop_ref, make_ref, make_tag, merge_base
from runyard.sources.names import Remote, check_ref, check_sha, parse_remote
from runyard.sources.process import run_git

# libgit2 would read the system's and the user's git configuration; a server must behave the same everywhere.
for _level in (
    pygit2.enums.ConfigLevel.SYSTEM,
    pygit2.enums.ConfigLevel.GLOBAL,
    pygit2.enums.ConfigLevel.XDG,
    pygit2.enums.ConfigLevel.PROGRAMDATA,
):
    pygit2.settings.search_path[_level] = ""

KEPT = "refs/pipelines/"
KEYED = "ssh addresses are for administrators, because this server opens them with its own key"
_TOO_NEAR = "repositories on this machine or its private networks may not be mirrored here"
PACKS = 40
HEAD_TIME_S = 60.0
MIRROR_TIME_S = 1800.0
MIRROR_GROWTH_BYTES = 10 << 30
# Every push becomes one pack: checkouts copy few files, and receive-pack checks objects (`fsckObjects`) while
# indexing.
CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\thooksPath = /dev/null
[gc]
\tauto = 0
[receive]
\tunpackLimit = 1
\tautogc = false
\tadvertisePushOptions = true
\thideRefs = refs/pipelines
[fetch]
\tunpackLimit = 1
[transfer]
\tfsckObjects = true
[uploadpack]
\tallowFilter = true
\tallowReachableSHA1InWant = true
"""


class GitSource:
    """Git repositories by project id."""

    def __init__(self, root: Path, *, allow_local: bool = False) -> None:
        """`allow_local`: mirrors may come from paths here and from hosts of private networks."""
        self._root = root.absolute()  # git is started in /
        self._allow_local = allow_local
        root.mkdir(parents=True, exist_ok=True)

    def git_dir(self, project_id: int) -> Path:
        """Where the bare repository is (or would be)."""
        return self._root / f"{int(project_id)}.git"

    def create(self, project_id: int, default_branch: str) -> None:
        """An empty repository; one that is already there stays as it is."""
        check_ref(default_branch)
        path = self.git_dir(project_id)
        if (path / "HEAD").exists():
            return
        for folder in ("objects/pack", "objects/info", "refs/heads", "refs/tags"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        (path / "config").write_text(CONFIG, encoding="utf-8")
        # HEAD comes last: without it git does not see a repository, so a crash in between is repaired by the
        # next call.
        (path / "HEAD").write_text(f"ref: refs/heads/{default_branch}\n", encoding="utf-8")

    def remove(self, project_id: int) -> None:
        """The repository and all its objects."""
        path = self.git_dir(project_id)
        shutil.rmtree(path, ignore_errors=True)

    def mirror(self, project_id: int, url: str) -> str:
        """Fetches every branch and tag from `url`; returns the default branch. For administrators: `url` may
        be local where that is allowed."""
        remote = parse_remote(url)
        if remote.local and not self._allow_local:
            raise Forbidden(_TOO_NEAR)
        return self._mirror(project_id, remote)

    def mirror_public(self, project_id: int, url: str) -> str:
        """The same for everyone else. The very address that is connected to is judged here: an earlier
        judgement may be of another one (D3)."""
        remote = parse_remote(url)
        if remote.local:
            raise Forbidden(_TOO_NEAR)
        if remote.scheme == "ssh":
            raise Forbidden(KEYED)
        return self._mirror(project_id, remote)

    def _mirror(self, project_id: int, remote: Remote) -> str:
        self.create(project_id, "main")
        path = self.git_dir(project_id)
        default = self._remote_head(path, remote)
        specs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        run_git(
            path,
            [*_pinned(remote), "fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head",
             "--no-recurse-submodules", "--end-of-options", remote.url, *specs],
            environment=_protocol(remote),
            timeout_s=MIRROR_TIME_S,
            growth_limit_bytes=MIRROR_GROWTH_BYTES,
        )  # fmt: skip
        if default:
            self.set_default_branch(project_id, default)
        return self.default_branch(project_id) or default or "main"

    def _remote_head(self, path: Path, remote: Remote) -> str:
        """The branch that HEAD names over there, or ""."""
        said = run_git(
            path,
            [*_pinned(remote), "ls-remote", "--quiet", "--symref", "--end-of-options", remote.url, "HEAD"],
            environment=_protocol(remote),
            timeout_s=HEAD_TIME_S,
        )
        for line in said.decode("utf-8", "replace").splitlines():
            if line.startswith("ref: refs/heads/") and line.endswith("\tHEAD"):
                return check_ref(line.removeprefix("ref: refs/heads/").removesuffix("\tHEAD"))
        return ""

    def set_default_branch(self, project_id: int, branch: str) -> None:
        """Points HEAD at a branch, which need not exist yet."""
        check_ref(branch)
        self.open(project_id).set_head(f"refs/heads/{branch}")

    def default_branch(self, project_id: int) -> str | None:
        """The branch HEAD names; when that does not exist, the only branch there is; None while nothing is
        pushed."""
        repository = self.open(project_id)
        head = (self.git_dir(project_id) / "HEAD").read_text(encoding="utf-8").strip()
        named = head.removeprefix("ref: refs/heads/")
        if f"refs/heads/{named}" in repository.references:
            return named
        branches = list(repository.branches.local)
        return branches[0] if len(branches) == 1 else None

    def open(self, project_id: int) -> pygit2.Repository:
        """A fresh handle (50 µs); libgit2's handles are not for sharing between threads."""
        path = self.git_dir(project_id)
        if not (path / "HEAD").exists():
            raise NotFound("the project has no repository")
        try:
            return pygit2.Repository(str(path))
        except pygit2.GitError as error:
            raise Unavailable(f"the repository cannot be opened: {type(error).__name__}") from error

    def resolve(self, project_id: int, ref: str) -> tuple[Commit, str, bool]:
        """(commit, short ref name, is a tag)."""
        return trees.resolve(self.open(project_id), ref)

    def commit(self, project_id: int, sha: str) -> Commit:
        """The commit of that full or abbreviated sha."""
        return trees.commit_of(trees.find_commit(self.open(project_id), sha))

    def commits(self, project_id: int, ref: str, limit: int, skip: int = 0) -> list[Commit]:
        """History of a ref, newest first."""
        repository = self.open(project_id)
        start, _, _ = trees.resolve(repository, ref)
        return trees.history(repository, start.sha, limit, skip)

    def branches(self, project_id: int) -> list[tuple[str, Commit]]:
        """Branches by name with their tips."""
        return trees.named_commits(self.open(project_id), "refs/heads/")

    def tags(self, project_id: int) -> list[tuple[str, Commit]]:
        """Tags by name with the commits they mean."""
        return trees.named_commits(self.open(project_id), "refs/tags/")

    def stats(self, project_id: int, sha: str) -> tuple[int, int] | None:
        """Lines that a commit added to its first parent, and deleted; None where it touches too many files to
        count."""
        return trees.stats(self.open(project_id), sha)

    def annotation(self, project_id: int, tag: str) -> tuple[str, int | None, str]:
        """What an annotated tag says, when it was made, and the tag object's id."""
        return trees.annotation(self.open(project_id), tag)

    def files(self, project_id: int, sha: str, before_sha: str | None = None) -> Files:
        """The tree at a commit."""
        repository = self.open(project_id)
        return trees.CommitFiles(repository, trees.find_commit(repository, sha), before_sha)

    def commit_edits(
        self,
        project_id: int,
        branch: str,
        start: str,
        edits: Sequence[Edit],
        message: str,
        name: str,
        email: str,
        now: int,
    ) -> RefUpdate:
        """A commit on top of a branch."""
        repository, author = self.open(project_id), Author(name, email, now // 1000)
        return commit_edits(repository, self.git_dir(project_id), branch, start, edits, message, author)

    def make_ref(self, project_id: int, name: str, start: str) -> RefUpdate:
        """A branch or lightweight tag by its full name."""
        return make_ref(self.open(project_id), self.git_dir(project_id), name, start)

    def make_tag(
        self, project_id: int, name: str, start: str, message: str, tagger: str, email: str, now: int
    ) -> RefUpdate:
        """A tag with a message."""
        author = Author(tagger, email, now // 1000)
        return make_tag(self.open(project_id), self.git_dir(project_id), name, start, message, author)

    def drop_ref(self, project_id: int, name: str) -> RefUpdate:
        """A branch or tag goes; its commits stay where runs keep them."""
        return drop_ref(self.open(project_id), self.git_dir(project_id), name)

    def merge_base(self, project_id: int, one: str, other: str) -> str | None:
        """The best common ancestor of two commits."""
        return merge_base(self.open(project_id), one, other)

    def keep(self, project_id: int, run_id: int, sha: str) -> None:
        """refs/pipelines/<run_id> holds the commit while the run needs it."""
        repository = self.open(project_id)
        found = trees.find_commit(repository, check_sha(sha))
        repository.references.create(f"{KEPT}{int(run_id)}", found.id, force=True)

    def unkeep(self, project_id: int, run_id: int) -> None:
        """Lets the commit go; nothing happens when it was not kept."""
        name = f"{KEPT}{int(run_id)}"
        repository = self.open(project_id)
        if name in repository.references:
            repository.references.delete(name)

    def patched(self, project_id: int, sha: str, patch: bytes) -> str:
        """A commit on top of `sha` with a git patch applied; unreferenced until a run keeps it."""
        parent = trees.find_commit(self.open(project_id), check_sha(sha))
        return patching.patched(self.git_dir(project_id), parent, patch)

    def merged(self, project_id: int, base: str, head: str, message: str) -> str | None:
        """A merge of two commits; unreferenced until a run keeps it."""
        repository = self.open(project_id)
        one, other = (trees.find_commit(repository, check_sha(sha)) for sha in (base, head))
        return patching.merged(repository, one, other, message)

    def checkout(self, project_id: int, sha: str, ref: str, depth: int, into: Path) -> None:
        """Lays the commit out in a folder that is empty or an earlier checkout, with a `.git` that works
        offline."""
        if depth < 0:
            raise Invalid("a checkout's depth is 0 or more")
        repository = self.open(project_id)
        commit = trees.find_commit(repository, check_sha(sha))
        workspace.lay_out(repository, commit, check_ref(ref) if ref else "", depth, into)

    def targets(self, project_id: int, refs: Sequence[str]) -> dict[str, str]:
        """Where each full ref name points now; ZERO_SHA when it is not there."""
        repository = self.open(project_id)
        found = {ref: repository.references.get(ref) for ref in refs}
        return {ref: str(at.resolve().target) if at else ZERO_SHA for ref, at in found.items()}

    def adopt_default_branch(self, project_id: int, pushed: Sequence[str]) -> None:
        """A first push of a branch that is not the default one makes it the default, so that HEAD means
        something."""
        branches = [ref.removeprefix("refs/heads/") for ref in pushed if ref.startswith("refs/heads/")]
        repository = self.open(project_id)
        if branches and repository.head_is_unborn:
            known = [b for b in ("main", "master") if b in branches] or branches
            if f"refs/heads/{known[0]}" in repository.references:
                repository.set_head(f"refs/heads/{known[0]}")

    def tidy(self, project_id: int) -> None:
        """Joins packs once there are many; nothing is pruned, so readers and runs lose nothing."""
        path = self.git_dir(project_id)
        if len(list((path / "objects" / "pack").glob("*.pack"))) > PACKS:
            run_git(path, ["repack", "-d", "--geometric=2", "--quiet"], timeout_s=600.0)


def _protocol(remote: Remote) -> dict[str, str]:
    return {"GIT_ALLOW_PROTOCOL": remote.scheme, "GIT_PROTOCOL_FROM_USER": "0"}


def _pinned(remote: Remote) -> list[str]:
    # A redirect leads to a host nobody judged; only addresses an administrator vouches for may send us on,
    # and only at first contact (G12).
    options = ["-c", f"http.followRedirects={'initial' if remote.local else 'false'}"]
    return [*options, "-c", f"http.curloptResolve={remote.pin}"] if remote.pin else options
