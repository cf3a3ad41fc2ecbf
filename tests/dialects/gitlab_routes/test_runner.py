"""The runner protocol, as gitlab-runner speaks it."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from dataclasses import replace
from typing import Any

import pytest

from runyard.dialects.gitlab import routes_runner
from runyard.engine.ports import ArtifactFilter, Page
from runyard.http.auth import hash_token


def zipped(**files: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def upload(house: Any, job: dict[str, Any], data: bytes, name: str = "artifacts.zip", **query: str) -> Any:
    return house.call(
        "POST",
        f"/jobs/{job['id']}/artifacts",
        token=None,
        params=query,
        headers={"JOB-TOKEN": job["token"]},
        files={"file": (name, data)},
    )


def trace(house: Any, job: dict[str, Any], start: int, text: bytes) -> Any:
    headers = {
        "JOB-TOKEN": job["token"],
        "Content-Range": f"{start}-{start + len(text) - 1}",
        "Content-Type": "text/plain",
    }
    return house.call("PATCH", f"/jobs/{job['id']}/trace", token=None, headers=headers, content=text)


def update(house: Any, job: dict[str, Any], state: str, **more: Any) -> Any:
    return house.call(
        "PUT", f"/jobs/{job['id']}", token=None, json={"token": job["token"], "state": state, **more}
    )


def test_a_whole_conversation(house: Any) -> None:
    project = house.project()
    pipeline = house.pipeline(project)["id"]
    token = house.runner()
    verified = house.call("POST", "/runners/verify", token=None, json={"token": token, "system_id": "s_1"})
    assert (
        verified.status_code == 200
        and verified.json()["id"]
        and verified.headers["content-type"] == "application/json"
    )
    job = house.claim(token, features={"cancel_gracefully": True, "upload_multiple_artifacts": True}).json()
    assert (
        job["job_info"]["name"] == "build"
        and job["job_info"]["project_jobs_running_on_instance_runners_count"] == "0"
    )
    assert (
        "run" not in job
        and job["steps"][0]["script"] == ["make"]
        and isinstance(job["steps"][0]["timeout"], int)
    )
    assert job["git_info"]["refspecs"][0] == f"+refs/pipelines/{pipeline}:refs/pipelines/{pipeline}"
    assert job["git_info"]["repo_url"] == f"http://gitlab-ci-token:{job['token']}@ci.test/group/demo.git"
    assert [a["artifact_type"] for a in job["artifacts"]] == ["archive", "junit", "dotenv"]
    assert {v["key"] for v in job["variables"]} >= {
        "CI",
        "CI_JOB_ID",
        "CI_PIPELINE_ID",
        "CI_JOB_TOKEN",
        "CI_COMMIT_SHA",
    }
    answer = trace(house, job, 0, b"hello\n")
    assert (
        answer.status_code == 202
        and answer.headers["range"] == "0-6"
        and answer.headers["job-status"] == "running"
    )
    assert (
        trace(house, job, 99, b"gap").status_code == 416
        and trace(house, job, 99, b"gap").headers["range"] == "0-6"
    )
    assert trace(house, job, 3, b"lo\nmore\n").headers["range"] == "0-11"
    assert update(house, job, "running").status_code == 200
    assert (
        upload(
            house,
            job,
            zipped(**{"out/a.txt": "A", "b.txt": "B"}),
            artifact_type="archive",
            artifact_format="zip",
            expire_in="1 week",
        ).status_code
        == 201
    )
    xml = b'<testsuite><testcase name="t1" classname="c" time="0.5"/><testcase name="t2"><failure message="no">why</failure></testcase></testsuite>'
    assert (
        upload(
            house, job, gzip.compress(xml), "junit.xml.gz", artifact_type="junit", artifact_format="gzip"
        ).status_code
        == 201
    )
    assert (
        upload(
            house,
            job,
            gzip.compress(b"V=1\nW=a=b\n"),
            ".env.gz",
            artifact_type="dotenv",
            artifact_format="gzip",
        ).status_code
        == 201
    )
    log = b"hello\nmore\n"
    output = {"checksum": f"crc32:{zlib.crc32(log):08x}", "bytesize": len(log)}
    assert update(house, job, "success", output=output).status_code == 200
    assert update(house, job, "success", output=output).status_code == 200
    late = trace(house, job, 11, b"late")
    assert late.status_code == 403 and late.headers["job-status"] == "success"
    at = f"/projects/{project}/jobs/{job['id']}"
    shown = house.get(at)
    assert (
        shown["status"] == "success"
        and shown["artifacts_file"]["filename"] == "artifacts.zip"
        and shown["artifacts_expire_at"]
    )
    assert {a["file_type"] for a in shown["artifacts"]} == {"archive", "junit", "dotenv", "trace"}
    assert shown["runner"]["status"] == "online" and shown["duration"] == 0.0
    assert house.call("GET", f"{at}/trace").content == log
    report = house.get(f"/projects/{project}/pipelines/{pipeline}/test_report")
    assert (report["total_count"], report["failed_count"], report["test_suites"][0]["name"]) == (
        2,
        1,
        "build",
    )
    assert house.get(f"/projects/{project}/pipelines/{pipeline}/test_report_summary")["total"]["failed"] == 1

    test = house.claim(token).json()
    assert test["job_info"]["name"] == "test"
    assert {"key": "V", "value": "1", "public": True, "masked": False, "raw": True} in test["variables"]
    assert [(d["id"], d["name"], d["token"]) for d in test["dependencies"]] == [
        (job["id"], "build", test["token"])
    ]
    got = house.call("GET", f"/jobs/{job['id']}/artifacts", token=None, headers={"JOB-TOKEN": test["token"]})
    assert got.status_code == 200 and zipfile.ZipFile(io.BytesIO(got.content)).read("out/a.txt") == b"A"
    trace(house, test, 0, b"Total: 12.5%\nTotal: 87.25%\n")
    assert update(house, test, "failed", failure_reason="script_failure", exit_code=7).status_code == 200
    failed = house.get(f"/projects/{project}/jobs/{test['id']}")
    assert (
        failed["failure_reason"] == "script_failure"
        and failed["allow_failure"]
        and failed["coverage"] == 87.25
    )
    done = house.get(f"/projects/{project}/pipelines/{pipeline}")
    assert done["status"] == "success" and done["detailed_status"]["label"] == "passed with warnings"


def test_artifacts_all_ways(house: Any) -> None:
    project = house.project(config="build job:\n  script: [x]\n  artifacts: {paths: [a]}\n")
    house.pipeline(project)
    job = house.claim(house.runner()).json()
    data = zipped(**{"out/ü.txt": "umlaut", "plain.html": "<script>"})
    upload(house, job, data, artifact_type="archive", artifact_format="zip")
    update(house, job, "success")
    at = f"/projects/group%2Fdemo/jobs/{job['id']}/artifacts"
    assert house.call("GET", at).content == data and house.call("HEAD", at).status_code == 200
    single = house.call("GET", f"{at}/out/%C3%BC.txt")
    assert single.text == "umlaut" and single.headers["content-disposition"].startswith("attachment")
    assert (
        single.headers["x-content-type-options"] == "nosniff"
        and "sandbox" in single.headers["content-security-policy"]
    )
    by_ref = f"/projects/{project}/jobs/artifacts/main"
    assert house.call("GET", f"{by_ref}/download?job=build+job").content == data
    assert house.call("GET", f"{by_ref}/raw/plain.html?job=build+job").text == "<script>"
    for path in ("../x", "out%2F..%2Fplain.html", "%2e%2e%2fplain.html", "/etc/passwd", "out%5Cx"):
        assert house.call("GET", f"{at}/{path}").status_code in (400, 404), path
    assert (
        house.call("GET", f"{at}/nope").status_code
        == house.call("GET", f"{by_ref}/download?job=nope").status_code
        == 404
    )
    assert (
        house.call("GET", f"/projects/{project}/jobs/artifacts/feat/x/download?job=build+job").status_code
        == 404
    )
    kept = house.call("POST", f"{at}/keep", json={})
    assert kept.status_code == 200 and kept.json()["artifacts_expire_at"] is None
    assert (
        house.call("DELETE", f"/projects/{project}/artifacts").status_code == 202
        and house.call("GET", at).status_code == 200
    )
    assert house.call("DELETE", at).status_code == 204 and house.call("GET", at).status_code == 404
    assert house.call("POST", f"{at}/keep", json={}).status_code == 404


def test_expired_artifacts_are_gone(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    job = house.claim(house.runner()).json()
    upload(house, job, zipped(a="1"), artifact_type="archive", artifact_format="zip", expire_in="1 hour")
    update(house, job, "success")
    house.time[0] += 3_600_001
    assert house.call("GET", f"/projects/{project}/jobs/{job['id']}/artifacts").status_code == 404


def test_cancel_reaches_a_graceful_runner_and_ends_an_old_one(house: Any) -> None:
    project = house.project(config="a:\n  script: [x]\n")
    house.pipeline(project)
    house.pipeline(project)
    token = house.runner()
    graceful = house.claim(token, features={"cancel_gracefully": True}).json()
    canceled = house.call("POST", f"/projects/{project}/jobs/{graceful['id']}/cancel", json={}).json()
    assert canceled["status"] == "canceling"
    assert trace(house, graceful, 0, b"x").headers["job-status"] == "canceling"
    assert update(house, graceful, "failed", failure_reason="script_failure").status_code == 200
    assert house.get(f"/projects/{project}/jobs/{graceful['id']}")["status"] == "canceled"
    old = house.claim(token, features={"trace_reset": True}).json()
    ended = house.call("POST", f"/projects/{project}/jobs/{old['id']}/cancel", json={}).json()
    assert ended["status"] == "canceled" and ended["finished_at"]
    told = trace(house, old, 0, b"x")
    assert told.status_code == 403 and told.headers["job-status"] == "canceled"
    assert update(house, old, "failed").headers["job-status"] == "canceled"
    house.pipeline(project)
    third = house.claim(token, features={}).json()
    run = house.call(
        "POST", f"/projects/{project}/pipelines/{third['job_info']['pipeline_id']}/cancel"
    ).json()
    assert run["status"] == "canceled"


def test_every_call_for_a_job_that_is_over_hears_how_it_ended(house: Any) -> None:
    project = house.project(config="a:\n  script: [x]\n")
    house.pipeline(project)
    job = house.claim(house.runner()).json()
    assert update(house, job, "success").status_code == 200
    sent = upload(house, job, zipped(a="1"), artifact_type="archive", artifact_format="zip")
    read = house.call("GET", f"/jobs/{job['id']}/artifacts", token=None, headers={"JOB-TOKEN": job["token"]})
    for answer in (sent, read, trace(house, job, 0, b"x"), update(house, job, "running")):
        assert answer.status_code == 403 and answer.headers["job-status"] == "success"
    wrong = house.call(
        "GET", f"/jobs/{job['id']}/artifacts", token=None, headers={"JOB-TOKEN": f"{job['token']}x"}
    )
    assert wrong.status_code == 403 and "job-status" not in wrong.headers


def test_a_known_type_has_one_format(house: Any) -> None:
    project = house.project(config="a:\n  script: [x]\n")
    house.pipeline(project)
    job = house.claim(house.runner()).json()
    for kind, form in (("archive", "gzip"), ("junit", "zip"), ("dotenv", "raw"), ("sast", "gzip")):
        answer = upload(house, job, zipped(a="1"), artifact_type=kind, artifact_format=form)
        assert answer.status_code == 400 and "Invalid file format" in answer.json()["message"]
    unknown = upload(house, job, zipped(a="1"), artifact_type="unheard_of", artifact_format="raw")
    assert (unknown.status_code, unknown.json()) == (
        400,
        {"error": "artifact_type does not have a valid value"},
    )
    ours = {"artifact_type": "unheard_of", "artifact_format": "raw", "artifact_name": "mine"}
    assert upload(house, job, b"?", **ours).status_code == 201


def test_no_dependencies_means_no_dotenv_either(house: Any) -> None:
    project = house.project(
        config="""
