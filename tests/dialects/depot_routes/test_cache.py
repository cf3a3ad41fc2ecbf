"""CacheService and local changes: upload, finalize, fetch, and a run of what was never committed."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from runyard.dialects.depot.cache import KEEP_S, PART, sweep
from runyard.engine.ports import Page
from tests.dialects.depot_routes.conftest import WORKFLOW, House

WORD = "Apply local patch from Depot Cache"


def cache(house: House, method: str, body: Any, token: str | None = None) -> Any:
    more = {} if token is None else {"token": token}
    return house.request("POST", f"/depot.cache.v1.CacheService/{method}", json=body, **more)


def put(house: House, url: str, data: bytes) -> Any:
    return house.request("PUT", url, None, content=data)


def upload(house: House, key: str, *pieces: bytes) -> str:
    made = cache(house, "CreateEntry", {"entryType": "generic", "key": key}).json()
    urls = list(made["uploadPartUrls"])
    if len(pieces) > 1:
        wanted = {"entryId": made["entryId"], "nextPart": 2, "count": len(pieces) - 1}
        urls += cache(house, "FetchMorePresignedURLs", wanted).json()["uploadPartUrls"]
    answers = [put(house, url, piece) for url, piece in zip(urls, pieces, strict=True)]
    assert [a.status_code for a in answers] == [200] * len(pieces)
    body = {
        "entryId": made["entryId"],
        "sizeBytes": str(sum(map(len, pieces))),
        "uploadPartEtags": [a.headers["etag"] for a in answers],
    }
    done = cache(house, "FinalizeEntry", body)
    assert done.status_code == 200, done.text
    assert cache(house, "FinalizeEntry", body).status_code == 200  # a repeat changes nothing
    return str(made["entryId"])


def test_an_entry_goes_up_in_parts_and_comes_back_whole(house: House) -> None:
    upload(house, "a/b", b"one ", b"two ", b"three")
    found = cache(house, "GetDownloadURL", {"entryType": "generic", "key": "a/b"}).json()
    assert found["sizeBytes"] == "13"
    assert house.request("GET", found["url"], None).content == b"one two three"
    assert house.write(lambda tx: tx.records(PART, None, None, Page())) == []
    keys = {"entryType": "generic", "keys": ["a/b", "a/c"]}
    assert cache(house, "CheckEntries", keys).json()["entries"] == [
        {"key": "a/b", "found": True},
        {"key": "a/c"},
    ]


def test_a_key_that_has_its_bytes_exists_already(house: House) -> None:
    upload(house, "k", b"x")
    again = cache(house, "CreateEntry", {"entryType": "generic", "key": "k"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    assert cache(house, "DeleteEntry", {"entryType": "generic", "key": "k"}).status_code == 200
    assert cache(house, "CreateEntry", {"entryType": "generic", "key": "k"}).status_code == 200
    assert cache(house, "GetDownloadURL", {"entryType": "generic", "key": "k"}).json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sizeBytes": "5"}, "invalid_argument"),
        ({"uploadPartEtags": ["other"]}, "failed_precondition"),
        ({"uploadPartEtags": []}, "failed_precondition"),
        ({"entryId": "0000000000"}, "not_found"),
    ],
)
def test_an_upload_that_is_not_what_was_said_is_refused(
    house: House, change: dict[str, Any], code: str
) -> None:
    made = cache(house, "CreateEntry", {"entryType": "generic", "key": "k"}).json()
    etag = put(house, made["uploadPartUrls"][0], b"four").headers["etag"]
    body = {"entryId": made["entryId"], "sizeBytes": "4", "uploadPartEtags": [etag], **change}
    assert cache(house, "FinalizeEntry", body).json()["code"] == code


@pytest.mark.parametrize("key", ["", "x" * 600, "a\nb"])
def test_what_cannot_be_a_key_is_refused(house: House, key: str) -> None:
    assert (
        cache(house, "CreateEntry", {"entryType": "generic", "key": key}).json()["code"] == "invalid_argument"
    )


def test_links_are_for_one_thing_and_not_for_ever(house: House) -> None:
    made = cache(house, "CreateEntry", {"entryType": "generic", "key": "k"}).json()
    url = made["uploadPartUrls"][0]
    assert put(house, url.replace("/1?", "/2?"), b"x").status_code == 403
    assert put(house, url.replace("/1?", "?"), b"x").status_code == 405
    assert house.request("GET", url.replace("/1?", "?"), None).status_code == 403
    assert house.request("GET", url, None).status_code == 405
    house.time[0] += 3_700_000
    assert put(house, url, b"x").status_code == 403
    assert cache(house, "CreateEntry", {"entryType": "generic", "key": "k"}, "wrong").status_code == 401


def test_old_entries_go(house: House) -> None:
    upload(house, "old", b"x")
    house.time[0] += KEEP_S * 1000 + 1
    upload(house, "new", b"y")
    assert house.write(lambda tx: sweep(tx, house.time[0])) == 1
    assert cache(house, "GetDownloadURL", {"entryType": "generic", "key": "old"}).status_code == 404
    assert cache(house, "GetDownloadURL", {"entryType": "generic", "key": "new"}).status_code == 200


INJECTED = f"""
name: CI
"on": [push]
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {{ref: BASE}}
      - name: {WORD}
        env: {{DEPOT_TOKEN: "${{{{ secrets.DEPOT_TOKEN }}}}"}}
        run: curl somewhere | git apply
      - run: cat new.txt
