"""What the runner itself says in a log, as gitlab-runner and the Actions runner say it, and the variables
only a runner knows. Used by `job.py`."""

from __future__ import annotations

import platform
import time

from runyard import __version__
from runyard.engine.dispatch import Finish
from runyard.model.plan import Assignment, StepPlan
from runyard.model.state import Outcome, Reason
from runyard.runner.sandbox import Box, Level
from runyard.runner.streams import Log

GREEN, RED, CYAN, RESET = "\x1b[32;1m", "\x1b[31;1m", "\x1b[36;1m", "\x1b[0;m"
HEADERS = {
    "get_sources": "Getting source from Git repository",
    "restore_cache": "Restoring cache",
    "download_artifacts": "Downloading artifacts",
    "step_script": 'Executing "step_script" stage of the job script',
    "after_script": "Running after_script",
    "archive_cache": "Saving cache for successful job",
    "upload_artifacts_on_success": "Uploading artifacts for successful job",
    "upload_artifacts_on_failure": "Uploading artifacts for failed job",
}


def speaks_actions(work: Assignment) -> bool:
    """Whether its steps read workflow commands: then the log is written in that manner."""
    return any(step.commands for step in work.job.steps)


class Voice:
    """System lines of one attempt."""

    def __init__(self, log: Log, work: Assignment) -> None:
        self._log = log
        self._work = work
        self._actions = speaks_actions(work)

    def begin(self, level: Level, slot: int) -> None:
        """Who runs this, and how protected."""
        if self._actions:
            self._log.system(f"Current runner: Runyard {__version__}, sandbox {level}, slot {slot}")
        else:
            self._log.system(
                f"\x1b[0KRunning with runyard {__version__}\x1b[0;m\n\x1b[0K  sandbox {level}, slot {slot}{RESET}"
            )

    def environment(self, slot: int, box: Box) -> dict[str, str]:
        """GitLab: variables that no server can know (contracts/gitlab.md §2.7)."""
        if not self._work.job.stock:
            return {}
        return {
            "CI_SERVER": "yes",
            "CI_BUILDS_DIR": box.inside.builds,
            "CI_PROJECT_DIR": box.inside.workspace,
            "CI_CONCURRENT_ID": str(slot),
            "CI_CONCURRENT_PROJECT_ID": str(slot),
            "CI_DISPOSABLE_ENVIRONMENT": "true",
            "CI_JOB_STARTED_AT": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "CI_JOB_STATUS": "running",  # after_script hears another word
            "CI_JOB_TIMEOUT": str(self._work.timeout_s),
            "CI_RUNNER_REVISION": "runyard",
            "CI_RUNNER_VERSION": __version__,
            "CI_RUNNER_EXECUTABLE_ARCH": f"linux/{platform.machine()}",
        }

    def enter(self, step: StepPlan) -> None:
        """A section's head."""
        if step.section and not self._actions:
            head = HEADERS.get(step.section, step.name)
            now = int(time.time())
            self._log.system(f"section_start:{now}:{step.section}\r\x1b[0K\x1b[0K{CYAN}{head}{RESET}")

    def leave(self, step: StepPlan) -> None:
        """A section's foot."""
        if step.section and not self._actions:
            self._log.system(f"section_end:{int(time.time())}:{step.section}\r\x1b[0K")

    def trouble(self, message: str) -> None:
        """What went wrong on our side."""
        self._log.system(f"##[error]{message}" if self._actions else f"{RED}ERROR: {message}{RESET}")

    def end(self, end: Finish) -> None:
        """The last line."""
        if self._actions:
            return
        match end.outcome:
            case Outcome.PASSED:
                self._log.system(f"{GREEN}Job succeeded{RESET}")
            case Outcome.CANCELED:
                self._log.system(f"{RED}ERROR: Job failed: canceled{RESET}")
            case Outcome.ERRORED:
                self._log.system(
                    f"{RED}ERROR: Job failed (system failure): {end.message or end.reason}{RESET}"
                )
            case Outcome.FAILED | Outcome.SKIPPED if end.reason is Reason.TIMEOUT:
                self._log.system(
                    f"{RED}ERROR: Job failed: execution took longer than {self._work.timeout_s}s seconds{RESET}"
                )
            case Outcome.FAILED | Outcome.SKIPPED:
                code = f"exit code {end.exit_code}" if end.exit_code is not None else end.message
                self._log.system(f"{RED}ERROR: Job failed: {code}{RESET}")
