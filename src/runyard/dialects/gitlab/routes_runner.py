"""The runner protocol: register, verify, ask for a job, send its trace, end it. contracts/gitlab.md §2;
engine/dispatch does the work.

Whatever happens, a runner whose job is no longer its own gets 403 with `Job-Status`, and every answer is
JSON: else a stock runner loses jobs without a word (contract §0).
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.responses import Response

from runyard.dialects.gitlab import managers
from runyard.dialects.gitlab.claiming import claim
from runyard.dialects.gitlab.coverage import coverage_of
from runyard.dialects.gitlab.desk import Desk, Door, Entry, Line
from runyard.dialects.gitlab.managers import Contacts
from runyard.dialects.gitlab.payload import payload, payload_for_ours
from runyard.dialects.gitlab.refusals import answer_json, missing
from runyard.dialects.gitlab.routes_fleet import MOST_RUNNERS, changed
from runyard.dialects.gitlab.words import HEARD_REASONS, say
from runyard.engine import dispatch
from runyard.engine.dispatch import Finish, Verdict
from runyard.engine.ending import UNCOMMITTED
from runyard.engine.ports import Page, Tx
from runyard.http.auth import hash_token
from runyard.http.bodies import left, whole
from runyard.http.identity import Identity
from runyard.model.errors import Conflict, Forbidden, Invalid, NotFound
from runyard.model.state import Outcome, Reason, State
from runyard.model.work import Attempt, Runner, Token

HOLD_S = 30.0
TRACE_INTERVAL_S = 3
TRACE_PIECE_BYTES = 8 << 20
INFO_KEYS = ("name", "version", "revision", "platform", "architecture", "executor", "shell")
# A stock runner tells by its token how it was born: `glrt-` was made by a person, so leaving removes this
# machine only; else the runner itself goes. It names its folders after the first eight characters
# (gitlab-runner 16.9 helpers/shorten_token.go), so no other prefix may eat them.
CREATED, REGISTERED = "glrt-", ""
EPOCH = secrets.token_hex(4)  # bell versions start anew with the process, so they are told apart by it
_RANGE = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")
_CHECKSUM = re.compile(r"crc32:([0-9a-fA-F]{1,8})")


@dataclass(frozen=True, slots=True)
class RunnerProtocol:
    """Handlers. All are open doors with a runner's or a job's token inside."""

    desk: Desk
    identity: Identity
    contacts: Contacts = field(default_factory=Contacts)

    def lines(self) -> list[Line]:
        """The table."""
        return [
            Line("POST", "/runners", Door.OPEN, self.register, "Register a runner"),
            Line("DELETE", "/runners", Door.OPEN, self.unregister, "Remove a runner by its token"),
            Line("POST", "/runners/verify", Door.OPEN, self.verify, "Verify a runner's token"),
            Line(
                "DELETE",
                "/runners/managers",
                Door.OPEN,
                self.forget_manager,
                "Remove one machine of a runner",
            ),
            Line(
                "POST",
                "/runners/reset_authentication_token",
                Door.OPEN,
                self.reset,
                "Change a runner's token",
            ),
            Line("POST", "/jobs/request", Door.OPEN, self.request, "Ask for a job"),
            Line("PUT", "/jobs/{job_id}", Door.OPEN, self.update, "Keep or end a job"),
            Line(
                "PATCH",
                "/jobs/{job_id}/trace",
                Door.OPEN,
                self.trace,
                "Send a piece of a job's log",
                whole_body=False,
            ),
        ]

    async def register(self, entry: Entry) -> Response:
        """With the instance's registration token, or a project's."""
        services, given = self.desk.services, entry.parameters
        text = given.required("token")
        token = services.new_token(REGISTERED)
        info = _info(entry)

        def add(tx: Tx) -> Runner:
            owner = self._registrar(tx, text)
            if tx.runners(Page(limit=1, offset=MOST_RUNNERS - 1)):
                raise Forbidden("there are too many runners; remove some first")
            row = changed(Runner(0, hash_token(token), created_at=services.now(), info=info), given)
            return tx.add(
                replace(row, project_id=owner.project_id if owner else None, stock=not _is_ours(info))
            )

        row = await services.db.write(add)
        return answer_json({"id": row.id, "token": token, "token_expires_at": None}, 201)

    def _registrar(self, tx: Tx, text: str) -> Token | None:
        """None for the instance's token; a project's token; Forbidden for anything else."""
        instance = self.desk.services.settings.registration_token
        if instance and hmac.compare_digest(text.encode(), instance.encode()):
            return None
        found = tx.token_by_hash(hash_token(text)) if len(text) <= 512 else None
        if found is None or found.kind != "registration" or found.revoked_at is not None:
            raise Forbidden
        return found

    async def verify(self, entry: Entry) -> Response:
        """What a machine with a `glrt-` token does instead of registering."""
        row = await self._runner(entry)
        await self._note(row, _info(entry))
        return answer_json({"id": row.id, "token": entry.parameters.text("token"), "token_expires_at": None})

    async def unregister(self, entry: Entry) -> Response:
        """The runner is gone; its jobs end by their lease."""
        row = await self._runner(entry)

        def remove(tx: Tx) -> None:
            managers.forget_all(tx, row.id)
            tx.remove(Runner, row.id)

        await self.desk.services.db.write(remove)
        return Response(status_code=204)

    async def forget_manager(self, entry: Entry) -> Response:
        """One machine says goodbye; the token stays good for the others."""
        row, system_id = await self._runner(entry), entry.parameters.required("system_id")
        if not await self.desk.services.db.write(lambda tx: managers.forget(tx, row.id, system_id)):
            raise missing("Runner manager")
        self.contacts.forget(row.id, system_id)
        return Response(status_code=204)

    async def reset(self, entry: Entry) -> Response:
        """A fresh token; the old one is dead, also for who resets with it at the same time."""
        shown = _token_of(entry)
        token = self.desk.services.new_token(CREATED if shown.startswith(CREATED) else REGISTERED)

        def change(tx: Tx) -> None:
            row = tx.runner_by_hash(hash_token(shown)) if shown else None
            if row is None:
                raise Forbidden
            tx.save(replace(row, token_hash=hash_token(token)))

        await self.desk.services.db.write(change)
        return answer_json({"token": token, "token_expires_at": None}, 201)

    async def request(self, entry: Entry) -> Response:
        """201 with a job, or 204 once nothing came for a while. A runner that has seen the newest queue waits
        here for the next bell."""
        row, given = await self._runner(entry), entry.parameters
        info = _info(entry)
        row = await self._note(row, info)
        row = replace(row, stock=not _is_ours(info))
        bell = self.desk.services.bell
        seen = bell.version("queue")
        if given.text("last_update") == _stamp(seen) and not row.paused:
            heard = await self._queue_moved(entry, seen)
            if heard is None:  # a job claimed for nobody would wait for its lease to run out
                return Response(status_code=204)
            seen = heard
        found = None if row.paused else await self._claim(row, info)
        if found is None:
            return Response(status_code=204, headers={"X-GitLab-Last-Update": _stamp(seen)})
        return answer_json(found, 201)

    async def _queue_moved(self, entry: Entry, seen: int) -> int | None:
        """The queue's version after its next bell or the hold; None when the runner left. Its leaving is
        awaited beside the bell, because a mere look (`is_disconnected`) never finds it under this server."""
        bell = asyncio.ensure_future(self.desk.services.bell.changed("queue", seen, HOLD_S))
        gone = asyncio.ensure_future(left(entry.request))
        try:
            await asyncio.wait({bell, gone}, return_when=asyncio.FIRST_COMPLETED)
            return None if gone.done() else await bell
        finally:
            bell.cancel()
            gone.cancel()

    async def _claim(self, row: Runner, info: Mapping[str, Any]) -> dict[str, Any] | None:
        services = self.desk.services
        now = services.now()

        found = await services.db.write(lambda tx: claim(tx, row, info, now, services, self.identity.sign))
        if found is None:
            return None
        if isinstance(found, Conflict):
            raise found
        return payload(found) if row.stock else payload_for_ours(found)

    async def trace(self, entry: Entry) -> Response:
        """Appends from `Content-Range: start-end`; a gap is answered with 416 and our size."""
        number, token = _job_of(entry)
        match = _RANGE.fullmatch(entry.request.headers.get("content-range", ""))
        if match is None or int(match[2]) + 1 < int(match[1]):
            raise Invalid(
                "Missing header Content-Range"
                if "content-range" not in entry.request.headers
                else "Invalid Content-Range"
            )
        data = await whole(entry.request, TRACE_PIECE_BYTES)
        services = self.desk.services
        start, now = int(match[1]), services.now()

        def append(tx: Tx) -> tuple[dispatch.LogReply, str]:
            reply = dispatch.log(tx, number, token, start, data, now, services.terms)
            return reply, _standing(tx, reply.attempt, reply.verdict, token, now)

        try:
            reply, status = await services.db.append(append, len(data))
        except (Forbidden, NotFound) as error:
            raise _lost(error) from None
        headers = {
            "Job-Status": status,
            "Range": f"0-{reply.size}",
            "X-GitLab-Trace-Update-Interval": str(TRACE_INTERVAL_S),
        }
        if reply.verdict is Verdict.ABORT:
            return _aborted(status)
        return Response(status_code=202 if reply.accepted else 416, headers=headers)

    async def update(self, entry: Entry) -> Response:
        """`running` and `pending` keep the job, `success` and `failed` end it."""
        number, token = _job_of(entry)
        state = entry.parameters.text("state") or ""
        if state in ("running", "pending"):
            answer = await self._keep_alive(
                number, token, dispatch.commit if state == "running" else dispatch.beat
            )
            visits = self.desk.services.visits
            if answer.status_code == 200 and visits is not None and _is_ours(_info(entry)):
                answer.headers["X-Runyard-Visits"] = ",".join(visits.attend(number))
            return answer
        if state not in ("success", "failed"):
            raise Invalid("Unknown build state")
        if _gives_back(entry):
            return await self._give_back(number, token)
        end = _finish(entry, state)
        services = self.desk.services
        if await self._lacks_log(number, token, end):
            return Response(status_code=412, headers={"Job-Status": "running"})
        end = replace(end, coverage=await coverage_of(services, number)) if end.coverage is None else end
        now = services.now()
        try:
            reply = await services.db.write(lambda tx: dispatch.finish(tx, number, token, end, now))
        except Conflict:
            attempt = await services.db.read(lambda tx: tx.get(Attempt, number))
            return _aborted(_word(attempt) if attempt else "canceled")
        except (Forbidden, NotFound) as error:
            raise _lost(error) from None
        return answer_json("200", 200, {"Job-Status": _word(reply.attempt)})

    async def _keep_alive(self, number: int, token: str, verb: Callable[..., dispatch.Reply]) -> Response:
        services = self.desk.services
        now = services.now()

        def beat(tx: Tx) -> tuple[dispatch.Reply, str]:
            reply = verb(tx, number, token, now, services.terms)
            return reply, _standing(tx, reply.attempt, reply.verdict, token, now)

        try:
            reply, status = await services.db.write(beat)
        except (Forbidden, NotFound) as error:
            raise _lost(error) from None
        if reply.verdict is Verdict.ABORT:
            # Two-phase commit: who was too slow to begin hears that another has it by now (contract §2.4).
            return _aborted(status, 409 if UNCOMMITTED in reply.attempt.extra else 403)
        headers = {"Job-Status": status, "X-GitLab-Trace-Update-Interval": str(TRACE_INTERVAL_S)}
        return answer_json("200", 200, headers)

    async def _give_back(self, number: int, token: str) -> Response:
        """Our own runner shuts down; the job is handed out again at once and this one is over."""
        services = self.desk.services
        now = services.now()
        try:
            reply = await services.db.write(
                lambda tx: dispatch.give_back(tx, number, token, now, services.terms)
            )
        except (Forbidden, NotFound) as error:
            raise _lost(error) from None
        return answer_json("200", 200, {"Job-Status": _word(reply.attempt)})

    async def _lacks_log(self, number: int, token: str, end: Finish) -> bool:
        """Whether bytes that the runner sent never arrived: 412 makes it send the log again from 0."""
        if end.log_bytes is None:
            return False
        attempt = await self.desk.services.db.read(lambda tx: tx.get(Attempt, number))
        if attempt is None or attempt.state is not State.RUNNING:
            return False
        return end.log_bytes > attempt.log_bytes and hmac.compare_digest(
            attempt.token_hash, hash_token(token)
        )

    async def _runner(self, entry: Entry) -> Runner:
        token = _token_of(entry)
        row = (
            await self.desk.services.db.read(lambda tx: tx.runner_by_hash(hash_token(token)))
            if token
            else None
        )
        if row is None:
            raise Forbidden
        return row

    async def _note(self, row: Runner, info: Mapping[str, Any]) -> Runner:
        """Contact and version of the machine and of the runner, written at most once a minute."""
        now = self.desk.services.now()
        system_id = str(info[managers.SYSTEM_ID])
        if not self.contacts.is_new(row.id, system_id, info, now):
            return row

        def save(tx: Tx) -> Runner:
            current = tx.get(Runner, row.id)
            if current is None:
                raise Forbidden
            managers.note(tx, current, system_id, info, now)
            noted = replace(
                current, contacted_at=now, info={**current.info, **info}, stock=not _is_ours(info)
            )
            tx.save(noted)
            return noted

        return await self.desk.services.db.write(save)


def _token_of(entry: Entry) -> str:
    """The runner's; empty when there is none that could be one."""
    token = entry.request.headers.get("runner-token") or entry.parameters.text("token") or ""
    return token if len(token) <= 512 else ""


