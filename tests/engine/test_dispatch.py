"""The runner protocol: what a claim carries, and that every call may be repeated, late, or wrong."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.engine import control, dispatch, upkeep
from runyard.engine.dispatch import Finish, Verdict
from runyard.engine.ports import ArtifactFilter, Page
from runyard.engine.views import attempt_view, log_from
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from runyard.model.plan import Gate, Image, Need, Order, StepKind, StepPlan, Variable
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Artifact, Project, Runner, SecretVariable, Step

UPLOAD = StepPlan("up", "upload", kind=StepKind.UPLOAD, params={"paths": ["x"]})
DOWNLOAD = StepPlan("down", "download", kind=StepKind.DOWNLOAD, params={"from": "needs"})


def archive(sha: str = "1", **more: Any) -> Artifact:
    return Artifact(
        0, 0, 0, 0, "artifacts", more.pop("type", "archive"), "zip", "a.zip", 3, sha * 64, "blob", **more
    )


def values(got: Any) -> dict[str, str]:
    return {v.key: v.value for v in got.variables}


def test_a_claim_leases_the_oldest_attempt_and_carries_what_is_needed(house: Any, job: Any) -> None:
    run = house.accept(job("a", timeout_s=90), job("b"))
    got = house.claim()
    assert (got.job.key, got.run_id, got.project_path, got.sha) == ("a", run.id, "group/app", "a" * 40)
    assert (got.timeout_s, got.lease_s, got.repo_url) == (90, 60, "http://yard/group/app.git")
    attempt = house.latest(run)["a"]
    assert (attempt.state, attempt.runner_id) == (State.RUNNING, house.runner.id)
    assert attempt.lease_until_at == house.now + 60_000
    assert attempt.deadline_at == house.now + (90 + dispatch.DEADLINE_SLACK_S) * 1000
    assert house.claim().job.key == "b"
    assert house.claim() is None


def test_the_first_claim_of_a_run_shows_it_running_and_reads_none_of_its_other_jobs(
    house: Any, job: Any
) -> None:
    """What a claim costs must not grow with the run: the writer serves everybody."""
    run = house.accept(job("a"), job("b"), job("c", needs=("a",)))
    house.now += 5_000
    house.store.kept.clear()
    said: list[str] = []
    house.store._writer.set_trace_callback(said.append)
    house.claim()
    house.store._writer.set_trace_callback(None)
    assert said
    assert not [
        text for text in said if "FROM jobs" in text and "jobs.id = " not in text and " id = " not in text
    ]
    workflow = house.look(lambda tx: tx.workflows(run.id))[0]
    for row in (house.run(run), workflow):
        assert (row.state, row.started_at, row.outcome) == (State.RUNNING, house.now, None)
    assert house.run(run).updated_at == house.now
    house.now += 1_000
    house.claim()
    assert house.run(run).started_at == house.now - 1_000


def test_a_runner_limits_the_time_and_a_paused_one_gets_nothing(house: Any, job: Any) -> None:
    house.accept(job("a"))
    assert house.claim(Runner(99, "x", stock=False, paused=True)) is None
    limited = house.do(lambda tx: tx.add(Runner(0, "x", stock=False, maximum_timeout_s=30)))
    assert house.claim(limited).timeout_s == 30


def test_variables_are_rendered_expanded_and_in_order(house: Any, job: Any) -> None:
    plan = job(
        "a",
        variables=(
            Variable("A", "plan"),
            Variable("B", "$A-${RUN}"),
            Variable("RUN", "${{ run.number }}/${{ attempt.id }}", late=True),
            Variable("RAW", "$A", raw=True),
            Variable("TOKEN", "${{ attempt.token }}", late=True, masked=True),
        ),
    )
    house.accept(plan, variables=(Variable("A", "trigger"),))
    got = house.claim()
    assert values(got) == {
        "A": "trigger",
        "B": f"trigger-1/{got.attempt_id}",
        "RUN": f"1/{got.attempt_id}",
        "RAW": "$A",
        "TOKEN": got.token,
    }
    assert got.token in got.masks


def test_secrets_are_facts_and_masks_and_protected_ones_stay_on_protected_refs(house: Any, job: Any) -> None:
    for key, protected in (("OPEN", False), ("SHUT", True)):
        sealed = house.vault.seal(f"value-{key}")
        row = SecretVariable(0, key, sealed, house.project.id, kind="secret", protected=protected)
        house.do(lambda tx, row=row: tx.add(row))
    house.accept(job("a", variables=(Variable("X", "${{ secrets.OPEN }}", late=True),)), ref="feature")
    got = house.claim()
    assert got.facts["secrets"] == {"OPEN": "value-OPEN"}
    assert values(got)["X"] == "value-OPEN"
    assert "value-OPEN" in got.masks
    house.finish(got)
    house.accept(job("a"), ref="main")
    assert house.claim().facts["secrets"] == {"OPEN": "value-OPEN", "SHUT": "value-SHUT"}


def test_facts_name_run_job_project_server_runner_and_needs(house: Any, job: Any) -> None:
    image = Image("python:${{ needs.a.outputs.version }}")
    house.accept(job("a"), job("b", needs=("a",), context={"matrix": {"n": 2}}, image=image))
    house.work(outputs={"version": "3.11"})
    got = house.claim()
    assert got.facts["needs"] == {"a": {"result": "success", "outputs": {"version": "3.11"}}}
    assert got.facts["matrix"] == {"n": 2}
    assert got.facts["run"]["number"] == 1
    assert got.facts["server"]["api_url"] == "http://yard/api/v4"
    assert got.job.image.name == "python:3.11"


@pytest.mark.parametrize(
    "variables",
    [
        (Variable("X", "${{ ghost.y }}", late=True),),
        (Variable("X", "${{ fromJSON('{') }}", late=True),),
        (Variable("A", "$B"), Variable("B", "$A")),
        tuple(Variable(f"V{i}", f"$V{i - 1}" * 9 if i else "x" * 999) for i in range(9)),
    ],
)
def test_a_job_that_cannot_be_made_ready_ends_and_does_not_block_the_queue(
    house: Any, job: Any, variables: Any
) -> None:
    run = house.accept(job("bad", variables=variables), job("good"))
    assert house.claim().job.key == "good"
    bad = house.latest(run)["bad"]
    assert (bad.outcome, bad.reason) == (Outcome.ERRORED, Reason.BAD_PLAN)
    assert "cannot be made ready" in bad.message


def test_inputs_are_the_archives_of_needs_and_of_the_run(house: Any, job: Any) -> None:
    house.accept(
        job("a", steps=(UPLOAD,)),
        job("b", steps=(UPLOAD,)),
        job("c", needs=(Need("a"), Need("b", artifacts=False)), steps=(DOWNLOAD,)),
    )
    for _ in range(2):
        got = house.claim()
        house.do(dispatch.artifact, got.attempt_id, got.token, archive(got.job.key), house.now)
        house.finish(got)
    inputs = house.claim().inputs
    assert [(i.job_key, i.from_need, i.blob) for i in inputs] == [("a", True, "blob"), ("b", False, "blob")]


def test_a_stage_job_gets_the_archives_of_earlier_stages_or_of_those_it_names(house: Any, job: Any) -> None:
    def staged(key: str, index: int, *steps: StepPlan) -> Any:
        return job(key, stage_index=index, gate=Gate(order=Order.STAGE), steps=steps)

    named = StepPlan("down", "download", kind=StepKind.DOWNLOAD, params={"from": "needs", "jobs": ["b"]})
    house.accept(
        staged("a", 0, UPLOAD), staged("b", 0, UPLOAD), staged("c", 1, DOWNLOAD), staged("d", 1, named)
    )
    for _ in range(2):
        got = house.claim()
        house.do(dispatch.artifact, got.attempt_id, got.token, archive(got.job.key), house.now)
        house.finish(got)
    assert [i.job_key for i in house.claim().inputs if i.from_need] == ["a", "b"]
    assert [i.job_key for i in house.claim().inputs if i.from_need] == ["b"]


@pytest.mark.parametrize("how", ["erased", "expired"])
def test_a_job_whose_inputs_are_gone_ends_before_it_starts(house: Any, job: Any, how: str) -> None:
    run = house.accept(
        job("a", steps=(UPLOAD,)), job("hold"), job("b", needs=("a", "hold"), steps=(DOWNLOAD,))
    )
    got = house.claim()
    house.do(dispatch.artifact, got.attempt_id, got.token, archive(expires_at=house.now + 5000), house.now)
    house.finish(got)
    if how == "erased":
        house.do(control.erase, got.attempt_id, house.now)
    else:
        assert house.do(upkeep.expire_artifacts, house.now + 6000) == 1
    house.work()
    assert house.claim() is None
    assert house.latest(run)["b"].reason is Reason.MISSING_DEPENDENCY


def test_a_dotenv_report_hands_variables_to_dependants(house: Any, job: Any) -> None:
    house.accept(job("a"), job("b", needs=("a",), variables=(Variable("V", "old"),)))
    got = house.claim()
    house.do(dispatch.artifact, got.attempt_id, got.token, archive(type="dotenv"), house.now, {"V": "$new"})
    house.finish(got)
    assert values(house.claim()) == {"V": "$new"}


def test_beats_keep_the_lease_and_a_clock_that_went_back_takes_nothing(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    house.now += 30_000
    reply = house.do(dispatch.beat, got.attempt_id, got.token, house.now, house.terms)
    assert (reply.verdict, reply.attempt.lease_until_at) == (Verdict.GO, house.now + 60_000)
    house.do(dispatch.beat, got.attempt_id, got.token, house.now - 3_600_000, house.terms)
    assert house.pass_s(59) == 0
    assert house.pass_s(2) == 1


@pytest.mark.parametrize("token", ["", "glcbt-1-wrong", "glcbt-2-secret"])
def test_a_foreign_token_holds_nothing(house: Any, job: Any, token: str) -> None:
    house.accept(job("a"))
    got = house.claim()
    with pytest.raises(Forbidden):
        house.do(dispatch.beat, got.attempt_id, token, house.now, house.terms)
    with pytest.raises(Forbidden):
        house.do(dispatch.log, got.attempt_id, token, 0, b"x", house.now, house.terms)
    with pytest.raises(Forbidden):
        house.do(dispatch.finish, got.attempt_id, token, Finish(Outcome.PASSED), house.now)
    with pytest.raises(NotFound):
        house.do(dispatch.beat, 999, token, house.now, house.terms)


def test_a_log_takes_overlap_refuses_gaps_and_counts(house: Any, job: Any) -> None:
    run = house.accept(job("a"))
    got = house.claim()

    def log(offset: int, data: bytes) -> Any:
        return house.do(dispatch.log, got.attempt_id, got.token, offset, data, house.now, house.terms)

    assert log(0, b"hello ").size == 6
    assert log(0, b"hello world").size == 11
    assert log(3, b"lo").size == 11
    gap = log(12, b"!")
    assert (gap.accepted, gap.size, gap.verdict) == (False, 11, Verdict.GO)
    assert log(11, b"").accepted
    with pytest.raises(Invalid):
        log(-1, b"x")
    attempt = house.latest(run)["a"]
    text = house.look(lambda tx: log_from(tx, None, attempt, 0))  # type: ignore[arg-type]
    assert text == b"hello world"


def test_a_log_beyond_its_limit_keeps_the_first_bytes_and_ends_the_job(house: Any, job: Any) -> None:
    run = house.accept(job("a"))
    got = house.claim()
    reply = house.do(dispatch.log, got.attempt_id, got.token, 0, b"x" * 2000, house.now, house.terms)
    assert (reply.verdict, reply.accepted) == (Verdict.ABORT, False)
    attempt = house.latest(run)["a"]
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.LOG_TOO_BIG)
    text = house.look(lambda tx: log_from(tx, None, attempt, 0))  # type: ignore[arg-type]
    assert text.startswith(b"x" * 1000 + b"\nThe log reached its limit of 1000 bytes")
    assert len(text) == attempt.log_bytes
    with pytest.raises(Conflict):
        house.finish(got)


def test_an_artifact_may_be_sent_again_but_not_changed(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    first = house.do(dispatch.artifact, got.attempt_id, got.token, archive(), house.now)
    assert house.do(dispatch.artifact, got.attempt_id, got.token, archive(), house.now + 5) == first
    with pytest.raises(Conflict, match="same type"):
        house.do(dispatch.artifact, got.attempt_id, got.token, archive("2"), house.now)
    house.finish(got)
    with pytest.raises(Conflict):
        house.do(dispatch.artifact, got.attempt_id, got.token, archive(type="junit"), house.now)
    assert len(house.look(lambda tx: tx.artifacts(ArtifactFilter(attempt_id=got.attempt_id), Page()))) == 1


def test_steps_are_shown_as_they_go_and_never_take_negative_time(house: Any, job: Any) -> None:
    house.accept(job("a"))
    got = house.claim()
    for row in (
        Step(0, 0, "s", "script", State.RUNNING, started_at=house.now),
        Step(0, 0, "s", "script", State.DONE, Outcome.FAILED, 10**9, house.now, house.now - 5),
    ):
        house.do(dispatch.steps, got.attempt_id, got.token, [row], house.now, house.terms)
    view = house.look(lambda tx: attempt_view(tx, got.attempt_id))
    assert [(s.state, s.outcome, s.exit_code) for s in view.steps] == [(State.DONE, Outcome.FAILED, 32767)]
    assert view.steps[0].finished_at == view.steps[0].started_at
    with pytest.raises(Invalid):
        house.do(
            dispatch.steps,
            got.attempt_id,
            got.token,
            [Step(0, 1, "s", "s", State.DONE)],
            house.now,
            house.terms,
        )


def test_the_first_finish_counts(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", needs=("a",)))
    got = house.claim()
    first = house.finish(got, Outcome.FAILED, exit_code=10**9, log_bytes=5, log_crc=7)
    assert house.finish(got) == first
    assert (first.exit_code, first.log_crc) == (32767, 7)
    assert first.message == "The log is incomplete: 0 of 5 bytes arrived."
    assert house.shown(run) == {"a": "failed", "b": "skipped"}
    assert house.do(dispatch.beat, got.attempt_id, got.token, house.now, house.terms).verdict is Verdict.ABORT


def test_nobody_finishes_what_is_not_running(house: Any, job: Any) -> None:
    run = house.accept(job("a"), job("b", needs=("a",)))
    for key in ("a", "b"):
        with pytest.raises(Conflict):
            house.do(dispatch.finish, house.latest(run)[key].id, "", Finish(Outcome.PASSED), house.now)
    got = house.claim()
    with pytest.raises(Invalid):
        house.finish(got, Outcome.SKIPPED)


def test_outputs_beyond_their_limit_are_dropped(house: Any, job: Any) -> None:
    house.accept(job("a"))
    assert house.finish(house.claim(), outputs={"big": "x" * (2 << 20)}).outputs == {}


def test_a_canceled_job_is_told_to_stop_and_ends_canceled_whatever_it_says(house: Any, job: Any) -> None:
    run = house.accept(job("a"))
    got = house.claim()
    house.do(control.cancel_attempt, got.attempt_id, house.now, house.user.id)
    reply = house.do(dispatch.beat, got.attempt_id, got.token, house.now, house.terms)
    assert reply.verdict is Verdict.STOP
    assert house.do(dispatch.log, got.attempt_id, got.token, 0, b"bye", house.now, house.terms).size == 3
    assert house.finish(got).outcome is Outcome.CANCELED
    assert house.run(run).outcome is Outcome.CANCELED
    assert house.latest(run)["a"].actor_id == house.user.id


def test_a_runner_that_shuts_down_gives_its_job_back(house: Any, job: Any) -> None:
    run = house.accept(job("a"))
    got = house.claim()
    house.do(dispatch.give_back, got.attempt_id, got.token, house.now, house.terms)
    assert house.shown(run) == {"a": "queued"}
    with pytest.raises(Conflict):
        house.finish(got)
    assert house.finish(house.claim()).number == 2


def test_a_secret_that_cannot_be_opened_stops_its_own_project_only(house: Any, job: Any) -> None:
    class LostKey:
        def seal(self, text: str) -> str:
            return text

        def open(self, sealed: str) -> str:
            raise Unavailable("A stored secret cannot be opened")

    house.do(lambda tx: tx.add(SecretVariable(0, "S", "x", house.project.id, kind="secret")))
    run = house.accept(job("a"))
    house.project = house.do(lambda tx: tx.add(Project(0, "group/other")))
    house.accept(job("b"))
    house.vault = LostKey()
    assert house.claim().job.key == "b"
    assert house.latest(run)["a"].reason is Reason.BAD_PLAN
