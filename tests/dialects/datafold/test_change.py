"""What a repository tells of a change: renames, ignored files, the merge base; and the [datafold] section of
runyard.toml."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from runyard.dialects.datafold import DIALECT, renames
from runyard.dialects.datafold.pairs import dotted, path_of
from runyard.dialects.datafold.section import has_section, read_section
from runyard.model.errors import Invalid
from tests.dialects.test_contract import Folder

TABLES = (
    "CREATE TABLE prod AS SELECT i AS id, i AS v FROM range(10) r(i)",
    "CREATE TABLE pr AS SELECT id, v AS w FROM prod",
)


class Repository:
    """A clone whose pushes land in the door's repository of project 1."""

    def __init__(self, house: Any, folder: Path) -> None:
        self.folder = folder / "clone"
        house.services.source.create(1, "main")
        self.remote = str(house.services.source.git_dir(1))
        self.folder.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *argv: str) -> str:
        command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *argv]
        return subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, message: str, *files: str) -> str:
        for name in files:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(message)
        self.git("add", "-A")
        self.git("commit", "-qm", message, "--allow-empty")
        return self.git("rev-parse", "HEAD")

    def push(self, branch: str) -> None:
        self.git("push", "-qf", self.remote, f"HEAD:refs/heads/{branch}")


@pytest.fixture
def repository(house: Any, tmp_path: Path) -> Repository:
    return Repository(house, tmp_path)


def pull(house: Any, config: int, head: str, base: str, **more: Any) -> int:
    body = {"pr_number": 7, "pr_branch": "f", "base_branch": "main", "pr_sha": head, "base_sha": base, **more}
    return int(house.ok("POST", f"ci/{config}/trigger", body)["run_id"])


def test_renames_in_commit_messages_are_followed(house: Any, repository: Repository) -> None:
    config = house.config(house.warehouse(*TABLES))
    base = repository.commit(
        "first\n\ndatafold rename id nobody"
    )  # on the base branch: none of this change's
    repository.push("main")
    repository.commit("one\n\ndatafold rename v x")
    head = repository.commit("two\n\nX-Datafold: renamed x w pr\n/datafold remap a b other_*")
    repository.push("f")
    run = pull(house, config, head, base)
    house.ok("POST", f"ci/{config}/7", [{"prod": "prod", "pr": "pr", "pk": ["id"]}])
    house.work()
    (diff,) = house.ok("GET", f"datadiffs?ci_run_id={run}")["results"]
    assert (diff["result"], diff["column_mapping"]) == ("identical", [["v", "w"]])


def test_a_comment_renames_for_the_whole_change(house: Any) -> None:
    config = house.config(house.warehouse(*TABLES))
    pull(house, config, "b" * 40, "a" * 40, comments=["please\n/datafold rename v w"])
    house.ok("POST", f"ci/{config}/7", [{"prod": "prod", "pr": "pr", "pk": ["id"]}])
    house.work()
    assert house.ok("GET", "datadiffs")["results"][0]["result"] == "identical"


@pytest.mark.parametrize(
    ("files", "status"), [(("docs/a.md",), "done"), (("docs/a.md", "dbt/a.sql"), "waiting")]
)
def test_a_run_is_skipped_only_if_every_changed_file_is_ignored(
    house: Any, repository: Repository, files: tuple[str, ...], status: str
) -> None:
    config = house.config(house.warehouse(*TABLES), files_to_ignore=["*", "!dbt/*", "dbt/*.md"])
    base = repository.commit("first", "README")
    repository.push("main")
    head = repository.commit("change", *files)
    repository.push("f")
    run = pull(house, config, head, base)
    assert house.status(config, run) == status
    if status == "done":
        assert "ignore" in house.ok("GET", f"ci/{config}/runs/{run}/report")["notes"][0]


