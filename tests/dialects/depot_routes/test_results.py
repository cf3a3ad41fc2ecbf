"""The services that real actions call: artifacts v4, caches v1 and v2, identity tokens; asked as their client
library asks."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from runyard.dialects.depot.results import artifacts, uploads
from runyard.engine import caches
from runyard.engine.ports import ArtifactFilter, Page
from runyard.model.plan import Assignment
from runyard.model.work import Record
from runyard.runner.actions.reach import runtime_token
from tests.dialects.depot_routes.conftest import House

ARTIFACTS = "/twirp/github.actions.results.api.v1.ArtifactService/"
CACHES = "/twirp/github.actions.results.api.v1.CacheService/"
TWO_JOBS = """
on: [push, workflow_dispatch]
permissions: {id-token: write}
jobs:
  one: {runs-on: x, steps: [{uses: o/r@v1}]}
  two: {runs-on: x, permissions: {contents: read}, steps: [{uses: o/r@v1}]}
"""


class Job:
    """A running job as an action inside it."""

    def __init__(self, house: House, work: Assignment) -> None:
        self.house, self.work, self.token = house, work, runtime_token(work)

    def twirp(self, path: str, **body: Any) -> tuple[int, Any]:
        if path.startswith(ARTIFACTS):
            own = {
                "workflow_run_backend_id": str(self.work.run_id),
                "workflow_job_run_backend_id": str(self.work.attempt_id),
            }
            body = {**own, **body}
        answer = self.house.request(
            "POST", path, self.token, json=body, headers={"Host": "runyard.localhost:8080"}
        )
        return answer.status_code, answer.json()

    def put(self, url: str, data: bytes, more: str = "", token: str | None = None) -> int:
        parts = urlsplit(url)
        return self.house.request("PUT", f"{parts.path}?{parts.query}{more}", token, content=data).status_code

    def get(self, url: str) -> tuple[int, bytes]:
        parts = urlsplit(url)
        answer = self.house.request("GET", f"{parts.path}?{parts.query}", None)
        return answer.status_code, answer.content

    def leave(self, name: str, data: bytes) -> int:
        status, made = self.twirp(ARTIFACTS + "CreateArtifact", name=name, version=4)
        assert status == 200, made
        assert self.put(made["signed_upload_url"], data) == 201
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        status, done = self.twirp(ARTIFACTS + "FinalizeArtifact", name=name, size=str(len(data)), hash=digest)
        assert status == 200, done
        return int(done["artifact_id"])

    def keep(self, key: str, data: bytes, version: str = "v") -> bool:
        _, made = self.twirp(CACHES + "CreateCacheEntry", key=key, version=version)
        if not made["ok"]:
            return False
        assert self.put(made["signed_upload_url"], data) == 201
        return bool(
            self.twirp(
                CACHES + "FinalizeCacheEntryUpload", key=key, version=version, size_bytes=str(len(data))
            )[1]["ok"]
        )

    def found(self, key: str, *restore: str, version: str = "v") -> tuple[str, bytes] | None:
        status, answer = self.twirp(
            CACHES + "GetCacheEntryDownloadURL", key=key, restore_keys=list(restore), version=version
        )
        assert status == 200, answer
        return (answer["matched_key"], self.get(answer["signed_download_url"])[1]) if answer["ok"] else None


@pytest.fixture
def jobs(house: House) -> tuple[Job, Job]:
    """Two running jobs of one run."""
    house.project(workflow=TWO_JOBS)
    house.start()
    return Job(house, house.claim()), Job(house, house.claim())


def test_the_runtime_token_tells_the_client_where_results_belong(jobs: tuple[Job, Job]) -> None:
    _, claims, token = jobs[0].token.split(".")
    scopes = json.loads(base64.urlsafe_b64decode(claims + "=="))["scp"].split()
    assert (
        f"Actions.Results:{jobs[0].work.run_id}:{jobs[0].work.attempt_id}" in scopes
        and token == jobs[0].work.token
    )


def test_an_artifact_in_one_piece_and_in_blocks(jobs: tuple[Job, Job], house: House) -> None:
    one, two = jobs
    number = one.leave("small", b"zip" * 10)
    _, made = one.twirp(ARTIFACTS + "CreateArtifact", name="large", version=4)
    assert made["signed_upload_url"].startswith("http://runyard.localhost:8080/_results/uploads/")
    ids = [base64.b64encode(f"{n:03d}".encode()).decode() for n in range(3)]
    for n in (2, 0, 1):
        assert one.put(made["signed_upload_url"], bytes([n]) * 5, f"&comp=block&blockid={ids[n]}") == 201
    assert (
        one.put(made["signed_upload_url"], b"new00", f"&comp=block&blockid={ids[0]}") == 201
    )  # the same block again replaces it
    listed = "".join(f"<Latest>{i}</Latest>" for i in ids)
    xml = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
    assert one.put(made["signed_upload_url"], xml, "&comp=blocklist") == 201
    assert one.twirp(ARTIFACTS + "FinalizeArtifact", name="large", size="15")[0] == 200
    status, found = two.twirp(ARTIFACTS + "ListArtifacts")
    assert status == 200 and [(a["name"], a["size"]) for a in found["artifacts"]] == [
        ("small", "30"),
        ("large", "15"),
    ]
    assert found["artifacts"][0]["database_id"] == str(number) and found["artifacts"][0]["digest"].startswith(
        "sha256:"
    )
    _, url = two.twirp(ARTIFACTS + "GetSignedArtifactURL", name="large")
    assert two.get(url["signed_url"]) == (200, b"new00" + b"\1" * 5 + b"\2" * 5)
    assert two.twirp(ARTIFACTS + "ListArtifacts", id_filter=str(number))[1]["artifacts"][0]["name"] == "small"
    # The same rows as every other door's.
    rows = house.write(
        lambda tx: tx.artifacts(ArtifactFilter(run_id=one.work.run_id), Page(limit=9, descending=False))
    )
    assert [(r.name, r.type, r.format, r.filename) for r in rows] == [
        ("small", "archive", "zip", "small.zip"),
        ("large", "archive", "zip", "large.zip"),
    ]
    assert house.write(lambda tx: tx.records(uploads.UPLOAD, None, None, Page())) == []
    assert house.write(lambda tx: tx.records(artifacts.UPLOADING, None, None, Page())) == []


def test_what_the_client_says_of_its_bytes_must_be_so(jobs: tuple[Job, Job]) -> None:
    one, _ = jobs
    _, made = one.twirp(ARTIFACTS + "CreateArtifact", name="a", version=4)
    assert one.twirp(ARTIFACTS + "FinalizeArtifact", name="a", size="1")[0] == 404  # nothing came yet
    assert one.put(made["signed_upload_url"], b"x") == 201
    assert one.put(made["signed_upload_url"], b"y") == 409  # what is complete stays
    assert one.twirp(ARTIFACTS + "FinalizeArtifact", name="a", size="2")[0] == 400
    assert one.twirp(ARTIFACTS + "FinalizeArtifact", name="a", size="1", hash="sha256:" + "0" * 64)[0] == 400
    assert one.twirp(ARTIFACTS + "FinalizeArtifact", name="a", size="one")[0] == 400
    assert one.twirp(ARTIFACTS + "FinalizeArtifact", name="a", size="1")[0] == 200
    assert one.twirp(ARTIFACTS + "FinalizeArtifact", name="never", size="1")[0] == 404


def test_a_name_is_one_artifact_of_a_run(jobs: tuple[Job, Job]) -> None:
    one, two = jobs
    one.leave("a", b"1")
    for job in jobs:
        status, error = job.twirp(ARTIFACTS + "CreateArtifact", name="a", version=4)
        assert (status, error["code"]) == (409, "already_exists")
    assert two.twirp(ARTIFACTS + "DeleteArtifact", name="a")[1]["ok"]
    two.leave("a", b"2")


def test_of_two_that_begin_one_name_at_once_the_first_to_end_has_it(jobs: tuple[Job, Job]) -> None:
    made = [job.twirp(ARTIFACTS + "CreateArtifact", name="a", version=4)[1] for job in jobs]
    for job, one in zip(jobs, made, strict=True):
        assert job.put(one["signed_upload_url"], b"x") == 201
    assert [job.twirp(ARTIFACTS + "FinalizeArtifact", name="a", size="1")[0] for job in jobs] == [200, 409]
    assert len(jobs[0].twirp(ARTIFACTS + "ListArtifacts")[1]["artifacts"]) == 1


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", "a\\b", 'a"b', "a:b", "a\nb", "a*", "x" * 257, "a\0b", "<", None, 3, ["a"]]
)
def test_names_that_would_lead_elsewhere(jobs: tuple[Job, Job], name: Any) -> None:
    status, error = jobs[0].twirp(ARTIFACTS + "CreateArtifact", name=name, version=4)
    assert (status, error["code"]) == (400, "invalid_argument")


def test_a_token_is_for_its_own_run_and_dies_with_its_job(jobs: tuple[Job, Job], house: House) -> None:
    one, two = jobs
    assert one.twirp(ARTIFACTS + "ListArtifacts", workflow_run_backend_id="999")[0] == 403
    _, made = one.twirp(ARTIFACTS + "CreateArtifact", name="late", version=4)
    house.finish(one.work)
    assert one.twirp(ARTIFACTS + "ListArtifacts")[0] == 401
    assert one.twirp(CACHES + "CreateCacheEntry", key="k", version="v")[0] == 401
    assert one.put(made["signed_upload_url"], b"late") == 404  # the link too (reliability.md C21)
    forged = two.token.rpartition(".")[0] + "." + one.work.token
    assert house.request("POST", ARTIFACTS + "ListArtifacts", forged, json={}).status_code == 401
    assert house.request("POST", ARTIFACTS + "ListArtifacts", None, json={}).status_code == 401
    assert house.request("POST", ARTIFACTS + "ListArtifacts", "a.b.c", json={}).status_code == 401


def test_uploads_are_bounded(jobs: tuple[Job, Job], house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = jobs
    monkeypatch.setattr(uploads, "BLOCK_BYTES", 10)
    monkeypatch.setattr(uploads, "MOST_BLOCKS", 2)
    _, made = one.twirp(ARTIFACTS + "CreateArtifact", name="a", version=4)
    url = made["signed_upload_url"]
    assert one.put(url, b"x" * 11, "&comp=block&blockid=AA") == 413
    assert one.put(url, b"x", "&comp=block&blockid=") == 400
    assert one.put(url, b"x", "&comp=block&blockid=" + "A" * 200) == 400
    assert [one.put(url, b"x", f"&comp=block&blockid={i}") for i in ("AA", "BB", "CC")] == [201, 201, 413]
    assert one.put(url, b"<Latest>ZZ</Latest>", "&comp=blocklist") == 400
    assert one.put(url, b"\xff", "&comp=blocklist") == 400 and one.put(url, b"", "&comp=blocklist") == 400
    assert one.put(url, b"", "&comp=nonsense") == 400
    assert one.put(url + "0", b"x") == 403 and one.put(url.replace("uploads/", "uploads/9"), b"x") == 403
    house.time[0] += uploads.LINK_S * 1000 + 1
    assert one.put(url, b"x") == 403
    house.time[0] += uploads.KEEP_MS
    house.write(lambda tx: (uploads.sweep(tx, house.time[0]), artifacts.sweep(tx, house.time[0])))
    assert house.write(lambda tx: tx.find(Record, Page(), project_id=one.work.project_id)) == []


def test_caches_are_found_by_key_then_by_its_beginning(jobs: tuple[Job, Job]) -> None:
    one, two = jobs
    assert one.found("npm-1") is None
    assert one.keep("npm-1", b"first") and one.keep("npm-2", b"second")
    assert two.found("npm-1") == ("npm-1", b"first")
    assert two.found("npm-3", "nope-", "npm-") == ("npm-2", b"second")
    assert two.found("npm-") == ("npm-2", b"second")  # a key is the beginning of others
    assert two.found("npm-1", version="other") is None
    assert not two.keep("npm-1", b"poison") and two.found("npm-1") == ("npm-1", b"first")  # never changed


def test_only_one_job_makes_an_entry(jobs: tuple[Job, Job], house: House) -> None:
    one, two = jobs
    assert one.twirp(CACHES + "CreateCacheEntry", key="k", version="v")[1]["ok"]
    assert not two.twirp(CACHES + "CreateCacheEntry", key="k", version="v")[1]["ok"]
    assert two.twirp(CACHES + "FinalizeCacheEntryUpload", key="k", version="v", size_bytes="1")[0] == 404
    house.finish(one.work)  # never completed: the next may
    assert two.keep("k", b"1") and two.found("k") == ("k", b"1")


@pytest.mark.parametrize("key", ["", "x" * 513, "a\nb", "a,b", None, 5])
def test_keys_that_are_none(jobs: tuple[Job, Job], key: Any) -> None:
    for method in ("CreateCacheEntry", "GetCacheEntryDownloadURL"):
        assert jobs[0].twirp(CACHES + method, key=key, version="v")[0] == 400


def test_a_path_as_a_key_is_only_a_name(jobs: tuple[Job, Job]) -> None:
    assert jobs[0].keep("../../etc/passwd", b"x") and jobs[1].found("../../etc/passwd") == (
        "../../etc/passwd",
        b"x",
    )


def test_no_branch_reaches_anothers_cache(house: House) -> None:
    """reliability.md C19: what a branch keeps, only it and nobody above it reads; what an API caller brings
    along counts as no branch."""
    house.project(workflow=TWO_JOBS)
    default = "refs/heads/main"

    def job_in(**body: Any) -> Job:
        house.start(**body)
        made = Job(house, house.claim())
        house.claim()
        return made

    main = job_in()
    assert main.work.job.cache_scopes == (default,)
    assert main.keep("shared", b"of main")
    inline = job_in(workflow=None, workflowContent=[TWO_JOBS])
    scope, *readable = inline.work.job.cache_scopes
    assert scope.startswith("detached/") and readable == [default]
    assert inline.found("shared") == ("shared", b"of main")
    assert inline.keep("shared", b"poison") and inline.keep("fresh", b"poison")
    assert inline.found("shared") == ("shared", b"poison")  # its own comes first, for itself
    assert main.found("shared") == ("shared", b"of main") and main.found("fresh") is None


def test_a_project_keeps_no_more_than_it_may(
    jobs: tuple[Job, Job], house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = jobs
    monkeypatch.setattr(caches, "KEEP_BYTES", 10)
    for n in range(3):
        house.time[0] += 1000
        assert one.keep(f"k{n}", b"12345")
    assert one.found("k0") is None and one.found("k1") and one.found("k2")
    house.time[0] += caches.KEEP_MS + 1
    assert house.write(lambda tx: caches.sweep(tx, house.time[0])) == 2


def test_caches_of_version_one(jobs: tuple[Job, Job], house: House) -> None:
    one, _ = jobs
    base = "/_apis/artifactcache/"

    def ask(method: str, path: str, **more: Any) -> Any:
        return house.request(method, base + path, one.token, **more)

    assert ask("GET", "cache?keys=a,b&version=v").status_code == 204
    made = ask("POST", "caches", json={"key": "a", "version": "v", "cacheSize": 10})
    assert made.status_code == 201
    number = made.json()["cacheId"]
    for start, data in ((5, b"world"), (0, b"hello")):
        headers = {"Content-Range": f"bytes {start}-{start + 4}/*"}
        assert ask("PATCH", f"caches/{number}", content=data, headers=headers).status_code == 204
    assert ask("PATCH", f"caches/{number}", content=b"x").status_code == 400
    assert ask("POST", f"caches/{number}", json={"size": 11}).status_code == 400
    assert ask("POST", f"caches/{number}", json={"size": 10}).status_code == 204
    found = ask("GET", "cache?keys=nope,a&version=v").json()
    assert found["cacheKey"] == "a" and one.get(found["archiveLocation"]) == (200, b"helloworld")
    assert ask("POST", "caches", json={"key": "a", "version": "v"}).status_code == 409
    assert ask("GET", "nonsense").status_code == 404
    assert ask("POST", "caches/999999", json={"size": 1}).status_code == 404


def test_identity_tokens_are_for_jobs_that_may(jobs: tuple[Job, Job], house: House) -> None:
    path = "/_apis/identity/token?api-version=2.0&audience=sts.example"
    answer = house.request("GET", path, jobs[0].token)
    claims = json.loads(base64.urlsafe_b64decode(answer.json()["value"].split(".")[1] + "=="))
    assert claims["aud"] == "sts.example" and claims["iss"] == "http://ci.test"
    assert claims["sub"] == "repo:group/demo:ref:refs/heads/main" and claims["repository"] == "group/demo"
    assert claims["exp"] - claims["iat"] == 300
    assert (
        house.request("GET", path, jobs[1].token).status_code == 403
    )  # its own permissions name others only


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a":NaN}', b"\xff", b"[" * 100_000])
def test_bodies_that_are_none(jobs: tuple[Job, Job], house: House, body: bytes) -> None:
    for path in (ARTIFACTS + "CreateArtifact", CACHES + "CreateCacheEntry", "/_apis/artifactcache/caches"):
        answer = house.request("POST", path, jobs[0].token, content=body)
        assert answer.status_code == 400 and answer.json()["code"] == "invalid_argument"
    assert house.request("POST", "/twirp/x.Y/Z", jobs[0].token, json={}).json()["code"] == "bad_route"
