"""`runyard run`: the working copy's pipeline or workflow now, without a server: the same engine, runner and
sandbox, on a database in memory.

Exit 0 passed, 1 failed, 2 could not run. Uncommitted changes are part of it; the working copy itself is never
touched.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from runyard.app.local import Local, clock, dialects_of, has_signs
from runyard.app.local_settings import LocalSettings
from runyard.cli.asked import Asked, Choice, read
from runyard.cli.choosing import names_of, only, with_inputs
from runyard.cli.lines import printable
from runyard.cli.progress import Screen, follow
from runyard.cli.resident import client as resident
from runyard.cli.scratch import Scratch
from runyard.dialects import Dialect
from runyard.engine import control
from runyard.engine.ports import Tx
from runyard.http.services import RunRequest
from runyard.model.errors import Invalid, NotFound, NothingToRun, Problem, RunyardError
from runyard.model.plan import JobPlan, Order, Plan, Variable, When, WorkflowPlan
from runyard.model.state import Outcome
from runyard.model.trigger import Files, Push
from runyard.model.work import Attempt, Job, Project, Run
from runyard.sources.workcopy import Workcopy, import_folder, import_workcopy


class Prepared:
    """What a run needs before anybody knows which: an empty house in a folder of its own. Made when it is
    first asked for; the resident makes it ahead."""

    def __init__(self) -> None:
        self._settings: LocalSettings | None = None
        self._scratch: Scratch | None = None
        self._house: Local | None = None

    @property
    def house(self) -> Local:
        """The one house."""
        if self._house is None:
            self._scratch = Scratch()
            self._settings = LocalSettings.read()
            self._house = Local(Path(self._scratch.name), self._settings)
        return self._house

    def freshen(self) -> None:
        """Gives up a house that was made ahead when the user's settings are others now."""
        if self._house is not None and self._settings != LocalSettings.read():
            self.close()
            self._house = self._scratch = None

    def equip(self, warm_slots: int = 0) -> None:
        """Begins to make the sandbox ready, on a thread of its own."""
        self.house.equip(warm_slots=warm_slots)

    def close(self) -> None:
        """Forgets everything."""
        if self._house is not None:
            self._house.close()
        if self._scratch is not None:
            self._scratch.cleanup()


def run(args: Sequence[str], prog_name: str) -> None:
    """The verb, with its own reading of the command line: typer takes longer to import than ten small jobs to
    run (docs/decisions/0012)."""
    prepared = Prepared()
    try:
        code = finish(args, prog_name, prepared)
    finally:
        prepared.close()
    resident.start()
    sys.exit(code)


def finish(args: Sequence[str], prog_name: str, prepared: Prepared) -> int:
    """Runs; the exit code. What was said is written out."""
    try:
        code = _run(read(args, prog_name), prepared)
    except Invalid as error:
        for problem in error.problems or (Problem(f"runyard: {error.message}"),):
            text, hint = str(problem), problem.suggestion
            _complain(printable(f"{text} ({hint})" if hint and hint not in text else text))
        code = 2
    except RunyardError as error:
        _complain(f"runyard: {error.message}")
        code = 2
    except KeyboardInterrupt:
        code = 1
    except SystemExit as ended:  # argparse: help, or an option that it cannot read
        code = ended.code if isinstance(ended.code, int) else 2
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return code


def _run(asked: Asked, prepared: Prepared) -> int:
    prepared.freshen()
    if not asked.list:
        prepared.equip()
    local = LocalRun(prepared, asked)
    if asked.list:
        local.show(asked.output)
        return 0
    choice = local.picked(asked.choice) if asked.pick else asked.choice
    return local.go(choice, Screen.of(asked.output))


def _complain(text: str) -> None:
    sys.stderr.write(f"{text}\n")


Result = tuple[Run, list[tuple[Job, Attempt]]]


