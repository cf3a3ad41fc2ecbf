"""Actions on a live server, as their authors write them: fetched, local, composite, JavaScript; the built-in
ones; and what hostile ones try.

The actions are of our own making and lie in git repositories on this machine (RUNYARD_ACTIONS_URL). With
RUNYARD_REAL_ACTIONS=<folder of owner/name repositories> the vendor's own bundles run too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import LiveRunner, LiveServer, runner_token

pytestmark = [
    pytest.mark.client,
    pytest.mark.skipif(
        shutil.which("node") is None, reason="JavaScript actions need Node.js: apt install nodejs"
    ),
]

COUNTER_YML = """
name: Counter
description: Says what it was given, and tells its phases apart
inputs:
  who: {description: x, default: "${{ github.actor }}"}
  some name: {description: x}
  old: {description: x, deprecationMessage: use who}
outputs:
  said: {description: x}
runs: {using: node20, pre: pre.js, main: main.js, post: post.js, post-if: "always()"}
"""
COUNTER = {
    "action.yml": COUNTER_YML,
    "pre.js": "require('fs').appendFileSync(process.env.GITHUB_STATE, 'seen=pre-' + process.env.INPUT_WHO + '\\n'); console.log('[pre] ' + process.env.INPUT_WHO)",
    "main.js": """
const fs = require('fs'), e = process.env
console.log(`[main] ${e.INPUT_WHO} ${e['INPUT_SOME_NAME']} ${e.STATE_seen} ${e.GITHUB_ACTION_REPOSITORY}@${e.GITHUB_ACTION_REF}`)
console.log('[actions] ' + Object.keys(e).filter(k => /^ACTIONS_/.test(k)).sort().join(' '))
fs.appendFileSync(e.GITHUB_OUTPUT, `said=hello ${e.INPUT_WHO}\\n`)
console.log('::save-state name=later::' + e.INPUT_WHO)
console.log('::add-mask::hidden-by-js'); console.log('hidden-by-js and ' + Buffer.from('hidden-by-js').toString('base64'))
if (e.INPUT_WHO == 'nobody') process.exit(3)
""",
    "post.js": "console.log(`[post] ${process.env.STATE_seen} ${process.env.STATE_later}`)",
}
MIXED_YML = """
name: Mixed
inputs: {text: {default: none}, fail: {default: "false"}}
outputs:
  both: {value: "${{ steps.a.outputs.v }}+${{ steps.inner.outputs.said }}"}
runs:
  using: composite
  steps:
    - {id: a, run: 'echo "v=$TEXT" >> "$GITHUB_OUTPUT"; echo "[path] $(cat "$GITHUB_ACTION_PATH/note.txt") ${{ github.action_repository }}"', shell: bash, env: {TEXT: "${{ inputs.text }}"}}
    - {id: inner, uses: acme/counter@v1, with: {who: "${{ inputs.text }}"}}
    - {id: soft, run: exit 4, shell: sh, continue-on-error: true}
    - {run: 'echo "[soft] ${{ steps.soft.outcome }} ${{ steps.soft.conclusion }} ${{ github.action_status }} $FROM_CALLER"', shell: sh}
    - {if: "inputs.fail == 'true'", run: exit 5, shell: sh}
    - {run: 'echo "[unreached-$((1+1))]"', shell: sh}
    - {if: failure(), run: 'echo "[failed] ${{ github.action_status }}"', shell: sh}
    - {if: always(), run: 'echo "[always]"', shell: sh}