"""


def changes(house: House, path: str = "group/demo") -> tuple[str, bytes]:
    """The clone's commit and a patch of what is not committed."""
    work = house.folder / "work" / path
    (work / "new.txt").write_text("never committed\n")
    git = ["git", "-C", str(work)]
    subprocess.run([*git, "add", "-N", "new.txt"], check=True)
    base = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return base, subprocess.run([*git, "diff", "--binary"], check=True, capture_output=True).stdout


def test_local_changes_run_as_a_commit_on_top_of_the_base(house: House) -> None:
    project = house.project(workflow=WORKFLOW)
    base, patch = changes(house)
    upload(house, "patch/1", patch)
    body = {"repo": "group/demo", "sha": base, "workspacePatchCacheKey": "patch/1"}
    content = {"workflowContent": [INJECTED.replace("BASE", base)]}
    first = house.get("Run", {**body, **content})["runId"]
    told = house.get("GetRun", {"runId": first})
    assert told["headSha"] == base != told["sha"]
    source = house.services.source
    assert source.files(project, told["sha"]).read("new.txt") == b"never committed\n"
    job = house.claim()
    assert [step.name for step in job.job.steps] == ["Run actions/checkout@v4", "Run cat new.txt"]
    assert "ref" not in job.job.steps[0].params["with"]
    assert job.sha == told["sha"]
    second = house.get("Run", {**body, **content})["runId"]
    assert house.get("GetRun", {"runId": second})["sha"] == told["sha"]  # the same patch is the same commit


@pytest.mark.parametrize(
    ("patch", "key", "code"),
    [
        (b"--- a/none\n+++ b/none\n@@ -1 +1 @@\n-x\n+y\n", "patch/1", "invalid_argument"),
        (b"no patch at all\n", "patch/1", "invalid_argument"),
        (b"diff --git a/.git/config b/.git/config\nnew file mode 100644\n--- /dev/null\n+++ b/.git/config\n@@ -0,0 +1 @@\n+x\n", "patch/1", "invalid_argument"),
        (b"diff --git a/../x b/../x\nnew file mode 100644\n--- /dev/null\n+++ b/../x\n@@ -0,0 +1 @@\n+x\n", "patch/1", "invalid_argument"),
        (b"", "patch/other", "not_found"),
    ],
)  # fmt: skip
def test_a_patch_that_cannot_be_applied_starts_nothing(
    house: House, patch: bytes, key: str, code: str
) -> None:
    house.project()
    upload(house, "patch/1", patch or b"x")
    status, said, _ = house.refused("Run", {"repo": "group/demo", "workspacePatchCacheKey": key})
    assert (status, said) == ({"invalid_argument": 400, "not_found": 404}[code], code)
    assert house.get("ListRuns", {"status": ["queued", "failed"]}).get("runs", []) == []
