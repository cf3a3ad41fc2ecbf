"""Runners of Gitea's and Forgejo's make: registration, labels, tasks with everything their program reads,
logs, steps, outputs, cancel, and strangers."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from runyard.dialects.depot.fleet.payload import one_job
from runyard.dialects.depot.gen.runner.v1 import messages_pb as pb
from runyard.engine import control
from runyard.engine.ports import Page
from runyard.http.auth import hash_token
from runyard.model.plan import JobPlan
from runyard.model.state import State
from runyard.model.work import Attempt, Runner, SecretVariable
from tests.dialects.depot_routes.conftest import House
from tests.dialects.depot_routes.fleet_client import FleetClient, Refused, step

TOKEN = "registration-token-of-the-test"
WORKFLOW = """
name: Fleet
on: [push, workflow_dispatch]
env: {GLOBAL: '1'}
jobs:
  build:
    runs-on: [self-hosted, Linux-Big]
    strategy: {matrix: {os: [a, b]}}
    outputs: {digest: "${{ steps.one.outputs.digest }}"}
    steps:
      - {id: one, run: echo one}
      - {name: Two, uses: actions/checkout@v4}
  after:
    needs: build
    if: success()
    runs-on: linux-big
    env: {D: "${{ needs.build.outputs.digest }}"}
    steps: [{run: echo after}]
  hosted:
    runs-on: ubuntu-latest
    steps: [{run: echo hosted}]