"""
REPOSITORIES = {
    "acme/counter": COUNTER,
    "acme/kit": {"mixed/action.yml": MIXED_YML, "mixed/note.txt": "beside the manifest"},
    "acme/loop": {"action.yml": "runs: {using: composite, steps: [{uses: acme/loop@v1}]}"},
    "acme/broken": {"action.yml": "runs: {using: cobol}"},
    "acme/leaving": {"action.yml": "runs: {using: node20, main: ../../../../../../etc/passwd}"},
}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@x.test", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    base = tmp_path_factory.mktemp("actions")
    for name, files in REPOSITORIES.items():
        for path, text in files.items():
            (base / name / path).parent.mkdir(parents=True, exist_ok=True)
            (base / name / path).write_text(text)
        for argv in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "one"], ["tag", "v1"]):
            git(base / name, *argv)
    server = LiveServer(tmp_path_factory.mktemp("live"), RUNYARD_ACTIONS_URL=str(base))
    yield server
    server.stop()


class Ran:
    """A run that has ended: the logs of its jobs and how they ended."""

    def __init__(
        self,
        live: LiveServer,
        project: str,
        workflow: str,
        more: dict[str, str] | None = None,
        branch: str = "main",
    ) -> None:
        self.live, self.base = live, f"/api/v4/projects/{project.replace('/', '%2F')}"
        sha = live.push(project, {".github/workflows/ci.yml": workflow, **(more or {})}, branch=branch)
        ended = ("success", "failed", "canceled", "skipped")
        runs = live.until(
            lambda: live.call("GET", f"{self.base}/pipelines?sha={sha}")[1],
            lambda r: bool(r) and r[0]["status"] in ended,
            120,
        )
        self.id, self.status = runs[0]["id"], runs[0]["status"]
        found = live.call("GET", f"{self.base}/pipelines/{self.id}/jobs?per_page=100")[1]
        self.jobs = {job["name"]: job["status"] for job in found}
        self.logs = {
            job["name"]: str(live.call("GET", f"{self.base}/jobs/{job['id']}/trace")[1]) for job in found
        }
        self.ids = {job["name"]: job["id"] for job in found}

    def lines(self, job: str) -> list[str]:
        """What the job's own `echo [..]` said; the script shown before it is left out."""
        return re.findall(
            r"^(\[(?!command|36;1m).*)$", re.sub(r"\x1b\[[0-9;]*m.*", "", self.logs[job]), re.MULTILINE
        )


def test_a_fetched_action_from_before_the_first_step_to_after_the_last(live: LiveServer) -> None:
    ran = Ran(
        live,
        "team/life",
        """
on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - run: echo "[first] ${ACTIONS_RUNTIME_TOKEN:-none}"
      - {id: c, uses: acme/counter@v1, with: {who: "${{ github.ref_name }}", Some Name: x, extra: y, old: z}}
      - run: echo "[out] ${{ steps.c.outputs.said }} ${{ steps.c.outcome }}"
      - {uses: acme/counter@v1, with: {who: nobody}}
      - run: echo "[never]"
      - if: always()
        run: echo "[last] ${{ job.status }}"
""",
    )
    assert ran.jobs == {"one": "failed"}
    lines = ran.lines("one")
    assert lines[:3] == ["[pre] main", "[pre] nobody", "[first] none"]
    assert "[main] main x pre-main acme/counter@v1" in lines and "[out] hello main success" in lines
    assert "[never]" not in lines and "[last] failure" in lines
    assert lines[-2:] == [
        "[post] pre-nobody nobody",
        "[post] pre-main main",
    ]  # last first, after a failure too
    log = ran.logs["one"]
    assert "hidden-by-js" not in log and "aGlkZGVuLWJ5LWpz" not in log and "*** and ***" in log
    assert "Unexpected input(s) 'extra'" in log and "Input 'old' has been deprecated" in log
    assert "Download action repository 'acme/counter@v1' (SHA:" in log
    keys = next(line for line in lines if line.startswith("[actions]"))
    assert "ACTIONS_RUNTIME_TOKEN" in keys and "ACTIONS_RESULTS_URL" in keys and "ID_TOKEN" not in keys


