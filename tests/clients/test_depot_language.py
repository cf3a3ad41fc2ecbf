"""The language's larger parts on a live server: called workflows, late matrices, services, cancels, triggers,
environments."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.clients.test_depot_workflows import Door
from tests.live_server import TOKEN, LiveServer
from tests.runner.test_services import talker

__all__ = ["talker"]

pytestmark = pytest.mark.client

CALLER = """
on: push
jobs:
  plan:
    runs-on: ubuntu-latest
    outputs: {list: "${{ steps.s.outputs.list }}", tag: "${{ steps.s.outputs.tag }}"}
    steps:
      - {id: s, run: "echo 'list=[\\"red\\", \\"blue\\"]' >> $GITHUB_OUTPUT; echo tag=v7 >> $GITHUB_OUTPUT"}
  paint:
    needs: plan
    name: Paint ${{ matrix.colour }}
    runs-on: ubuntu-latest
    timeout-minutes: ${{ matrix.colour == 'red' && 5 || 6 }}
    strategy: {matrix: {colour: "${{ fromJSON(needs.plan.outputs.list) }}"}}
    outputs: {last: "${{ matrix.colour }}"}
    steps: [{run: "echo painting ${{ matrix.colour }} ${{ strategy.job-index }}/${{ strategy.job-total }} of ${{ needs.plan.outputs.tag }}"}]
  release:
    needs: [plan, paint]
    uses: ./.github/workflows/release.yml
    with: {tag: "${{ needs.plan.outputs.tag }}", dry: true}
  after:
    needs: release
    name: After ${{ needs.release.outputs.url }}
    runs-on: ubuntu-latest
    steps: [{run: "echo got ${{ needs.release.outputs.url }} ${{ needs.release.result }}"}]
"""

RELEASE = """
on:
  workflow_call:
    inputs:
      tag: {type: string, required: true}
      dry: {type: boolean}
    outputs:
      url: {value: "http://x/${{ jobs.publish.outputs.where }}"}
env: {TAG: "${{ inputs.tag }}"}
jobs:
  check:
    name: Check ${{ inputs.tag }}
    runs-on: ubuntu-latest
    steps: [{run: "echo checking $TAG"}]
  publish:
    needs: check
    if: inputs.dry && needs.check.result == 'success'
    runs-on: ubuntu-latest
    outputs: {where: "${{ steps.p.outputs.where }}"}
    steps: [{id: p, run: "echo where=$TAG >> $GITHUB_OUTPUT"}]
  never:
    if: ${{ !inputs.dry }}
    runs-on: ubuntu-latest
    steps: [{run: exit 1}]
"""


def statuses(jobs: dict[str, Any]) -> dict[str, str]:
    return {name: job["status"] for name, job in jobs.items()}


def test_called_workflows_and_late_matrices(server: LiveServer) -> None:
    files = {".github/workflows/ci.yml": CALLER, ".github/workflows/release.yml": RELEASE}
    door = Door(server, "language/calls", files)
    jobs = door.pushed()
    assert statuses(jobs) == {
        "plan": "finished",
        "paint": "finished",
        "Paint red": "finished",
        "Paint blue": "finished",
        "release": "finished",
        "release / Check v7": "finished",
        "release / publish": "finished",
        "release / never": "skipped",
        "After http://x/v7": "finished",
    }
    assert "painting blue 1/2 of v7" in door.log(jobs["Paint blue"]).splitlines()
    assert "checking v7" in door.log(jobs["release / Check v7"]).splitlines()
    assert "got http://x/v7 success" in door.log(jobs["After http://x/v7"]).splitlines()
    assert jobs["Paint red"]["jobKey"] == "ci.yml:paint (red)"


CANCELED = """
on: push
jobs:
  long:
    runs-on: ubuntu-latest
    steps:
      - run: |
          trap 'echo heard INT; exit 9' INT
          echo begun
          while true; do sleep 0.1; done
      - run: echo no
      - {if: "always()", run: "sleep 0.3; echo always ${{ job.status }}"}
      - {if: "cancelled()", run: "echo cancelled too"}
  tidy:
    needs: long
    if: always()
    runs-on: ubuntu-latest
    steps: [{run: "echo tidied after ${{ needs.long.result }}"}]
  plain:
    needs: long
    runs-on: ubuntu-latest
    steps: [{run: echo no}]
"""

TIMED = """
on: push
jobs:
  slow:
    runs-on: ubuntu-latest
    timeout-minutes: 0.02
    steps:
      - run: sleep 60
      - run: echo no
      - {if: "always()", run: "echo always ${{ job.status }}"}
      - {if: "failure()", run: "echo no"}