"""


def client(house: House) -> FleetClient:
    def post(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        answer = house.request("POST", path, token=None, headers=headers, content=body)
        return answer.status_code, answer.content

    return FleetClient(post)


@pytest.fixture
def fleet(house: House) -> FleetClient:
    """A registered runner, in a repository with three jobs."""
    assert house.services.settings.registration_token == TOKEN
    made = client(house)
    made.register(TOKEN, ["linux-big:docker://node:20", "other"])
    house.project(workflow=WORKFLOW)
    return made


@pytest.fixture(autouse=True)
def with_token(house: House) -> None:
    """The settings of a real server have a registration token."""
    services = replace(
        house.services, settings=house.services.settings.model_copy(update={"registration_token": TOKEN})
    )
    house.services = services
    house.app = __import__("runyard.dialects.depot", fromlist=["DIALECT"]).DIALECT.mount(services)


def attempt(house: House, id: int) -> Attempt:
    found = house.services.db.submit_read(lambda tx: tx.get(Attempt, id)).result()
    assert found is not None
    return found


def payload(task: pb.Task) -> Any:
    return json.loads(task.workflow_payload or b"")


def test_register_declare_and_ping(house: House) -> None:
    one = client(house)
    assert one.ping("runner-1") == "Hello, runner-1!"
    row = one.register(TOKEN, ["Ubuntu-Latest:docker://node", "x:host"])
    assert (row.name, row.labels, len(row.uuid), bool(row.token)) == (
        "runner-1",
        ["ubuntu-latest", "x"],
        36,
        True,
    )
    again = one.declare(["y:host"])
    assert (again.labels, again.version, again.token) == (["y"], "v0.2.14", "")


def test_strangers_are_refused(house: House, fleet: FleetClient) -> None:
    house.start()
    task = fleet.fetch()
    assert task is not None
    for wrong in ("", "nonsense", TOKEN + "x"):
        with pytest.raises(Refused) as refused:
            client(house).register(wrong, ["x"])
        assert refused.value.args[0] == 401
    stranger = client(house)
    for headers in (
        {},
        {**fleet.headers, "x-runner-uuid": "other"},
        {**fleet.headers, "x-runner-token": "other"},
    ):
        stranger.headers = headers
        for asked in (
            stranger.fetch,
            lambda: stranger.declare([]),
            lambda: stranger.log(task.id, "x"),
            lambda: stranger.state(task.id),
        ):
            with pytest.raises(Refused) as refused:
                asked()
            assert refused.value.args[0] == 401
    gitlabs = client(house)
    house.write(lambda tx: tx.add(Runner(0, hash_token("glrt-x"), stock=False)))
    for uuid in ("", "None"):
        gitlabs.headers = {"x-runner-token": "glrt-x", "x-runner-uuid": uuid}
        with pytest.raises(Refused):
            gitlabs.fetch()
    other = client(house)
    other.register(TOKEN, ["linux-big"])
    for asked in (
        lambda: other.log(task.id, "mine"),
        lambda: other.state(task.id, pb.Result.SUCCESS),
        lambda: other.log(0, "x"),
    ):
        with pytest.raises(Refused) as refused:
            asked()
        assert refused.value.args[0] == 404
    assert attempt(house, task.id).state is State.RUNNING


def test_what_the_server_decided_the_runner_does_not_decide_again() -> None:
    """A job behind one that failed runs when its `if` held; its own variables weigh more than the file's
    whichever runner reads them."""
    text = b"on: push\nenv: {A: file, B: file}\njobs:\n  j: {needs: x, if: failure(), env: {A: job}, runs-on: y, steps: [{run: z}]}\n"
    found = json.loads(one_job(text, "w.yml", "j", JobPlan("j", "j", labels=("y",))))
    assert found["jobs"]["j"]["if"] == "always()" and "needs" not in found["jobs"]["j"]
    assert (found["env"], found["jobs"]["j"]["env"]) == ({"B": "file"}, {"A": "job"})


def test_a_task_carries_one_job_and_all_its_program_reads(house: House, fleet: FleetClient) -> None:
    vault = house.services.vault
    rows = [
        SecretVariable(0, "KEY", vault.seal("hush"), 1, kind="secret"),
        SecretVariable(0, "TONE", vault.seal("soft"), 1, kind="var"),
    ]
    house.write(lambda tx: tx.add_all(rows))
    house.start()
    task = fleet.fetch()
    assert task is not None
    found = payload(task)
    assert list(found["jobs"]) == ["build"]
    job = found["jobs"]["build"]
    assert (
        job["strategy"] == {"matrix": {"os": ["a"]}}
        and job["runs-on"] == ["Linux-Big"]
        and found["env"] == {"GLOBAL": "1"}
    )
    assert job["steps"] == [{"id": "one", "run": "echo one"}, {"name": "Two", "uses": "actions/checkout@v4"}]
    assert task.context is not None
    context = task.context.to_python()
    for key in [
        "event_name",
        "actor",
        "repository",
        "repository_owner",
        "sha",
        "ref",
        "ref_name",
        "ref_type",
        "run_id",
        "run_number",
        "run_attempt",
        "job",
        "token",
        "retention_days",
        "workflow_ref",
        "gitea_default_actions_url",
        "gitea_runtime_token",
    ]:
        assert isinstance(context[key], str) and context[key], key
    claims = json.loads(base64.urlsafe_b64decode(context["gitea_runtime_token"].split(".")[1] + "=="))
    assert claims["scp"].startswith("Actions.Results:")  # what the artifact client looks for
    assert (
        context["repository"] == "group/demo"
        and context["ref"] == "refs/heads/main"
        and isinstance(context["event"], dict)
    )
    assert (
        task.secrets["KEY"] == "hush"
        and task.secrets["GITHUB_TOKEN"] == context["token"]
        and dict(task.vars) == {"TONE": "soft"}
    )
    assert (
        house.call("ListRuns", {}, token=context["token"]).status_code == 200
    )  # the job token opens the server's own doors


def test_logs_steps_outputs_and_the_end(house: House, fleet: FleetClient) -> None:
    run = house.start()
    first, second = fleet.fetch(), fleet.fetch()
    assert first is not None and second is not None
    assert {payload(t)["jobs"]["build"]["strategy"]["matrix"]["os"][0] for t in (first, second)} == {"a", "b"}
    fleet.rows = 0
    assert fleet.log(first.id, "line 0", "line 1", "line\n2") == 3
    assert fleet.log(first.id, "line 1", "line\n2", "line 3", index=1) == 4  # a repeat that goes further
    assert fleet.log(first.id, "gap", index=9) == 4
    fleet.rows = 4
    answer = fleet.state(
        first.id,
        steps=[step(0, pb.Result.SUCCESS, 1, 2), step(1, pb.Result.UNSPECIFIED, 3, 1)],
        outputs={"digest": "abc"},
    )
    assert (
        answer.state is not None
        and answer.state.result is pb.Result.UNSPECIFIED
        and list(answer.sent_outputs) == ["digest"]
    )
    assert fleet.log(first.id, no_more=True) == 4
    done = fleet.state(
        first.id,
        pb.Result.SUCCESS,
        steps=[step(0, pb.Result.SUCCESS, 1, 2), step(1, pb.Result.FAILURE, 3, 1)],
    )
    assert (
        done.state is not None
        and done.state.result is pb.Result.SUCCESS
        and list(done.sent_outputs) == ["digest"]
    )
    fleet.state(second.id, pb.Result.SUCCESS, outputs={"digest": "xyz"})
    row = attempt(house, first.id)
    assert (str(row.outcome), row.outputs) == ("passed", {"digest": "abc"})
    steps = house.services.db.submit_read(lambda tx: tx.steps(first.id)).result()
    log = b"line 0\nline 1\nline 2\nline 3\n"
    assert [(s.key, str(s.outcome), log[s.log_start : s.log_end]) for s in steps] == [
        ("one", "passed", b"line 1\nline 2\n"), ("__actions_checkout", "failed", b"line 3\n"),
    ]  # fmt: skip
    text = house.get(
        "GetJobAttemptLogs", {"attemptId": house.jobs(run)["ci.yml:build:a"]["attempts"][0]["attemptId"]}
    )
    assert [line["body"] for line in text["lines"]] == ["line 0", "line 1", "line 2", "line 3"]
    again = fleet.state(first.id, pb.Result.SUCCESS)  # the answer got lost: the same again
    assert again.state is not None
    third = fleet.fetch()
    assert third is not None and list(payload(third)["jobs"]) == ["after"]
    assert (
        "needs" not in payload(third)["jobs"]["after"] and payload(third)["jobs"]["after"]["if"] == "always()"
    )
    assert third.needs["build"].result is pb.Result.SUCCESS and third.needs["build"].outputs["digest"] in (
        "abc",
        "xyz",
    )
    fleet.state(third.id, pb.Result.FAILURE)
    assert str(attempt(house, third.id).outcome) == "failed"
    assert fleet.fetch() is None  # `hosted` wants another label


def test_a_cancel_is_told_and_the_runner_may_clean_up(house: House, fleet: FleetClient) -> None:
    house.start()
    task = fleet.fetch()
    assert task is not None
    run_id = attempt(house, task.id).run_id
    house.write(lambda tx: control.cancel_run(tx, run_id, house.services.now()))
    told = fleet.state(task.id)
    assert told.state is not None and told.state.result is pb.Result.CANCELLED
    fleet.rows = 0
    assert fleet.log(task.id, "cleaning up") == 1
    fleet.state(task.id, pb.Result.CANCELLED)
    assert str(attempt(house, task.id).outcome) == "canceled"
    late = fleet.state(task.id)
    assert late.state is not None and late.state.result is pb.Result.CANCELLED


def test_labels_decide_and_an_ephemeral_runner_takes_one_task(house: House, fleet: FleetClient) -> None:
    house.start()
    hosted = client(house)
    hosted.register(TOKEN, ["ubuntu-latest:docker://node"], ephemeral=True)
    task = hosted.fetch()
    assert task is not None and list(payload(task)["jobs"]) == ["hosted"]
    hosted.state(task.id, pb.Result.SUCCESS)
    house.start()
    assert hosted.fetch() is None
    nobody = client(house)
    nobody.register(TOKEN, ["mars"])
    assert nobody.fetch() is None


def test_a_runner_that_is_paused_while_it_asks_stays_so(
    house: House, fleet: FleetClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start()
    bell = house.services.bell
    version = bell.version

    def meanwhile(topic: str) -> int:
        """Between the look at the runner's token and the note that it was here."""
        house.write(lambda tx: [tx.save(replace(row, paused=True)) for row in tx.runners(Page(limit=10))])
        return version(topic)

    monkeypatch.setattr(type(bell), "version", lambda _, topic: meanwhile(topic))
    house.time[0] += 600_000
    assert fleet.fetch() is None
    rows = house.services.db.submit_read(lambda tx: tx.runners(Page(limit=10))).result()
    assert all(row.paused for row in rows)


def test_rows_and_states_beyond_measure_are_refused(house: House, fleet: FleetClient) -> None:
    house.start()
    task = fleet.fetch()
    assert task is not None
    fleet.rows = 0
    for asked in (
        lambda: fleet.log(task.id, "x", index=-1),
        lambda: fleet.log(task.id, *["x"] * 5001),
        lambda: fleet.state(task.id, steps=[step(0, pb.Result.SUCCESS, 0, 0)] * 1001),
        lambda: fleet.state(task.id, outputs={f"k{n}": "x" * (1 << 19) for n in range(4)}),
    ):
        with pytest.raises(Refused) as refused:
            asked()
        assert refused.value.args[0] == 400
    strange = fleet.state(
        task.id, steps=[step(77, pb.Result.SUCCESS, 1 << 40, 1 << 40), step(-5, pb.Result.FAILURE, -3, -9)]
    )
    assert strange.state is not None
    fleet.state(task.id, steps=[step(0, pb.Result.SUCCESS, 1 << 40, 1 << 40)])
    assert attempt(house, task.id).state is State.RUNNING