class LocalRun:
    """What to run of a working copy, and running it."""

    def __init__(self, prepared: Prepared, asked: Asked) -> None:
        if not asked.folder.is_dir():
            raise NotFound(f"There is no folder {asked.folder}.")
        self.asked = asked
        self.file = asked.file.removeprefix("./")
        self.house = prepared.house
        self.copy = self._copied(asked.folder.resolve())
        self.house.keep(asked.variables, asked.secrets)
        self.project = replace(self.house.project, default_branch=self.copy.branch)
        # A clean copy differs from nothing, and path filters would leave nothing to run: then all files count
        # as changed.
        self.base = self.copy.base_sha if self.copy.changed else ""
        self.files: Files = self.house.source.files(self.project.id, self.copy.sha, self.base or None)

    def _copied(self, folder: Path) -> Workcopy:
        """The working copy around the folder; the folder alone when it has a pipeline or workflow itself, as
        in a repository of many."""
        alone = has_signs(folder) or bool(self.file and (folder / self.file).is_file())
        root = (
            folder if alone else next((p for p in (folder, *folder.parents) if (p / ".git").exists()), folder)
        )
        self.house.mount(dialects_of(root, self.file, self.asked.dialect))
        take = import_folder if alone else import_workcopy
        return take(folder, self.house.source, self.house.project.id)

    def requests(self, names: frozenset[str] = frozenset()) -> list[RunRequest]:
        """What to start: the named file, what the event starts, or everything that a push of this working
        copy would start. Of two languages one must be chosen, unless only one of them has the named jobs."""
        dialects = self.house.dialects
        if self.asked.dialect:
            dialects = {self.asked.dialect: dialects[self.asked.dialect]}
        if self.file:
            return self._of_file(dialects.values())
        found = [request for dialect in dialects.values() for request in self._started(dialect)]
        if not found:
            raise NothingToRun(self._nothing(dialects.values()))
        if len({request.dialect for request in found}) > 1 and not self.asked.list:
            found = [r for r in found if names and names <= self._names(r)] or found
        if len({request.dialect for request in found}) > 1 and not self.asked.list:
            raise Invalid(
                "This working copy has a GitLab pipeline and Actions workflows. Choose: `runyard run --dialect gitlab` runs .gitlab-ci.yml, "
                "`runyard run --dialect depot` the workflows; `--list` shows the jobs of both."
            )
        return found

    def _names(self, request: RunRequest) -> set[str]:
        plan = self.house.compiled(request)
        return {name for workflow in plan.workflows for job in workflow.jobs for name in names_of(job)}

    def _started(self, dialect: Dialect) -> list[RunRequest]:
        """What the event starts in one language; everything of it when there is no event, as a push does."""
        event = self.asked.event
        if event and event != "push":
            options = {"event": event, "payload": dict(self.asked.payload)}
            return [self._request(dialect, event, options)] if dialect.entries(self.files) else []
        push = Push(
            self.project, self.house.user, self.copy.branch, False, self.base or "0" * 40, self.copy.sha
        )
        return [
            self._request(dialect, start.source, {**start.options, "payload": dict(self.asked.payload)})
            for start in dialect.on_push(push, self.files)
        ]

    def _nothing(self, dialects: Iterable[Dialect]) -> str:
        event = self.asked.event or "push"
        there = [path for dialect in dialects for path in dialect.entries(self.files)]
        if not there:
            return (
                f"There is no .gitlab-ci.yml and no workflow that runs on {event} here; name one with --file."
            )
        shown = ", ".join(there[:5]) + (", …" if len(there) > 5 else "")
        return f"Nothing here runs on {event}. There is {shown}: name one with --file, or what happened with --event."

    def _of_file(self, dialects: Iterable[Dialect]) -> list[RunRequest]:
        wanted: list[RunRequest] = []
        for dialect in dialects:
            there = dialect.entries(self.files)
            paths = [self.file] if self.file in there else [p for p in there if p.endswith(f"/{self.file}")]
            wanted += [
                self._request(dialect, self.asked.event or "push", self._file_options(), p) for p in paths
            ]
        wanted = wanted or [
            self._request(d, self.asked.event or "push", self._file_options(), self.file)
            for d in dialects
            if self._is_configuration(d)
        ]
        if not wanted:
            there = [path for dialect in dialects for path in dialect.entries(self.files)]
            by_name = {path.rpartition("/")[2]: path for path in there}
            near = difflib.get_close_matches(self.file.rpartition("/")[2], by_name, 1)
            hint = f"did you mean {by_name[near[0]]!r}?" if near else ", ".join(there[:5])
            raise Invalid(
                problems=[
                    Problem(
                        "no door runs a file of this name, or it is not there", self.file, suggestion=hint
                    )
                ]
            )
        return wanted

    def _file_options(self) -> dict[str, object]:
        payload: dict[str, object] = {"payload": dict(self.asked.payload)}
        return {"event": self.asked.event, **payload} if self.asked.event else payload

    def _is_configuration(self, dialect: Dialect) -> bool:
        """GitLab's configuration may have any name (`ci_config_path`)."""
        is_yaml = self.file.endswith((".yml", ".yaml"))
        return dialect.name == "gitlab" and is_yaml and self.files.read(self.file) is not None

    def _request(
        self, dialect: Dialect, source: str, options: Mapping[str, object], file: str = ""
    ) -> RunRequest:
        chosen = {"workflow": file} if file else {}
        secret = [Variable(k, v, masked=True, raw=True) for k, v in self.asked.secrets.items()]
        return RunRequest(
            project=_with_file(self.project, dialect.name, file),
            dialect=dialect.name,
            source=source,
            actor=self.house.user,
            ref=f"refs/heads/{self.copy.branch}",
            sha=self.copy.sha,
            before_sha=self.base or None,
            # GitLab knows no `secrets`: there they are masked variables.
            variables=(
                *(Variable(k, v) for k, v in self.asked.variables.items()),
                *(secret if dialect.name == "gitlab" else ()),
            ),
            inputs=dict(self.asked.inputs),
            options={**options, **chosen},
        )

    def jobs(self) -> list[tuple[WorkflowPlan, JobPlan]]:
        """Every job that would run, with its workflow."""
        plans = [self.house.compiled(request) for request in self.requests()]
        return [(workflow, job) for plan in plans for workflow in plan.workflows for job in workflow.jobs]

    def show(self, output: str) -> None:
        """Shows the jobs: a line each, or one JSON document."""
        found = self.jobs()
        if output == "json":
            sys.stdout.write(
                json.dumps([_described(workflow, job) for workflow, job in found], indent=2) + "\n"
            )
            return
        for line in _lines(found):
            sys.stdout.write(f"{line}\n")
        shown = {workflow.path for workflow, _ in found}
        others = [
            p for d in self.house.dialects.values() if d.name != "gitlab" for p in d.entries(self.files)
        ]
        left = [path for path in others if path not in shown]
        if left and not self.file:
            event = self.asked.event or "push"
            _complain(
                f"Not on {event}: {', '.join(left)}. Name one with --file, or what happened with --event."
            )

    def picked(self, choice: Choice) -> Choice:
        """Asks which of the jobs; nothing chosen is all of them."""
        found = self.jobs()
        for number, line in enumerate(_lines(found), 1):
            _complain(f"{number:>4}  {line}")
        sys.stderr.write("Numbers (1 3-5) or names, with what they need; nothing for all: ")
        sys.stderr.flush()
        names = [job.name for _, job in found]
        return replace(choice, names=choice.names | frozenset(chosen(sys.stdin.readline(), names)))

    def go(self, choice: Choice, screen: Screen) -> int:
        """Runs; the worst outcome decides."""
        runs = self.started(choice)
        for note in self.house.begin(
            self.asked.slots or self.house.settings.slots, bridges=any(map(self._has_bridges, runs))
        ):
            screen.note(note)
        results: list[Result] = []
        try:
            self.follow(runs, screen, results)
        except KeyboardInterrupt:
            self._cancel(runs)
            results.clear()
            self.follow(runs, screen, results)
        screen.done(results)
        return max(_code(result) for result, _ in results)

    def started(self, choice: Choice) -> list[Run]:
        """The runs, accepted, with what was chosen of them."""
        requests = self.requests(choice.all)
        if len(requests) > 1 and choice.all:
            requests = [r for r in requests if choice.all & self._names(r)] or requests
        try:
            return [self.house.start(r, partial(self._chosen, r, choice)) for r in requests]
        except NothingToRun as error:
            if self.asked.event:
                hint = "name a file with --file, or another event with --event"
                raise NothingToRun(f"{error.message.rstrip('.')}; {hint}.") from None
            raise

    def _chosen(self, request: RunRequest, choice: Choice, plan: Plan) -> Plan:
        asks = self.house.dialects[request.dialect].job_inputs
        return with_inputs(only(plan, choice), self.asked.job_inputs, asks)

    def _has_bridges(self, run: Run) -> bool:
        graph = self.house.db.submit_read(lambda tx: tx.graph(run.id)).result()
        return any(not job.plan.claimable for job, _ in graph)

    def follow(self, runs: Sequence[Run], screen: Screen, results: list[Result]) -> None:
        """Shows the runs, and the children that they start, until all are done; adds how they ended to
        `results`."""
        for run in runs:
            result = follow(self.house, run.id, screen)
            results.append(result)
            ids = [int(id) for _, attempt in result[1] if (id := attempt.extra.get("downstream_run_id"))]
            found = self.house.db.submit_read(lambda tx: [tx.get(Run, id) for id in ids]).result()  # noqa: B023 - used at once
            self.follow([child for child in found if child is not None], screen, results)

    def _cancel(self, runs: Sequence[Run]) -> None:
        def cancel(tx: Tx) -> None:
            for run in runs:
                control.cancel_run(tx, run.id, clock())

        self.house.db.submit_write(cancel).result()