"""


def test_after_a_cancel_what_runs_always_runs(server: LiveServer) -> None:
    door = Door(server, "language/cancel", {".depot/workflows/a.yml": CANCELED})
    every = ["queued", "running", "finished", "failed", "cancelled"]
    found = door.call("ListRuns", {"repo": door.repo, "status": every})["runs"][0]["runId"]

    def said() -> str:
        jobs = door.call("GetRunStatus", {"runId": found})["workflows"][0]["jobs"]
        return door.log(jobs[0]) if jobs[0]["status"] == "running" else ""

    server.until(said, lambda text: "begun" in text.splitlines())
    door.call("CancelRun", {"runId": found})
    jobs = door.pushed()
    assert statuses(jobs) == {"long": "cancelled", "tidy": "finished", "plain": "cancelled"}
    lines = door.log(jobs["long"]).splitlines()
    assert "heard INT" in lines and "always cancelled" in lines and "cancelled too" in lines
    assert "no" not in lines
    assert "tidied after cancelled" in door.log(jobs["tidy"]).splitlines()


def test_steps_that_run_always_run_after_the_time_limit(server: LiveServer) -> None:
    door = Door(server, "language/timed", {".depot/workflows/a.yml": TIMED})
    jobs = door.pushed()
    lines = door.log(jobs["slow"]).splitlines()
    assert statuses(jobs) == {"slow": "failed"}
    assert "always cancelled" in lines and "no" not in lines


SERVICES = """
on: push
jobs:
  host:
    runs-on: ubuntu-latest
    env: {WHO: "the job, which services never see"}
    services:
      one: {image: TALKER, ports: ["7000:7000"], env: {WHO: "${{ github.ref_name }}"}, options: --health-cmd "true" --health-interval 1s}
      two: {image: TALKER, ports: [7001], command: "7001 'the second $WHO'"}
      gone: {image: "${{ github.ref_name == 'other' && 'TALKER' || '' }}"}
    steps:
      - shell: bash
        run: |
          ask() { exec 3<>/dev/tcp/$1/$2 && cat <&3; exec 3>&-; }
          ask localhost 7000
          ask localhost ${{ job.services.two.ports['7001'] }}
  inside:
    runs-on: ubuntu-latest
    container: {image: TALKER, env: {SAID: "by the container"}}
    services: {one: {image: TALKER}}
    steps:
      - run: |
          perl -e 'use Socket; socket(S, PF_INET, SOCK_STREAM, 0); connect(S, sockaddr_in(7000, inet_aton("one"))) or die "no: $!"; print <S>;'
          : > /usr/written && echo "wrote into the image"
          echo "$SAID"
"""


def test_services_and_containers(server: LiveServer, talker: str) -> None:
    door = Door(server, "language/services", {".depot/workflows/a.yml": SERVICES.replace("TALKER", talker)})
    jobs = door.pushed()
    assert statuses(jobs) == {"host": "finished", "inside": "finished"}, [door.log(j) for j in jobs.values()]
    lines = door.log(jobs["host"]).splitlines()
    assert "hello from main" in lines and "the second " in [line + " " for line in lines] + lines
    lines = door.log(jobs["inside"]).splitlines()
    assert "hello from " in [line.rstrip() + " " for line in lines]
    assert "wrote into the image" in lines and "by the container" in lines


PULLS = """
name: PR
on: {pull_request: {branches: [main], paths: ['src/**']}}
jobs:
  check:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: |
          ls src
          echo "event ${{ github.event.action }} ${{ github.event.pull_request.number }} $GITHUB_REF $GITHUB_HEAD_REF $GITHUB_BASE_REF"
          test "$(git rev-parse HEAD)" = "$GITHUB_SHA" && echo merged "$(git log -1 --format=%s | cut -c1-5)"
"""
AFTER = """
on: {workflow_run: {workflows: [PR]}}
jobs:
  told: {runs-on: ubuntu-latest, steps: [{run: "echo about ${{ github.event.workflow_run.name }} ${{ github.event.action }}"}]}
