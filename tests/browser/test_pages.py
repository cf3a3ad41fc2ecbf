"""The pages as a person meets them: live, readable, on a phone and in the dark, and deaf to what a job
prints."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.live_server import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PIPELINE = {
    "stages": ["build", "test"],
    "compile": {
        "stage": "build",
        "variables": {"GIT_STRATEGY": "none"},
        "script": [
            r"printf '\033[31mred words\033[0m\n'",
            "echo \"<script>alert('x')</script><img src=x onerror=alert(2)>\"",
            r"printf 'section_start:1:mine\r\033[0KMy section\ninside it\nsection_end:2:mine\r\033[0K\n'",
            r"printf 'section_start:1:shut[collapsed=true]\r\033[0KShut section\nhidden at first\nsection_end:2:shut\r\033[0K\n'",
            r"printf '\033]8;;javascript:alert(3)\007trap\033]8;;\007\n'",
            "mkdir out && echo content > out/file.txt",
        ],
        "artifacts": {"paths": ["out"]},
    },
    "slow": {
        "stage": "build",
        "variables": {"GIT_STRATEGY": "none"},
        "script": ["for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 0.4; done", "echo last words"],
    },
    "by hand": {
        "stage": "test",
        "when": "manual",
        "script": ["echo by hand"],
        "variables": {"GIT_STRATEGY": "none"},
    },
}


def start(server: LiveServer, path: str) -> int:
    server.push(path, {".gitlab-ci.yml": json.dumps(PIPELINE)})
    project = path.replace("/", "%2F")
    runs = server.until(lambda: server.call("GET", f"/api/v4/projects/{project}/pipelines")[1], bool)
    return int(runs[0]["id"])


def test_a_run_is_followed_live_to_its_end(page: Page, server: LiveServer, complaints: list[str]) -> None:
    run = start(server, "browser/live")
    page.goto(f"/browser/live/-/pipelines/{run}")
    expect(page.locator(".card")).to_have_count(3)
    expect(page.locator(".card", has_text="slow")).to_have_class("card running", timeout=20_000)
    expect(page).to_have_title(re.compile("^◐"))
    expect(page.locator(".card", has_text="compile")).to_have_class("card passed", timeout=20_000)
    expect(page.locator(".card", has_text="slow")).to_have_class("card passed", timeout=20_000)
    page.locator("tr", has_text="by hand").get_by_role("button", name="Start").click()
    page.go_back()
    expect(page.locator(".card", has_text="by hand")).to_have_class("card passed", timeout=20_000)
    expect(page).to_have_title(re.compile("^✓"))
    assert complaints == []


def test_a_log_grows_while_one_looks_at_it(page: Page, server: LiveServer, complaints: list[str]) -> None:
    run = start(server, "browser/log")
    page.goto(f"/browser/log/-/pipelines/{run}")
    page.locator(".card", has_text="slow").click()
    expect(page.locator("#log")).to_contain_text("tick 2", timeout=20_000)
    assert "last words" not in page.locator("#log .l:last-child").inner_text()
    expect(page.locator("#log")).to_contain_text("last words", timeout=20_000)
    expect(page.locator("h1 .badge")).to_have_text("✓passed", timeout=20_000)
    numbers = [int(n) for n in page.locator("#log .n").all_inner_texts()]
    assert numbers == sorted(set(numbers)) and numbers[0] == 1  # ends of sections are counted, not shown
    assert complaints == []


def test_a_log_is_colour_and_text_and_nothing_else(
    page: Page, server: LiveServer, complaints: list[str]
) -> None:
    run = start(server, "browser/hostile")
    page.goto(f"/browser/hostile/-/pipelines/{run}")
    page.locator(".card", has_text="compile").click()
    expect(page.locator("#log")).to_contain_text("Job succeeded", timeout=20_000)
    expect(page.locator("#log .f1", has_text="red words").last).to_be_visible()
    expect(page.locator("#log")).to_contain_text("<script>alert('x')</script>")
    assert page.locator("#log script, #log img, #log a[href^=javascript]").count() == 0
    assert complaints == []


def test_sections_fold_and_lines_have_addresses(page: Page, server: LiveServer) -> None:
    run = start(server, "browser/fold")
    page.goto(f"/browser/fold/-/pipelines/{run}")
    page.locator(".card", has_text="compile").click()
    expect(page.locator("#log")).to_contain_text("Job succeeded", timeout=20_000)
    head = page.locator("#log .head", has_text="My section").last
    inside = page.locator("#log .l[data-s]", has_text="inside it").last
    expect(inside).to_be_visible()
    head.locator(".fold").click()
    expect(inside).to_be_hidden()
    head.locator(".fold").click()
    expect(inside).to_be_visible()
    page.locator("#L3 .n").click()
    assert page.url.endswith("#L3")
    shut = page.locator("#log .l[data-s]", has_text="hidden at first").last
    expect(shut).to_be_hidden()
    page.goto(page.url.partition("#")[0] + f"?x#{shut.get_attribute('id')}")
    expect(shut).to_be_visible()


def test_an_artifact_is_downloaded_never_opened(page: Page, server: LiveServer) -> None:
    run = start(server, "browser/files")
    page.goto(f"/browser/files/-/pipelines/{run}")
    link = page.locator(".files a", has_text="artifacts.zip")
    expect(link).to_be_visible(timeout=20_000)
    with page.expect_download() as download:
        link.click()
    assert download.value.path().read_bytes()[:2] == b"PK"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(page: Page, server: LiveServer, scheme: str) -> None:
    run = start(server, f"browser/phone-{scheme}")
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 390, "height": 800})
    job = server.call("GET", f"/api/v4/projects/browser%2Fphone-{scheme}/jobs")[1][0]["id"]
    for path in (
        "/",
        f"/browser/phone-{scheme}/-/pipelines/{run}",
        f"/browser/phone-{scheme}/-/jobs/{job}",
        "/sign-in",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(20, 23, 26)") is (scheme == "dark")


def test_without_script_the_pages_still_tell_everything(browser: Browser, server: LiveServer) -> None:
    run = start(server, "browser/plain")
    project = "/api/v4/projects/browser%2Fplain"
    server.until(lambda: server.call("GET", f"{project}/jobs?scope=success")[1], lambda jobs: len(jobs) == 2)
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    tab = context.new_page()
    tab.goto("/sign-in")
    tab.fill("#token", server.token)
    tab.click("button.main")
    tab.goto(f"/browser/plain/-/pipelines/{run}")
    tab.locator(".jobs a", has_text="slow").click()
    expect(tab.locator("#log")).to_contain_text("last words")
    context.close()


SUMMARY = """
on: push
jobs:
  report:
    runs-on: ubuntu-latest
    steps:
      - run: |
          printf '## Found\\n\\n| what | many |\\n|---|---:|\\n| <script>alert(4)</script> | 3 |\\n' >> "$GITHUB_STEP_SUMMARY"
          echo '{"problemMatcher": [{"owner": "x", "severity": "warning", "pattern": [{"regexp": "^(\\\\S+):(\\\\d+) says (.*)$", "file": 1, "line": 2, "message": 3}]}]}' > x.json
          touch a.py; echo '::add-matcher::x.json'; echo 'a.py:3 says <b>careful</b>'
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_what_a_job_found_is_a_table(
    page: Page, server: LiveServer, complaints: list[str], width: int
) -> None:
    path = f"browser/found{width}"
    server.push(path, {".depot/workflows/ci.yml": SUMMARY})
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"/{path}")
    page.locator(".runs a.cover").first.click()
    page.locator(".card", has_text="report").click()
    expect(page.locator(".summary h4")).to_have_text("Found", timeout=20_000)
    expect(page.locator(".summary td").first).to_have_text("<script>alert(4)</script>")
    expect(page.locator(".notes li")).to_have_text("warning a.py:3 <b>careful</b>")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []


def test_what_came_before_is_loaded_in_place_and_any_line_has_an_address(
    page: Page, server: LiveServer, complaints: list[str]
) -> None:
    config = "long:\n  script: [\"seq -f 'row %g.' 1 5000\"]\n"
    server.push("browser/long", {".gitlab-ci.yml": config})
    (run,) = server.until(
        lambda: server.call("GET", "/api/v4/projects/browser%2Flong/pipelines")[1], lambda p: len(p) == 1
    )
    server.until(
        lambda: server.call("GET", f"/api/v4/projects/browser%2Flong/pipelines/{run['id']}")[1]["status"],
        lambda s: s == "success",
    )
    (job,) = server.call("GET", f"/api/v4/projects/browser%2Flong/pipelines/{run['id']}/jobs")[1]
    page.goto(f"/browser/long/-/jobs/{job['id']}")
    assert page.locator("#log .l", has_text="row 3000.").count() == 0
    first = page.locator("#log .l").first
    stays = page.locator(f"#{first.get_attribute('id')}")
    before = stays.bounding_box()
    shown = page.locator("#log .l").count()
    page.locator("#before").click()
    expect(page.locator("#log .l")).not_to_have_count(shown)
    assert before is not None and abs(stays.bounding_box()["y"] - before["y"]) < 3
    while page.locator("#before").count():
        shown = page.locator("#log .l").count()
        page.locator("#before").click()
        expect(page.locator("#log .l")).not_to_have_count(shown)
    numbers = page.locator("#log .l").evaluate_all("(all) => all.map((line) => Number(line.id.slice(1)))")
    assert numbers == sorted(set(numbers)) and numbers[0] == 1
    target = page.locator("#log .l", has_text="row 2500.").get_attribute("id")
    page.goto("about:blank")
    page.goto(f"/browser/long/-/jobs/{job['id']}#{target}")
    expect(page.locator(f"#{target}")).to_contain_text("row 2500.")
    expect(page.locator(f"#{target}")).to_be_in_viewport()
    assert complaints == []


def test_stopping_a_run_takes_two_presses_also_without_script(
    browser: Browser, page: Page, server: LiveServer
) -> None:
    server.push("browser/stop", {".gitlab-ci.yml": "wait:\n  script: [sleep 100]\n"})
    (run,) = server.until(
        lambda: server.call("GET", "/api/v4/projects/browser%2Fstop/pipelines")[1], lambda p: len(p) == 1
    )
    state = page.context.storage_state()
    plain = browser.new_context(base_url=server.url, java_script_enabled=False, storage_state=state)
    for tab in (page, plain.new_page()):
        tab.goto(f"/browser/stop/-/pipelines/{run['id']}")
        ask = tab.locator("details.ask")
        expect(ask.get_by_role("button", name="Cancel")).to_be_hidden()
        ask.locator("summary").click()
        expect(ask.get_by_role("button", name="Cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("details.ask").get_by_role("button", name="Cancel")).to_be_hidden()
    plain.pages[0].locator("details.ask").get_by_role("button", name="Cancel").click()
    expect(page.locator("h1 .badge")).to_have_text("⊘canceled", timeout=20_000)
    plain.close()