def test_a_composite_action_has_its_own_steps_and_inputs(live: LiveServer) -> None:
    ran = Ran(
        live,
        "team/composite",
        """
on: push
jobs:
  good:
    runs-on: ubuntu-latest
    steps:
      - {id: m, uses: acme/kit/mixed@v1, with: {text: "x y"}, env: {FROM_CALLER: handed}}
      - run: echo "[out] ${{ steps.m.outputs.both }} ${{ steps.a.outputs.v }}"
  bad:
    runs-on: ubuntu-latest
    steps:
      - {id: m, uses: acme/kit/mixed@v1, with: {fail: true}, continue-on-error: true}
      - run: echo "[then] ${{ steps.m.outcome }} ${{ steps.m.conclusion }} ${{ steps.m.outputs.both }}"
""",
    )
    assert ran.jobs == {"good": "success", "bad": "success"}
    good, bad = ran.lines("good"), ran.lines("bad")
    assert "[path] beside the manifest acme/kit" in good and "[soft] failure success success handed" in good
    assert (
        "[out] x y+hello x y " in good
        and "[always]" in good
        and "[unreached-2]" in good
        and "[failed] failure" not in good
    )
    assert "[unreached-2]" not in bad and "[failed] failure" in bad and "[always]" in bad
    assert "[then] failure success none+hello none" in bad
    assert good[-1].startswith("[post]") and bad[-1].startswith("[post]")


def test_local_actions_are_read_when_their_step_comes(live: LiveServer) -> None:
    workflow = """
on: push
jobs:
  early:
    runs-on: ubuntu-latest
    steps: [{uses: ./act}]
  late:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./act
        with: {v: 1}
      - run: mkdir made && echo "{runs{:" > made/action.yml
      - {uses: ./made, continue-on-error: true}
      - run: mkdir link && ln -s /etc link/up && ln -s ../.. out
      - {uses: ./link/up, continue-on-error: true}
      - {uses: ./out, continue-on-error: true}
  own:
    runs-on: ubuntu-latest
    steps: [{uses: $/act, with: {v: 2}}]
  slow:
    runs-on: ubuntu-latest
    steps:
      - run: "mkdir slow && echo 'runs: {using: composite, steps: [{run: sleep 0.1, shell: sh}, {run: sleep 60, shell: sh}]}' > slow/action.yml"
      - {uses: ./slow, timeout-minutes: 0.02}
"""
    act = {
        "act/action.yml": "inputs: {v: {default: 0}}\nruns: {using: composite, steps: [{run: 'echo \"[local] ${{ inputs.v }}\"', shell: sh}]}"
    }
    ran = Ran(live, "team/local", workflow, act)
    assert ran.jobs == {"early": "failed", "late": "success", "own": "success", "slow": "failed"}
    assert "has timed out after" in ran.logs["slow"]
    assert "Did you forget to run actions/checkout" in ran.logs["early"]
    assert ran.lines("late") == ["[local] 1"] and ran.lines("own") == ["[local] 2"]
    assert (
        "./made/action.yml" in ran.logs["late"]
        and ran.logs["late"].count("behind a link that leads out") == 2
    )


def test_what_cannot_be_fetched_ends_the_job_before_its_first_step(live: LiveServer) -> None:
    uses = {
        "gone": "acme/none@v1",
        "version": "acme/counter@v9",
        "loop": "acme/loop@v1",
        "broken": "acme/broken@v1",
        "option": "acme/counter@--upload-pack=touch",
        "leaving": "acme/leaving@v1",
    }
    jobs = "\n".join(
        f"  {name}: {{runs-on: x, steps: [{{run: 'echo [begun]'}}, {{uses: '{one}'}}]}}"
        for name, one in uses.items()
    )
    ran = Ran(live, "team/unfetched", f"on: push\njobs:\n{jobs}\n")
    assert set(ran.jobs.values()) == {"failed"}
    assert all("[begun]" not in ran.lines(name) for name in uses if name != "leaving")
    assert "repository not found" in ran.logs["gone"] and "unable to find version `v9`" in ran.logs["version"]
    assert "10 levels deep" in ran.logs["loop"] and "'using: cobol' is not known" in ran.logs["broken"]
    assert "may not start with a dash" in ran.logs["option"]
    assert "File not found" in ran.logs["leaving"] or "leads out" in ran.logs["leaving"]