def _job_of(entry: Entry) -> tuple[int, str]:
    """(attempt id, job token)."""
    token = entry.request.headers.get("job-token") or entry.parameters.text("token") or ""
    if not token or len(token) > 512:
        raise Forbidden
    return entry.id("job_id", "Job"), token


def _info(entry: Entry) -> dict[str, Any]:
    """What a machine says of itself, cut to size."""
    given = entry.parameters.values.get("info")
    said = given if isinstance(given, Mapping) else {}
    info: dict[str, Any] = {key: str(said[key])[:255] for key in INFO_KEYS if isinstance(said.get(key), str)}
    features = said.get("features")
    if isinstance(features, Mapping):
        info["features"] = sorted(
            str(k)[:64] for k, v in list(features.items())[:100] if v is True or v == "true"
        )
    system_id = "".join(c for c in entry.parameters.text("system_id") or "" if c.isprintable())
    info[managers.SYSTEM_ID] = system_id[:64] or managers.LEGACY
    if entry.request.client:
        info["ip_address"] = entry.request.client.host
    return info


def _is_ours(info: Mapping[str, Any]) -> bool:
    """Our own runner announces that it understands whole plans; any other gets only jobs it can execute."""
    return "runyard" in info.get("features", ())


def _stamp(version: int) -> str:
    return f"{EPOCH}{version:x}"


