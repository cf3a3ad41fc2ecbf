"""The pages say what the engine says, to those who may know, and escape everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from runyard.engine.ports import Tx
from runyard.http.auth import hash_token
from runyard.http.session import end
from runyard.model.state import Hold, State
from runyard.model.work import Artifact, Attempt, Job, Project, Step, Token
from runyard.web import pages
from runyard.web.ansi import LogHtml
from runyard.web.routes import site
from tests.web.conftest import HOSTILE, LOG, TOKEN, World


@pytest.fixture
def stranger(world: World) -> Iterator[TestClient]:
    with TestClient(site(world.services, ["gitlab", "depot"]), base_url="http://runyard.test") as client:
        yield client


@pytest.fixture
def person(stranger: TestClient) -> TestClient:
    answer = stranger.post("/sign-in", data={"token": TOKEN, "next": "/"}, follow_redirects=False)
    assert answer.status_code == 303
    return stranger


def test_a_stranger_sees_no_private_run(stranger: TestClient, world: World) -> None:
    assert "team/app" not in stranger.get("/").text
    run, job = world.run.id, world.attempts["compile"]
    for path in (
        "/team/app",
        f"/team/app/-/pipelines/{run}",
        f"/team/app/-/jobs/{job}",
        f"/team/app/-/jobs/{job}/raw",
    ):
        assert stranger.get(path).status_code == 404
    assert stranger.get(f"/-/events/run/{run}").status_code == 404
    assert stranger.get(f"/team/app/-/jobs/{job}/log-events").status_code == 404


def test_a_public_project_is_open_to_read_and_closed_to_change(stranger: TestClient, world: World) -> None:
    def publish(tx):  # type: ignore[no-untyped-def]
        tx.save(replace(tx.project_by_path("team/app"), visibility="public"))

    world.write(publish)
    assert stranger.get(f"/team/app/-/pipelines/{world.run.id}").status_code == 200
    answer = stranger.post(f"/team/app/-/pipelines/{world.run.id}/cancel")
    assert answer.status_code == 401


def test_signing_in_takes_a_valid_token_only(stranger: TestClient) -> None:
    answer = stranger.post("/sign-in", data={"token": "glpat-wrong"})
    assert answer.status_code == 401
    assert "not valid" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_session_ends_with_the_token_that_opened_it_and_opens_no_other(
    stranger: TestClient, world: World
) -> None:
    now = world.services.now()

    def add(tx: Tx) -> Token:
        root = tx.token_by_hash(hash_token(TOKEN))
        assert root is not None
        return tx.add(replace(root, id=0, hash=hash_token("glpat-short"), expires_at=now + 60_000))

    short = world.write(add)
    assert stranger.post("/sign-in", data={"token": "glpat-short"}, follow_redirects=False).status_code == 303
    cookie = stranger.cookies["runyard_session"]
    session = world.read(lambda tx: tx.token_by_hash(hash_token(cookie)))
    assert session.expires_at == short.expires_at
    assert stranger.post("/sign-in", data={"token": cookie}).status_code == 401
    assert "team/app" in stranger.get("/").text
    world.write(lambda tx: end(tx, short, now))
    assert "team/app" not in stranger.get("/").text
    root = world.read(lambda tx: tx.token_by_hash(hash_token(TOKEN)))
    assert root.revoked_at is None, "other tokens go on"


def test_no_form_takes_files(person: TestClient, world: World) -> None:
    """Starlette's own reader would put them on the disk, whatever their size, for strangers too."""
    job = world.attempts["compile"]
    forms = ("/sign-in", "/-/login/x", "/team/app/-/pipelines", f"/team/app/-/jobs/{job}/retry")
    for path in forms:
        answer = person.post(path, files={"token": ("a", b"x")})
        assert answer.status_code == 400 and "urlencoded" in answer.text, path


def test_the_way_to_sign_in_leads_back_to_the_page(stranger: TestClient, world: World) -> None:
    here = f"/team/app/-/pipelines/{world.run.id}"
    for path in (here, "/team/app"):
        assert stranger.get(path).text.count(f'href="/sign-in?{urlencode({"next": path})}"') == 2
    assert 'href="/sign-in' not in stranger.get("/sign-in").text


def test_signing_out_ends_the_session_itself(person: TestClient) -> None:
    cookie = person.cookies["runyard_session"]
    person.post("/sign-out")
    person.cookies.set("runyard_session", cookie)
    assert "team/app" not in person.get("/").text