def test_hostile_values_stay_values(live: LiveServer) -> None:
    """reliability.md A: what an output or an input holds is never read as an expression, a command or a
    variable of the runner's again."""
    ran = Ran(
        live,
        "team/hostile",
        """
on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - id: evil
        run: |
          echo 'v=$''{{ github.token }}' >> "$GITHUB_OUTPUT"
          echo 'cmd=$(touch /tmp/PWN)`touch /tmp/PWN`' >> "$GITHUB_OUTPUT"
          for name in NODE_OPTIONS node_options GITHUB_SERVER_URL RUNNER_TEMP GITHUB_ACTION_PATH; do echo "$name=--require=/tmp/evil.js" >> "$GITHUB_ENV"; done
          printf 'INPUT_WHO=forged\\nSTATE_seen=forged\\nACTIONS_RUNTIME_TOKEN=forged\\n' >> "$GITHUB_ENV"
      - {uses: acme/counter@v1, with: {who: "${{ steps.evil.outputs.v }}", some name: "${{ steps.evil.outputs.cmd }}"}}
      - {uses: ./quote, with: {v: "${{ steps.evil.outputs.v }}"}}
      - run: |
          test ! -e /tmp/PWN && echo "[nothing]" "${NODE_OPTIONS:-unset}" "${node_options:-unset}"
          test "$GITHUB_SERVER_URL" != "--require=/tmp/evil.js" && echo "[kept]"
      - run: |
          echo "::stop-commands::pause-token"
          echo "::set-output name=a::1"
          echo "::pause-token::"
          echo "::set-env name=PATH::/tmp/evil"
          echo "[path] ${PATH%%:*}"
      - run: echo "[still] ${PATH%%:*}"
""",
        {
            "quote/action.yml": "inputs: {v: {}}\nruns: {using: composite, steps: [{run: 'echo \"[quoted] $V\"', shell: bash, env: {V: '${{ inputs.v }}'}}]}"
        },
    )
    assert ran.jobs == {"one": "success"}, ran.logs["one"]
    lines = ran.lines("one")
    assert (
        "[main] ${{ github.token }} $(touch /tmp/PWN)`touch /tmp/PWN` pre- acme/counter@v1" in lines
    )  # the pre phase ran before there was an output
    assert "[quoted] ${{ github.token }}" in lines and "[nothing] unset unset" in lines and "[kept]" in lines
    assert all("evil" not in line for line in lines if line.startswith(("[path]", "[still]")))
    assert ran.logs["one"].count("Can't store") >= 5