def _word(attempt: Attempt) -> str:
    if managers.uncommitted(attempt):
        return "pending"
    return say(attempt.state, attempt.outcome, attempt.hold)


def _standing(tx: Tx, attempt: Attempt, verdict: Verdict, token: str, now: int) -> str:
    """`Job-Status`. A runner without graceful cancel would go on under `canceling`, so its job ends here and
    it hears `canceled`."""
    graceful = verdict is not Verdict.STOP or "cancel_gracefully" in managers.features_of(tx, attempt)
    if not graceful and attempt.runner_id:
        ended = dispatch.finish(tx, attempt.id, token, Finish(Outcome.CANCELED, Reason.BY_USER), now)
        return _word(ended.attempt)
    return _word(attempt)


def _aborted(status: str, code: int = 403) -> Response:
    title = (
        "403 Forbidden - Job is not running" if code == 403 else "409 Conflict - Job was handed to another"
    )
    return answer_json({"message": title}, code, {"Job-Status": status})


def _lost(error: Forbidden | NotFound) -> Exception:
    return missing("Job") if isinstance(error, NotFound) else Forbidden()


def _gives_back(entry: Entry) -> bool:
    ours = entry.parameters.values.get("runyard")
    return isinstance(ours, Mapping) and ours.get("given_back") is True