def chosen(text: str, names: Sequence[str]) -> list[str]:
    """The names that an answer means: numbers from 1, ranges, names; a name with blanks stands alone or in
    quotes. Invalid for what is neither."""
    text = text.strip()
    if text in names:
        return [text]
    found: list[str] = []
    for quoted, word in re.findall(r"\"([^\"]*)\"|([^\s,]+)", text):
        word = quoted or word
        first, dash, last = word.partition("-")
        if word in names:
            found.append(word)
        elif (
            first.isdecimal()
            and (last.isdecimal() or not dash)
            and 1 <= int(first) <= int(last or first) <= len(names)
        ):
            found += names[int(first) - 1 : int(last or first)]
        else:
            raise Invalid(f"{word!r} is neither a job's name nor a number from 1 to {len(names)}.")
    return found


def _lines(jobs: Sequence[tuple[WorkflowPlan, JobPlan]]) -> list[str]:
    """A line for each job: its stage or file, its name, what it waits for."""
    places = [job.stage or workflow.path for workflow, job in jobs]
    wide = max(map(len, places), default=0)
    lines = []
    for place, (_, job) in zip(places, jobs, strict=True):
        when = "" if job.gate.when is When.ON_SUCCESS else f"  {job.gate.when}"
        needs = ", ".join(dict.fromkeys(need.group for need in job.needs))
        lines.append(f"{place:<{wide}} {job.name}{when}{f'  needs {needs}' if needs else ''}")
    return lines


def _described(workflow: WorkflowPlan, job: JobPlan) -> dict[str, object]:
    return {
        "name": job.name,
        "stage": job.stage or None,
        "file": workflow.path or None,
        "when": str(job.gate.when),
        "needs": [need.group for need in job.needs] if job.gate.order is Order.NEEDS else None,
        "allow_failure": job.allow_failure,
        "image": job.image.name if job.image else None,
    }


def _code(run: Run) -> int:
    return {Outcome.PASSED: 0, Outcome.SKIPPED: 0, Outcome.ERRORED: 2}.get(run.outcome or Outcome.ERRORED, 1)


def _with_file(project: Project, dialect: str, file: str) -> Project:
    """GitLab's file is a setting of the project, not of the trigger."""
    return (
        replace(project, extra={"gitlab": {"ci_config_path": file}})
        if file and dialect == "gitlab"
        else project
    )