def test_the_built_in_cache_and_artifacts(live: LiveServer) -> None:
    """Kept by one run for the next; another branch reads the default branch's and writes only its own
    (reliability.md C19)."""
    workflow = """
on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/cache@v4
        id: c
        with: {path: "deps\\n~/.tool", key: k-1, restore-keys: k-}
      - run: echo "[found] ${{ steps.c.outputs.cache-hit }} $(cat deps/a ~/.tool/b 2>/dev/null | xargs)"
      - run: mkdir -p deps ~/.tool && echo "${{ github.ref_name }}" > deps/a && echo home > ~/.tool/b && chmod 700 deps/a
      - uses: actions/cache/save@v4
        with: {path: deps, key: "own-${{ github.ref_name }}"}
      - uses: actions/cache/restore@v4
        id: r
        with: {path: deps, key: own-feature, lookup-only: true}
      - run: echo "[feature] ${{ steps.r.outputs.cache-hit }}"
      - {uses: actions/upload-artifact@v4, id: up, with: {name: parts, path: deps}}
      - {uses: actions/download-artifact@v4, with: {artifact-ids: "${{ steps.up.outputs.artifact-id }}", path: back}}
      - run: echo "[back] $(cat back/a) ${{ steps.up.outputs.artifact-url != '' }}"
      - {uses: actions/cache/restore@v4, continue-on-error: true, id: miss, with: {path: deps, key: nothing, fail-on-cache-miss: true}}
      - run: echo "[miss] ${{ steps.miss.outcome }}"
"""
    first = Ran(live, "team/kept", workflow)
    assert first.jobs == {"one": "success"}, first.logs["one"]
    assert first.lines("one") == ["[found]  ", "[feature] ", "[back] main true", "[miss] failure"]
    assert "Cache saved with key: k-1" in first.logs["one"]
    second = Ran(live, "team/kept", workflow + "# again\n", branch="feature")
    assert second.lines("one")[:2] == ["[found] true main home", "[feature] true"]
    third = Ran(live, "team/kept", workflow + "# and again\n")
    assert third.lines("one")[:2] == ["[found] true main home", "[feature] "]
    assert "a cache with the key own-main exists already" in third.logs["one"]


def test_checkout_of_other_repositories_submodules_and_parts(live: LiveServer) -> None:
    """What the job's token may read, the built-in checkout lays out; the server's door decides, so a private
    stranger does not exist."""
    live.push("team/lib", {"lib.txt": "the library"})
    live.push("other/secret", {"a": "b"})
    live.call("POST", "/api/v4/projects", {"name": "user", "path": "user", "namespace_path": "team"})
    number = live.call("GET", "/api/v4/projects/team%2Fuser")[1]["id"]
    allowed = live.call(
        "POST", "/api/v4/projects/team%2Flib/job_token_scope/allowlist", {"target_project_id": number}
    )
    assert allowed[0] == 201
    ran = Ran(
        live,
        "team/user",
        """
on: push
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/checkout@v4, id: o, with: {repository: team/lib, path: nested/lib, persist-credentials: false}}
      - run: echo "[lib] $(cat nested/lib/lib.txt) ${{ steps.o.outputs.commit != '' }} $(git -C nested/lib config -l | grep -ci 'glcbt\\|basic')"
      - {uses: actions/checkout@v4, id: no, continue-on-error: true, with: {repository: other/secret, path: no}}
      - run: echo "[secret] ${{ steps.no.outcome }} $(ls no 2>/dev/null)"
      - {uses: actions/checkout@v4, id: bad, continue-on-error: true, with: {repository: "team/lib", ref: "--upload-pack=x", path: no}}
      - run: echo "[option] ${{ steps.bad.outcome }}"
      - {uses: actions/checkout@v4, with: {sparse-checkout: "a/b", path: part}}
      - run: echo "[part] $(cd part && find . -type f -not -path './.git/*' | sort | xargs)"
""",
        {"a/b/x": "", "c/y": "", "top": ""},
    )
    assert ran.jobs == {"one": "success"}, ran.logs["one"]
    assert ran.lines("one") == [
        "[lib] the library true 0",
        "[secret] failure ",
        "[option] failure",
        "[part] ./a/b/x ./top",
    ]


REAL = os.environ.get("RUNYARD_REAL_ACTIONS", "")


def test_identity_tokens(live: LiveServer) -> None:
    """The way to one is in the environment of jobs that may have one, and only there."""
    ask = 'curl -sS -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=me"'
    ran = Ran(
        live,
        "team/identity",
        f"""
on: push
jobs:
  may:
    runs-on: ubuntu-latest
    permissions: {{id-token: write}}
    steps: [{{run: 'echo "[parts] $({ask} | tr -cd . | wc -c)"'}}]
  not:
    runs-on: ubuntu-latest
    steps: [{{run: 'echo "[none] ${{ACTIONS_ID_TOKEN_REQUEST_URL:-unset}}"'}}]
  owner:
    runs-on: ubuntu-latest
    steps: [{{run: 'echo "[owner] $GITHUB_REPOSITORY_OWNER_ID ${{{{ github.event.repository.owner.id }}}}"'}}]
""",
    )
    assert ran.lines("may") == ["[parts] 2"] and ran.lines("not") == ["[none] unset"], ran.logs["may"]
    _, team = live.call("GET", "/api/v4/groups/team")
    assert ran.lines("owner") == [f"[owner] {team['id']} {team['id']}"]