def test_the_way_back_after_signing_in_stays_on_this_site(stranger: TestClient) -> None:
    for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
        answer = stranger.post("/sign-in", data={"token": TOKEN, "next": target}, follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_a_run_shows_every_job_with_its_state(person: TestClient, world: World) -> None:
    html = person.get(f"/team/app/-/pipelines/{world.run.id}").text
    for name in ("compile", "unit: [3.11]", "deploy"):
        assert name in html
    assert html.count('class="card ') == 6
    assert "waits for someone to start it" not in html or "held" in html


@pytest.mark.parametrize("path", ["/", "/team/app", "/team/app/-/pipelines/{run}", "/team/app/-/jobs/{job}"])
def test_a_strangers_text_is_escaped_everywhere(person: TestClient, world: World, path: str) -> None:
    html = person.get(path.format(run=world.run.id, job=world.attempts[HOSTILE])).text
    assert "<img src=x" not in html
    assert "<script>alert" not in html
    assert "javascript:" not in html


def test_every_page_has_a_strict_policy(person: TestClient) -> None:
    for path in ("/", "/nothing/here", "/static/runyard.js"):
        headers = person.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_raw_log_is_text_and_whole(person: TestClient, world: World) -> None:
    answer = person.get(f"/team/app/-/jobs/{world.attempts['compile']}/raw")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.endswith("done\n")


def test_a_job_page_numbers_its_lines_and_links_them(person: TestClient, world: World) -> None:
    html = person.get(f"/team/app/-/jobs/{world.attempts['compile']}").text
    numbers = [int(n) for n in re.findall(r'id="L(\d+)"', html)]
    shown = [
        at for at, line in enumerate(LOG.split(b"\n"), 1) if line and not line.startswith(b"section_end")
    ]
    assert numbers == shown and len(numbers) > 3
    assert 'href="#L2"' in html


def test_a_long_log_is_leafed_through_from_its_end(
    person: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runyard.web.window.SHOWN_BYTES", 64)
    here = f"/team/app/-/jobs/{world.attempts['compile']}"
    page, seen = person.get(here).text, []
    assert "data-events=" in page and "of later output" not in page
    while True:
        seen = [*re.findall(r'id="(L\d+)"', page), *seen]
        before = re.search(r'href="([^"]*\?until=\d+)"', page)
        if before is None:
            break
        page = person.get(before[1]).text
        assert "of later output" in page and "data-events=" not in page
    whole = re.findall(r'id="(L\d+)"', "".join(LogHtml().feed(LOG)))
    assert seen == whole and len(whole) > 3


def test_runs_of_one_branch_or_commit(person: TestClient, world: World) -> None:
    run = f"/team/app/-/pipelines/{world.run.id}"
    shown = person.get(run).text
    for link in (f"/team/app?ref={world.run.ref}", f"/team/app?sha={world.run.sha}"):
        assert f'href="{link}"' in shown
        assert f'href="{run}"' in person.get(link).text
    for other in ("?ref=elsewhere", "?sha=" + "f" * 40):
        page = person.get(f"/team/app{other}").text
        assert f'href="{run}"' not in page and "Nothing matches this filter." in page


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/?ref=main", "in one project"),
        ("/?sha=" + "f" * 40, "in one project"),
        ("/team/app?sha=%25", "whole id"),
        ("/team/app?sha=fff", "whole id"),
    ],
)
def test_what_only_a_walk_through_all_history_could_answer_is_not_asked_of_the_store(
    person: TestClient, address: str, said: str
) -> None:
    answer = person.get(address)
    assert answer.status_code == 400 and said in answer.text