"""


def test_pull_requests_and_the_runs_after_them(server: LiveServer) -> None:
    repo = "language/pulls"
    base = {".github/workflows/pr.yml": PULLS, ".github/workflows/after.yml": AFTER}
    door = Door(server, repo, {**base, "src/main.txt": "1"})
    work = server.folder / "work" / "pulls"
    work.mkdir()
    address = f"{server.url.replace('://', f'://root:{server.token}@')}/{repo}.git"
    server.git(work, "clone", "-q", address, ".")
    server.git(work, "checkout", "-qb", "topic")
    (work / "src/more.txt").write_text("2")
    server.git(work, "add", "-A")
    server.git(work, "commit", "-qm", "more")
    server.git(work, "push", "-q", "origin", "topic")
    server.git(work, "checkout", "-q", "main")
    (work / "src/base.txt").write_text("3")
    server.git(work, "add", "-A")
    server.git(work, "commit", "-qm", "base moved")
    server.git(work, "push", "-q", "origin", "main")
    body = {"source_branch": "topic", "target_branch": "main", "title": "A change"}
    code, _ = server.call("POST", "/api/v4/projects/language%2Fpulls/merge_requests", body)
    assert code == 201
    every = ["queued", "running", "finished", "failed", "cancelled"]

    def started() -> dict[str, Any]:
        found = door.call("ListRuns", {"repo": repo, "status": every}).get("runs", [])
        return {row["trigger"]: row for row in found}

    seen = server.until(started, lambda runs: runs.get("workflow_run", {}).get("status") == "finished", 60)
    tree = door.call("GetRunStatus", {"runId": seen["pull_request"]["runId"]})
    assert tree["status"] == "finished" and seen["pull_request"]["ref"] == "refs/pull/1/merge"
    log = door.log(tree["workflows"][0]["jobs"][0]).splitlines()
    assert "event opened 1 refs/pull/1/merge topic main" in log and "merged Merge" in log
    assert {"base.txt", "main.txt", "more.txt"} <= set(log)


PLACES = """
on: push
permissions: {contents: none}
jobs:
  deploy:
    runs-on: ubuntu-latest
    environment: {name: "prod-${{ github.ref_name }}", url: "https://x/${{ steps.s.outputs.at }}"}
    steps:
      - {id: s, run: "echo at=here >> $GITHUB_OUTPUT"}
      - run: echo "region ${{ vars.REGION }} key ${{ secrets.KEY == 'secret of prod' }}"
      - run: |
          code=$(python3 -c "
          import os, urllib.request, urllib.error
          ask = urllib.request.Request('${{ github.api_url }}/projects/${{ github.repository_id }}', headers={'JOB-TOKEN': '${{ github.token }}'})
          try: print(urllib.request.urlopen(ask, timeout=5).status)
          except urllib.error.HTTPError as e: print(e.code)
          except OSError: print('closed')")
          echo "token $code"
"""


def test_environments_have_their_own_variables_and_addresses(server: LiveServer) -> None:
    repo = "language/places"
    door = Door(server, repo, {"README": "x"})
    places: list[dict[str, str]] = [{}, {"environment": "prod-main"}]
    for kind, name in (("variable", "REGION"), ("secret", "KEY")):
        for place in places:
            body = {
                f"{kind}Name": name,
                "variantName": "prod" if place else "default",
                "value": f"{kind} of prod" if place else "of all",
                "attributes": [{"key": key, "value": text} for key, text in place.items()],
            }
            service = kind.title()
            path = f"/depot.ci.v3beta2.{service}Service/Set{service}Variant"
            request = urllib.request.Request(server.url + path, json.dumps(body).encode())
            request.add_header("Authorization", f"Bearer {server.token}")
            request.add_header("Content-Type", "application/json")
            urllib.request.urlopen(request, timeout=20).close()
    server.push(repo, {".depot/workflows/a.yml": PLACES})
    jobs = door.pushed()
    lines = door.log(jobs["deploy"]).splitlines()
    assert statuses(jobs) == {"deploy": "finished"}, lines
    assert "region variable of prod key true" in lines
    assert "token 404" in lines or "token 401" in lines or "token closed" in lines or "token 403" in lines
    code, rows = server.call("GET", "/api/v4/projects/language%2Fplaces/environments")
    assert code == 200 and [(row["name"], row["external_url"]) for row in rows] == [
        ("prod-main", "https://x/here")
    ]


LANES = """
on: push
jobs:
  lanes:
    runs-on: ubuntu-latest
    steps:
      - run: echo BEFORE=set >> $GITHUB_ENV
      - parallel:
          - {id: one, name: One, run: "date +%s%N > one.at; sleep 1.5; echo 'o=first' >> $GITHUB_OUTPUT; echo said one $BEFORE"}
          - sequential:
              - {id: two, name: Two, run: "date +%s%N > two.at; echo A=2 >> $GITHUB_ENV; echo '::add-mask::hushhush'; echo said two"}
              - {name: Three, run: "echo said three $A"}
          - {name: Four, run: "sleep 1; echo said hushhush; test -z \\"$A\\" && echo apart"}
      - name: After
        run: |
          echo "joined ${{ steps.one.outputs.o }} $A"
          test $(( ($(cat two.at) - $(cat one.at)) / 1000000 )) -lt 1200 && echo together
  fails:
    runs-on: ubuntu-latest
    steps:
      - parallel:
          - {name: Bad, run: "sleep 0.3; exit 3"}
          - {name: Long, run: "sleep 60"}
          - sequential:
              - {name: Also long, run: "sleep 60"}
              - {name: Not run, run: "echo no"}
      - {name: Skipped, run: echo no}
      - {name: Still, if: failure(), run: echo still}
  tries:
    runs-on: ubuntu-latest
    steps:
      - {run: "echo x >> tries; test $(wc -l < tries) = 3", retry: {retries: 4, delay-seconds: 0}}
      - {run: "echo tried $(wc -l < tries)"}
"""


def test_parallel_steps_and_steps_that_are_tried_again(server: LiveServer) -> None:
    door = Door(server, "language/lanes", {".depot/workflows/a.yml": LANES})
    jobs = door.pushed()
    lines = door.log(jobs["lanes"]).splitlines()
    assert statuses(jobs) == {"lanes": "finished", "fails": "failed", "tries": "finished"}, lines
    assert {"said one set", "said two", "said three 2", "said ***", "apart"} <= set(lines), lines
    assert "joined first 2" in lines and "together" in lines
    lines = door.log(jobs["fails"]).splitlines()
    assert "##[error]Process completed with exit code 3." in lines and "still" in lines and "no" not in lines
    assert "tried 3" in door.log(jobs["tries"]).splitlines()


BACKGROUND = """
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - {name: Server, id: server, run: "echo PORT=81 >> $GITHUB_ENV; echo o=served >> $GITHUB_OUTPUT; touch up; echo serving; until test -e enough; do sleep 0.05; done", background: true}
      - {name: Monitor, id: monitor, run: "trap 'echo tidied; exit' TERM; while :; do sleep 0.05; done", background: true}
      - {name: Use, run: "until test -e up; do sleep 0.05; done; echo 'used [${{ steps.server.outputs.o }}]'; touch enough"}
      - wait: server
      - cancel: monitor
      - {name: After, run: "echo after ${{ steps.server.outputs.o }} $PORT ${{ steps.monitor.outcome }}"}
"""


def test_steps_in_the_background(server: LiveServer) -> None:
    door = Door(server, "language/background", {".depot/workflows/a.yml": BACKGROUND})
    jobs = door.pushed()
    lines = door.log(jobs["a"]).splitlines()
    assert statuses(jobs) == {"a": "finished"}, lines
    assert {"serving", "tidied", "used []", "after served 81 cancelled"} <= set(lines), lines


STARTED = """
on:
  push: {branches: [main]}
  repository_dispatch: {types: [deploy]}
  workflow_dispatch: {inputs: {n: {type: number, default: 1}}}
  merge_group:
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo "because of ${{ github.event_name }} ${{ github.event.action }} ${{ github.event.client_payload.where }} ${{ github.event.inputs.n }} ${{ github.event.merge_group.base_ref }}"
"""


def test_githubs_calls_and_a_queues_branch_start_runs(server: LiveServer) -> None:
    door = Door(server, "actions/started", {".github/workflows/a.yml": STARTED})

    def post(path: str, body: Any) -> int:
        request = urllib.request.Request(
            f"{server.url}/api/v3/repos/{door.repo}/{path}", json.dumps(body).encode(), method="POST"
        )
        request.add_header("Authorization", f"token {TOKEN}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)

    assert post("dispatches", {"event_type": "deploy", "client_payload": {"where": "moon"}}) == 204
    assert post("dispatches", {"event_type": "other"}) == 204
    assert post("actions/workflows/a.yml/dispatches", {"ref": "main", "inputs": {"n": "5"}}) == 204
    server.push(door.repo, {".github/workflows/a.yml": STARTED}, branch="gh-readonly-queue/main/pr-1-abc")
    every = ["queued", "running", "finished", "failed", "cancelled"]
    runs = server.until(
        lambda: door.call("ListRuns", {"repo": door.repo, "status": every})["runs"],
        lambda found: len(found) >= 4 and all(run["status"] == "finished" for run in found),
        120,
    )
    said = []
    for run in runs:
        tree = door.call("GetRunStatus", {"runId": run["runId"]})
        log = door.log(tree["workflows"][0]["jobs"][0])
        said += [" ".join(line.split()) for line in log.splitlines() if line.startswith("because of ")]
    assert sorted(said) == [
        "because of merge_group checks_requested refs/heads/main",
        "because of push",
        "because of repository_dispatch deploy moon",
        "because of workflow_dispatch 5",
    ]