stages: [one, two]
a: {stage: one, script: [x], artifacts: {reports: {dotenv: e.env}}}
b: {stage: two, script: [x], dependencies: []}
c: {stage: two, script: [x], dependencies: [a]}
d: {stage: two, script: [x]}
"""
    )
    house.pipeline(project)
    token = house.runner()
    first = house.claim(token).json()
    sent = upload(house, first, gzip.compress(b"WORD=1\n"), artifact_type="dotenv", artifact_format="gzip")
    assert sent.status_code == 201
    update(house, first, "success")
    jobs = [house.claim(token).json() for _ in range(3)]
    got = {job["job_info"]["name"]: "WORD" in {v["key"] for v in job["variables"]} for job in jobs}
    assert got == {"b": False, "c": True, "d": True}


def test_a_stock_runner_never_gets_what_it_cannot_execute_and_ours_gets_the_whole_plan(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    assert house.claim(house.runner(tag_list="windows")).status_code == 204
    ours = house.claim(house.runner(), features={"runyard": True}).json()
    assert ours["runyard"]["attempt_id"] == ours["id"] and ours["runyard"]["job"]["steps"]
    answer = update(
        house, ours, "failed", failure_reason="runner_system_failure",
        runyard={"outcome": "errored", "reason": "image_unavailable", "message": "no image", "outputs": {"a": "b"}},
    )  # fmt: skip
    assert answer.status_code == 200
    assert (
        house.get(f"/projects/{project}/jobs/{ours['id']}")["failure_reason"]
        == "runner_external_dependency_failure"
    )


def test_steps_of_our_runner_are_noted(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    ours = house.claim(house.runner(), features={"runyard": True}).json()
    headers = {"JOB-TOKEN": ours["token"]}
    body = {
        "key": "script",
        "name": "make",
        "state": "done",
        "outcome": "passed",
        "exit_code": 0,
        "started_at": 1,
        "finished_at": 2,
    }
    assert (
        house.call("PUT", f"/jobs/{ours['id']}/steps/0", token=None, headers=headers, json=body).status_code
        == 200
    )
    assert [s.name for s in house.services.db.submit_read(lambda tx: tx.steps(ours["id"])).result()] == [
        "make"
    ]
    assert (
        house.call("PUT", f"/jobs/{ours['id']}/steps/x", token=None, headers=headers, json=body).status_code
        == 404
    )
    assert (
        house.call(
            "PUT", f"/jobs/{ours['id']}/steps/0", token=None, headers=headers, json={**body, "state": "?"}
        ).status_code
        == 400
    )


def test_a_job_cannot_fill_the_database_with_steps(house: Any) -> None:
    """It holds the token that its runner uses (reliability.md §5 J6)."""
    project = house.project()
    house.pipeline(project)
    ours = house.claim(house.runner(), features={"runyard": True}).json()

    def put(position: int, **more: Any) -> int:
        answer = house.call(
            "PUT", f"/jobs/{ours['id']}/steps/{position}", token=None, headers={"JOB-TOKEN": ours["token"]},
            json={"name": "x", "state": "running", **more},
        )  # fmt: skip
        return int(answer.status_code)

    assert put(0) == 200
    assert put(99) == 404
    assert put(0, extra={"summary": "x" * (3 << 20)}) == 413


def test_nothing_to_do_is_204_with_a_stamp_and_a_paused_runner_gets_nothing(house: Any) -> None:
    token = house.runner()
    answer = house.claim(token)
    assert answer.status_code == 204 and answer.headers["x-gitlab-last-update"] and answer.content == b""
    project = house.project()
    house.pipeline(project)
    runner = house.get("/runners/all")[0]
    assert house.call("PUT", f"/runners/{runner['id']}", json={"paused": True}).json()["paused"] is True
    assert house.claim(token).status_code == 204
    house.call("PUT", f"/runners/{runner['id']}", json={"paused": False})
    assert house.claim(token).status_code == 201


@pytest.mark.parametrize(
    "path", ["/runners/verify", "/jobs/request", "/runners/reset_authentication_token", "/runners"]
)
def test_a_wrong_runner_token_is_403(house: Any, path: str) -> None:
    for token in ("wrong", "glpat-root", "x" * 600):
        answer = house.call("POST", path, token=None, json={"token": token})
        assert (answer.status_code, answer.json()) == (403, {"message": "403 Forbidden"}), token
    assert house.call("POST", path, token=None, json={}).status_code in (400, 403)


def test_a_token_reset_by_two_at_once_is_reset_once(house: Any) -> None:
    old, new_token = house.runner(), house.services.new_token

    def meanwhile(prefix: str) -> str:
        """After the request was read and before it is written, another has reset the token and somebody has
        paused the runner."""
        house.write(
            lambda tx: [
                tx.save(replace(row, paused=True, token_hash=hash_token("glrt-first")))
                for row in tx.runners(Page(limit=10))
            ]
        )
        return str(new_token(prefix))

    object.__setattr__(house.services, "new_token", meanwhile)
    late = house.call("POST", "/runners/reset_authentication_token", token=None, json={"token": old})
    assert late.status_code == 403
    first = house.services.db.submit_read(lambda tx: tx.runner_by_hash(hash_token("glrt-first"))).result()
    assert first is not None and first.paused


def test_a_runner_token_opens_no_user_door_and_a_job_token_only_its_own(house: Any) -> None:
    project, other = house.project(), house.project("group/other")
    house.pipeline(project)
    token = house.runner()
    job = house.claim(token).json()
    assert house.call("GET", "/user", token=token).status_code == 401
    as_job = {"JOB-TOKEN": job["token"]}
    assert house.call("GET", "/job", token=None, headers=as_job).json()["id"] == job["id"]
    assert house.call("GET", "/job").status_code == 404
    assert house.call("GET", f"/projects/{project}/jobs", token=None, headers=as_job).status_code == 200
    assert house.call("GET", f"/projects/{other}/jobs", token=None, headers=as_job).status_code == 404
    for method, path in (
        ("GET", "/user"),
        ("POST", f"/projects/{project}/pipeline"),
        ("GET", f"/projects/{project}/variables"),
    ):
        assert house.call(method, path, token=None, headers=as_job).status_code == 401
        assert house.call(method, path, token=job["token"]).status_code == 401
    assert (
        house.call(
            "GET", f"/projects/{project}/jobs", token=None, headers={"JOB-TOKEN": "glpat-root"}
        ).status_code
        == 401
    )
    second = {**job, "id": job["id"] + 1}
    assert trace(house, second, 0, b"x").status_code == 403 and upload(house, second, b"x").status_code == 403
    assert update(house, second, "success").status_code == 403
    update(house, job, "success")
    assert house.call("GET", "/job", token=None, headers=as_job).status_code == 401


def test_a_storm_of_registrations_ends(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_runner, "MOST_RUNNERS", 2)
    house.runner()
    house.runner()
    answer = house.call("POST", "/runners", token=None, json={"token": "GRsecret"})
    assert answer.status_code == 403 and "too many runners" in answer.json()["message"]


def test_bad_pieces_of_the_protocol(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    job = house.claim(house.runner()).json()
    headers = {"JOB-TOKEN": job["token"]}
    at = f"/jobs/{job['id']}"
    for given in (
        {},
        {"Content-Range": "x"},
        {"Content-Range": "5-2"},
        {"Content-Range": "99999999999999999999-"},
    ):
        assert (
            house.call(
                "PATCH", f"{at}/trace", token=None, headers={**headers, **given}, content=b"x"
            ).status_code
            == 400
        )
    assert trace(house, {**job, "id": 999}, 0, b"x").status_code == 404
    assert trace(house, {**job, "token": "no"}, 0, b"x").status_code == 403
    assert update(house, job, "weird").status_code == 400
    assert house.call("POST", f"{at}/artifacts", token=None, headers=headers, content=b"x").status_code == 400
    assert (
        upload(house, job, b"A=1\nB\n", ".env", artifact_type="dotenv", artifact_format="raw").status_code
        == 400
    )
    assert (
        upload(house, job, b"x" * (5 << 20), artifact_type="archive", artifact_format="zip").status_code
        == 413
    )
    archive = zipped(a="1")  # twice the same: a zip made later would have another time in it
    for _ in range(2):
        assert upload(house, job, archive, artifact_type="archive", artifact_format="zip").status_code == 201
    assert (
        upload(house, job, zipped(a="2"), artifact_type="archive", artifact_format="zip").status_code == 400
    )
    cut = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
    multipart = {**headers, "Content-Type": "multipart/form-data; boundary=b"}
    assert (
        house.call("POST", f"{at}/artifacts", token=None, headers=multipart, content=cut).status_code == 400
    )
    assert update(house, job, "failed", failure_reason="made_up", exit_code=10**9).status_code == 200
    assert house.get(f"/projects/{project}/jobs/{job['id']}")["failure_reason"] == "unknown_failure"


def test_a_log_that_did_not_arrive_is_asked_for_again(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    job = house.claim(house.runner()).json()
    assert update(house, job, "success", output={"bytesize": 5}).status_code == 412
    trace(house, job, 0, b"12345")
    assert update(house, job, "success", output={"bytesize": 5}).status_code == 200


def test_a_waiting_runner_is_woken(house: Any) -> None:
    import asyncio

    import httpx

    project = house.project()
    token = house.runner()
    stamp = house.claim(token).headers["x-gitlab-last-update"]

    async def both() -> tuple[int, float]:
        transport = httpx.ASGITransport(app=house.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://ci.test/api/v4") as client:
            loop = asyncio.get_running_loop()
            body = {"token": token, "last_update": stamp, "info": {}}
            waiting = asyncio.ensure_future(client.post("/jobs/request", json=body))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            made = await client.post(
                f"/projects/{project}/pipeline", json={"ref": "main"}, headers={"PRIVATE-TOKEN": "glpat-root"}
            )
            begun = loop.time()
            assert made.status_code == 201
            return (await waiting).status_code, loop.time() - begun

    status, seconds = house.run(both())
    assert status == 201 and seconds < 2


def test_what_a_job_used_is_kept_for_its_own_runner_only(house: Any) -> None:
    project = house.project()
    house.pipeline(project)
    ours = house.claim(house.runner(), features={"runyard": True}).json()
    sample = {"at": 1_800_000_000_000, "cpu": 0.5, "memory_bytes": 10, "limit_bytes": 20}

    def put(token: str, body: Any) -> int:
        answer = house.call(
            "PUT", f"/jobs/{ours['id']}/usage", token=None, headers={"JOB-TOKEN": token}, json=body
        )
        return int(answer.status_code)

    assert put(ours["token"], {"samples": [sample]}) == 200
    assert put("glcbt-1-wrong", {"samples": [sample]}) == 403
    for bad in (
        {},
        {"samples": 3},
        {"samples": [{"at": "x"}]},
        {"samples": [{**sample, "cpu": 7}]},
        {"samples": [sample] * 101},
    ):
        assert put(ours["token"], bad) == 400
    kept = house.services.db.submit_read(lambda tx: tx.samples(ours["id"])).result()
    assert len(kept) == 1 and len(kept[0]) == 28


def test_reports_are_read_when_they_arrive(house: Any) -> None:
    """Broken links are refused as GitLab refuses them; any other broken report is kept, and the job's page
    says so."""
    project = house.project(config="a: {script: [x]}\n")
    house.pipeline(project)
    job = house.claim(house.runner()).json()
    sent = {
        ("codequality", "raw"): (b'[{"description":"d","fingerprint":"f","location":{"path":"a","lines":{"begin":1}}}]', 201),
        ("terraform", "raw"): (b'{"create": 1}', 201),
        ("annotations", "gzip"): (gzip.compress(b'{"a":[{"external_link":{"label":"l","url":"javascript:1"}}]}'), 400),
        ("dotenv", "gzip"): (gzip.compress(b"no variable"), 400),
        ("repository_xray", "gzip"): (b"?", 201),
    }  # fmt: skip
    for (kind, form), (data, status) in sent.items():
        answer = upload(house, job, data, artifact_type=kind, artifact_format=form)
        assert answer.status_code == status, (kind, answer.text)
    filter = ArtifactFilter(attempt_id=job["id"])
    rows = house.services.db.submit_read(lambda tx: tx.artifacts(filter, Page(limit=10))).result()
    assert {row.type: row.extra.get("report", {}) for row in rows} == {
        "codequality": {
            "title": "1 finding: 1 unknown", "head": ["Severity", "Finding", "Where"], "rows": [["unknown", "d", "a:1"]],
        },
        "terraform": {"problem": "This terraform report cannot be read: Object missing required field `update`"},
        "repository_xray": {},
    }  # fmt: skip


def test_a_matrix_has_a_suite_for_each_leg_and_parallel_jobs_have_one(house: Any) -> None:
    """GitLab: `Ci::Build#test_suite_name`."""
    project = house.project(
        config="a: {script: [x], parallel: 2}\nb: {script: [x], parallel: {matrix: [{V: [m, n]}]}}\n"
    )
    pipeline = house.pipeline(project)["id"]
    token = house.runner()
    for number in range(4):
        job = house.claim(token).json()
        xml = f'<testsuite><testcase name="t{number}"/></testsuite>'.encode()
        upload(house, job, gzip.compress(xml), artifact_type="junit", artifact_format="gzip")
    found = house.get(f"/projects/{project}/pipelines/{pipeline}/test_report_summary")
    assert [(s["name"], s["total_count"], len(s["build_ids"])) for s in found["test_suites"]] == [
        ("a", 2, 2),
        ("b: [m]", 1, 1),
        ("b: [n]", 1, 1),
    ]
    assert found["total"]["count"] == 4