def test_the_pages_of_a_list_come_to_an_end(
    person: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = world.write(
        lambda tx: tx.add(replace(world.run, id=0, number=world.run.number + 1, idempotency_key=None))
    )
    monkeypatch.setattr(pages, "PAGE", 1)
    assert "Older →" in person.get("/").text
    monkeypatch.setattr(pages, "LAST_PAGE", 0)
    for page in ("/", "/?page=1", "/?page=99999999999"):
        text = person.get(page).text
        assert f"/-/pipelines/{second.id}" in text and "Older →" not in text


def test_the_log_stream_of_a_done_job_sends_all_and_ends(person: TestClient, world: World) -> None:
    text = person.get(f"/team/app/-/jobs/{world.attempts['compile']}/log-events").text
    assert "event: lines" in text
    assert text.rstrip().endswith('data: ""')
    assert "event: end" in text
    assert "alert('log')</script>" not in text


def test_buttons_do_what_they_say(person: TestClient, world: World) -> None:
    job = world.attempts["unit: [3.11]"]
    answer = person.post(f"/team/app/-/jobs/{job}/cancel", follow_redirects=False)
    assert answer.headers["location"] == f"/team/app/-/jobs/{job}"
    assert world.read(lambda tx: tx.get(Attempt, job)).state is State.STOPPING
    failed = world.attempts[HOSTILE]
    answer = person.post(f"/team/app/-/jobs/{failed}/retry", follow_redirects=False)
    again = int(answer.headers["location"].rsplit("/", 1)[1])
    assert again > failed
    person.post(f"/team/app/-/pipelines/{world.run.id}/cancel")
    states = {a.state for _, a in world.read(lambda tx: tx.graph(world.run.id))}
    assert states <= {State.DONE, State.STOPPING}


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_another_sites_form_changes_nothing(
    person: TestClient, world: World, headers: dict[str, str]
) -> None:
    answer = person.post(f"/team/app/-/pipelines/{world.run.id}/cancel", headers=headers)
    assert answer.status_code == 403
    assert world.read(lambda tx: tx.get(Attempt, world.attempts["lint"])).state is not State.DONE


def test_an_impossible_button_says_why(person: TestClient, world: World) -> None:
    answer = person.post(f"/team/app/-/jobs/{world.attempts['compile']}/play")
    assert answer.status_code == 409


def test_a_manual_jobs_question_is_asked_and_a_delayed_one_can_be_stopped(
    person: TestClient, world: World
) -> None:
    deploy = world.attempts["deploy"]

    def holds(hold: Hold) -> None:
        world.write(
            lambda tx: tx.save(
                replace(tx.get(Attempt, deploy), state=State.HELD, hold=hold, run_after_at=1 << 41)
            )
        )

    holds(Hold.MANUAL)
    for path in (f"/team/app/-/pipelines/{world.run.id}", f"/team/app/-/jobs/{deploy}"):
        assert "<p>Really? &lt;img src=x onerror=alert(1)&gt;</p>" in person.get(path).text
    holds(Hold.DELAYED)
    html = person.get(f"/team/app/-/jobs/{deploy}").text
    assert "Start now" in html and "/unschedule" in html
    assert person.post(f"/team/app/-/jobs/{deploy}/unschedule", follow_redirects=False).status_code == 303
    assert world.read(lambda tx: tx.get(Attempt, deploy)).hold is Hold.MANUAL
    assert person.post(f"/team/app/-/jobs/{world.attempts['compile']}/unschedule").status_code == 409


def test_artifacts_kept_to_a_role_are_not_shown_to_others(
    stranger: TestClient, person: TestClient, world: World
) -> None:
    ref = world.services.blobs.put([b"secret"])

    def hide(tx):  # type: ignore[no-untyped-def]
        tx.save(replace(tx.project_by_path("team/app"), visibility="public"))
        at = tx.get(Attempt, world.attempts["compile"])
        job = tx.get(Job, at.job_id)
        tx.save(replace(job, plan=replace(job.plan, artifacts_from=30)))
        row = Artifact(
            0, at.id, at.run_id, at.project_id, "a", "archive", "zip", "kept.zip", 6, ref.sha256, ref.key
        )
        return tx.add(row).id

    number = world.write(hide)
    paths = [f"/team/app/-/jobs/{world.attempts['compile']}", f"/team/app/-/pipelines/{world.run.id}"]
    assert all("kept.zip" in person.get(path).text for path in paths)
    assert person.get(f"/team/app/-/artifacts/{number}").content == b"secret"
    person.cookies.clear()
    assert all("kept.zip" not in stranger.get(path).text for path in paths)
    assert stranger.get(f"/team/app/-/artifacts/{number}").status_code == 404


def test_an_expired_artifact_is_gone_before_it_is_swept(person: TestClient, world: World) -> None:
    attempt = world.read(lambda tx: tx.get(Attempt, world.attempts["compile"]))
    blob = world.services.blobs.put([b"PK"])
    ends = (world.services.now() - 1, world.services.now() + 3_600_000, None)

    def leave(tx: Tx) -> list[int]:
        about = (attempt.id, attempt.run_id, attempt.project_id)
        one = Artifact(0, *about, "a", "archive", "zip", "a.zip", 2, blob.sha256, blob.key)
        return [tx.add(replace(one, expires_at=end)).id for end in ends]

    numbers = world.write(leave)
    codes = [person.get(f"/team/app/-/artifacts/{number}").status_code for number in numbers]
    assert codes == [404, 200, 200]
    assert person.get(f"/team/app/-/artifacts/{numbers[0]}/files").status_code == 404


def test_another_projects_job_is_not_found_under_this_path(person: TestClient, world: World) -> None:
    world.write(lambda tx: tx.add(Project(id=0, path="other/thing", created_at=1)))
    assert person.get(f"/other/thing/-/jobs/{world.attempts['compile']}").status_code == 404


def test_filters_and_pages_take_any_text(person: TestClient) -> None:
    for query in (
        "?state=passed",
        "?state=zzz",
        "?page=-1",
        "?page=99999999999",
        "?dialect=depot",
        "?page=abc",
    ):
        assert person.get("/" + query).status_code == 200


def test_what_a_job_found_is_shown_and_escaped(person: TestClient, world: World) -> None:
    attempt = world.attempts["compile"]
    ref = world.services.blobs.put([f"| a |\n|---|\n| {HOSTILE} |\n".encode()])

    def found(tx):  # type: ignore[no-untyped-def]
        of = tx.get(Attempt, attempt)
        for kind in ("summary", "archive"):
            row = Artifact(
                0, of.id, of.run_id, of.project_id, kind, kind, "raw", "s.md", ref.size_bytes, ref.sha256, ref.key
            )  # fmt: skip
            tx.add(row)

    world.write(found)
    html = person.get(f"/team/app/-/jobs/{attempt}").text
    assert html.count('class="summary"') == 1
    assert "<td>&lt;img src=x onerror=alert(1)&gt;</td>" in html


def test_reports_are_told_on_the_pages_and_escaped(person: TestClient, world: World) -> None:
    attempt = world.attempts["compile"]
    told = {
        "codequality": {
            "title": "1 finding: 1 high",
            "head": ["Finding"],
            "rows": [[HOSTILE]],
            "left_out": 3,
        },
        "annotations": {"title": "1 link", "links": [["Docs", "https://example.org/?a=1&b=2"]]},
        "sast": {"problem": f"cannot be read: {HOSTILE}"},
    }

    def found(tx):  # type: ignore[no-untyped-def]
        of = tx.get(Attempt, attempt)
        for kind, report in told.items():
            row = Artifact(0, of.id, of.run_id, of.project_id, kind, kind, "raw", f"{kind}.json", 1, "", "", extra={"report": report})  # fmt: skip
            tx.add(row)

    world.write(found)
    html = person.get(f"/team/app/-/jobs/{attempt}").text
    assert html.count('<details class="report"') == 2 and html.count('<details class="report" open') == 1
    assert "<td>&lt;img src=x onerror=alert(1)&gt;</td>" in html and "and 3 more" in html
    assert '<a href="https://example.org/?a=1&amp;b=2" rel="noopener noreferrer nofollow">Docs</a>' in html
    assert "cannot be read: &lt;img" in html and HOSTILE not in html
    html = person.get(f"/team/app/-/pipelines/{world.run.id}").text
    assert "codequality · 1 finding: 1 high" in html and "sast · cannot be read" in html


def test_annotations_are_listed_errors_first_and_escaped(person: TestClient, world: World) -> None:
    attempt = world.attempts["compile"]
    rows: list[Any] = [
        {"level": "warning", "message": "careful", "file": HOSTILE, "line": "3"},
        {"level": "error", "message": HOSTILE, "title": "T", "file": "a.py", "line": 7, "col": 2},
        {"level": "loud", "message": "unheard of"}, {"level": "error"}, "nonsense",
    ]  # fmt: skip
    world.write(lambda tx: tx.add(Step(attempt, 7, "s", "s", extra={"annotations": rows})))
    world.write(lambda tx: tx.add(Step(attempt, 8, "t", "t", extra={"annotations": "nonsense"})))
    html = person.get(f"/team/app/-/jobs/{attempt}").text
    listed = html.partition('class="notes"')[2].partition("</ul>")[0]
    assert listed.count("<li") == 2 and "unheard of" not in html
    assert "<code>a.py:7:2</code> T: &lt;img src=x" in listed
    assert listed.index("a.py") < listed.index("careful") and HOSTILE not in listed


def test_jobs_that_do_not_run_say_why(person: TestClient, world: World) -> None:
    html = person.get(f"/team/app/-/pipelines/{world.run.id}").text
    assert "waits for compile" not in html  # it is done
    assert "waits for unit: [3.11], unit: [3.12], lint" in html
    page = person.get(f"/team/app/-/jobs/{world.attempts['deploy']}").text
    assert "waits for unit" in page
    assert "The log begins when the job does." in page