def _finish(entry: Entry, state: str) -> Finish:
    """The runner's last word. `runyard` carries what our own runner knows and GitLab's protocol has no words
    for."""
    given = entry.parameters
    output = given.values.get("output")
    told = output if isinstance(output, Mapping) else {}
    size = told.get("bytesize")
    checksum = told.get("checksum") or given.values.get("checksum")
    match = _CHECKSUM.fullmatch(checksum) if isinstance(checksum, str) else None
    outcome, reason = Outcome.PASSED, Reason.NONE
    if state == "failed":
        said = given.text("failure_reason") or "unknown_failure"
        outcome, reason = HEARD_REASONS.get(said, HEARD_REASONS["unknown_failure"])
    end = Finish(
        outcome=outcome,
        reason=reason,
        exit_code=given.number("exit_code") if state == "failed" else 0,
        log_bytes=size if isinstance(size, int) and 0 <= size < 2**50 else None,
        log_crc=int(match[1], 16) if match else None,
    )
    ours = given.values.get("runyard")
    return _ours(end, ours) if isinstance(ours, Mapping) else end


def _ours(end: Finish, said: Mapping[str, Any]) -> Finish:
    try:
        outputs = said.get("outputs") or {}
        coverage = said.get("coverage")
        return replace(
            end,
            outcome=Outcome(said["outcome"]) if "outcome" in said else end.outcome,
            reason=Reason(said["reason"]) if "reason" in said else end.reason,
            message=str(said.get("message", ""))[:4096],
            outputs={str(key): str(value) for key, value in outputs.items()},
            coverage=float(coverage) if coverage is not None else None,
        )
    except (ValueError, AttributeError, TypeError):
        raise Invalid("runyard is invalid") from None