def test_the_merge_base_decides_whose_production_is_compared(house: Any, repository: Repository) -> None:
    from tests.dialects.datafold.test_dbt import archive, compared, manifest, upload

    tables = [f"CREATE SCHEMA {s}" for s in ("prod", "pr")]
    tables += [
        f"CREATE TABLE {s}.{t} AS SELECT 1 AS id"
        for s in ("prod", "pr")
        for t in ("orders", "daily", "customers")
    ]
    source = house.warehouse(*tables, name="wh")
    latest = house.config(source)
    forked = house.config(source, branch_commit_selection_strategy="merge_base")
    repository.commit("first", "a")
    fork = repository.commit("second", "b")
    repository.push("main")
    head = repository.commit("mine", "c")
    repository.push("f")
    repository.git("checkout", "-q", fork)
    newer = repository.commit("theirs", "d")
    repository.push("main")
    for config in (latest, forked):
        upload(house, config, "production", fork, archive(manifest("prod", orders="1")))
        upload(house, config, "production", newer, archive(manifest("prod", orders="2")))
    pull(house, latest, head, newer)
    upload(house, latest, "pull_request", head, archive(manifest("pr", orders="2")))
    assert compared(house) == []  # the newest production already has the change
    pull(house, forked, head, newer)
    upload(house, forked, "pull_request", head, archive(manifest("pr", orders="2")))
    assert compared(house) == ["daily", "orders"]


def test_a_trigger_after_the_upload_adopts_its_run(house: Any) -> None:
    from tests.dialects.datafold.test_dbt import archive, manifest, upload

    config = house.config(house.warehouse(*TABLES))
    upload(house, config, "pull_request", "b" * 40, archive(manifest("pr", orders="2")))
    (waiting,) = house.ok("GET", f"ci/{config}/runs")
    assert (waiting["status"], waiting["pr_num"]) == ("waiting", "0")
    assert house.trigger(config) == waiting["id"]
    assert house.ok("GET", f"ci/{config}/runs")[0]["pr_num"] == "7"


def test_directives_are_read_in_all_their_spellings() -> None:
    text = "datafold: rename A B\n  /datafold Remapped c d model_*\nX-Datafold: renamed e f\nthe datafold rename g h\ndatafold rename i"
    found = renames.collect([text], [])
    assert [(r.old, r.new, r.models) for r in found] == [
        ("A", "B", ""),
        ("c", "d", "model_*"),
        ("e", "f", ""),
    ]
    assert renames.mapping(renames.collect(["datafold rename a b", "datafold rename b a"], []), "m") == []


# the section
# -----------------------------------------------------------------------------------------------------------


def test_a_section_is_read_with_its_defaults() -> None:
    files = Folder({"runyard.toml": '[datafold]\nproject_dir = "dbt/"\n'})
    section = read_section(files)
    assert (section.project_dir, section.commands, section.dbt) == ("dbt", ["build"], "dbt")
    assert list(DIALECT.entries(files)) == ["runyard.toml"]
    assert not DIALECT.check(files, "runyard.toml")
    assert not has_section(Folder({"runyard.toml": "[server]\n"}))
    assert not has_section(Folder({}))


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("[datafold]\ncommands = [", 2, "TOML"),
        ("a = 1\n[datafold]\nnope = 1\n", 3, "nope"),
        ('[datafold]\nproject_dir = "../up"\n', 2, "inside the repository"),
        ('[datafold]\nproject_dir = "/etc"\n', 2, "inside the repository"),
        ("[datafold]\nthreads = 1000\n", 2, "threads"),
        ('[datafold]\ncommands = ["run \'x"]\n', 2, "quotation"),
        ('[datafold]\ndbt = "dbt; rm"\n', 2, "dbt"),
        ("[datafold]\ncommands = []\n", 2, "commands"),
        ("[datafold]\n" + "a = [" * 2000, 0, "TOML"),
    ],
)
def test_a_wrong_section_is_refused_with_its_place(text: str, line: int, word: str) -> None:
    files = Folder({"runyard.toml": text})
    with pytest.raises(Invalid) as caught:
        read_section(files)
    problem = caught.value.problems[0]
    assert problem.file == "runyard.toml"
    assert line in (0, problem.line), str(problem)
    assert word in str(problem)
    assert has_section(files)
    assert DIALECT.check(files, "runyard.toml")


def test_a_path_is_read_as_it_is_written() -> None:
    for path in (["a"], ["a", "b", "c"], ["a.b", "c"], ['q"x', "y"]):
        assert path_of(dotted(path)) == path