@pytest.fixture(scope="module")
def remote(live: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that runs nothing itself, and a `runyard runner` of it in a process of its own."""
    folder = tmp_path_factory.mktemp("remote")
    server = LiveServer(
        folder, RUNYARD_ACTIONS_URL=live.settings["RUNYARD_ACTIONS_URL"], RUNYARD_RUNNER_SLOTS="0"
    )
    runner = LiveRunner(server, runner_token(server), "--allow-plain")
    yield server
    runner.stop()
    server.stop()


@pytest.mark.parametrize(
    "story",
    [
        test_a_fetched_action_from_before_the_first_step_to_after_the_last,
        test_a_composite_action_has_its_own_steps_and_inputs,
        test_local_actions_are_read_when_their_step_comes,
        test_what_cannot_be_fetched_ends_the_job_before_its_first_step,
        test_the_built_in_cache_and_artifacts,
        test_checkout_of_other_repositories_submodules_and_parts,
        test_identity_tokens,
    ],
)
def test_the_same_on_a_runner_of_another_process(
    remote: LiveServer, story: Callable[[LiveServer], None]
) -> None:
    """What the server's own runner reads from its disk, this one asks for over HTTP: actions, caches, trees,
    artifacts."""
    story(remote)


@pytest.mark.skipif(
    not REAL, reason="RUNYARD_REAL_ACTIONS names no folder with the vendor's own bundles (owner/name, git)"
)
def test_the_vendors_own_bundles(tmp_path: Path) -> None:
    """With `actions_builtin` off: checkout, upload, download and cache are the real ones, against this
    server's services."""
    server = LiveServer(tmp_path, RUNYARD_ACTIONS_URL=REAL, RUNYARD_ACTIONS_BUILTIN="false")
    try:
        ran = Ran(
            server,
            "team/real",
            """
on: push
permissions: {id-token: write, contents: read}
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: test "$(git rev-parse HEAD)" = "$GITHUB_SHA" && mkdir out && head -c 9000000 /dev/urandom > out/big && sha256sum out/big | cut -c1-64 > out/sum
      - {uses: actions/upload-artifact@v4, with: {name: parts, path: out}}
      - {uses: actions/cache@v4, id: c, with: {path: out, key: k}}
      - {uses: actions/hello-world-javascript-action@v1, id: hi, with: {who-to-greet: Runyard}}
      - run: echo "[time] ${{ steps.hi.outputs.time != '' }}"
  two:
    needs: one
    runs-on: ubuntu-latest
    steps:
      - {uses: actions/download-artifact@v4, with: {name: parts, path: in}}
      - run: test "$(sha256sum in/big | cut -c1-64)" = "$(cat in/sum)" && echo "[same]"
      - {uses: actions/cache/restore@v4, id: c, with: {path: out, key: k}}
      - run: echo "[hit] ${{ steps.c.outputs.cache-hit }} $(ls out | xargs)"
""",
        )
        assert ran.jobs == {"one": "success", "two": "success"}, json.dumps(ran.logs)[-4000:]
        assert "[time] true" in ran.lines("one") and ran.lines("two") == ["[same]", "[hit] true big sum"]
        rows: Any = server.call("GET", f"{ran.base}/jobs/{ran.ids['one']}")[1]["artifacts"]
        assert "parts.zip" in [row["filename"] for row in rows]
    finally:
        server.stop()
