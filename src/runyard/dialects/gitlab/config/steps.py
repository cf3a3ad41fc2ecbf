"""The steps of a job in the order gitlab-runner's stages have: sources, cache, artifacts, script,
after_script, cache, artifacts.

Called by lower. Texts that hold `$VAR` for the runner become `${{ env.VAR }}` templates, so that the runner
needs to know one language only. Scripts go in as they are, never as templates.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runyard.dialects.gitlab.config.reports import REPORTS
from runyard.dialects.gitlab.config.scope import escaped, escaped_but_inputs
from runyard.dialects.gitlab.config.script import SHELL, template_of, text_of
from runyard.dialects.gitlab.config.spec import ArtifactsSpec, JobSpec
from runyard.model.plan import StepKind, StepPlan
from runyard.syntax.variables import dollar_references, expand

AFTER_SCRIPT_S = 300

_CONDITION = {"on_success": "success()", "on_failure": "failure()", "always": "always()"}
_STATUS = "${{ job.status == 'failure' && 'failed' || job.status == 'cancelled' && 'canceled' || 'success' }}"


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache whose key is decided; texts are templates. `written`: its keys for a stock runner, which
    expands `$VAR` itself."""

    key: str
    fallback_keys: tuple[str, ...]
    written: tuple[str, ...]
    paths: tuple[str, ...]
    untracked: bool
    policy: str
    when: str
    protected: bool
    with_inputs: bool = False

    def template(self, text: str) -> str:
        return runner_template_with_inputs(text) if self.with_inputs else runner_template(text)

    @property
    def params(self) -> dict[str, Any]:
        """Of the steps that restore and save it."""
        return {
            "key": self.key,
            "paths": [self.template(path) for path in self.paths],
            "fallback_keys": list(self.fallback_keys),
            "policy": self.policy,
            "when": self.when,
            "untracked": self.untracked,
            "protected": self.protected,
        }


@dataclass(frozen=True, slots=True)
class Checkout:
    """What GIT_* and RUNNER_*_TIMEOUT variables ask of the runner."""

    strategy: str = "fetch"
    depth: int = 20
    clean: bool = True
    script_s: int | None = None
    after_script_s: int = AFTER_SCRIPT_S


def steps_of(
    job: JobSpec,
    checkout: Checkout,
    caches: tuple[Cache, ...],
    download: Mapping[str, Any] | None,
) -> tuple[StepPlan, ...]:
    """All steps. `download` None: there is nothing to fetch from other jobs."""
    steps = []
    if job.pre_get_sources:
        steps.append(_shell("pre_get_sources", "pre_get_sources_script", job.pre_get_sources, None, ""))
    if checkout.strategy != "none":
        params = {"depth": checkout.depth, "strategy": checkout.strategy, "clean": checkout.clean}
        steps.append(
            StepPlan("checkout", "Get sources", StepKind.CHECKOUT, params=params, section="get_sources")
        )
    steps += [_restore(i, cache) for i, cache in enumerate(caches) if cache.policy != "push"]
    if download is not None:
        steps.append(
            StepPlan(
                "download",
                "Download artifacts",
                StepKind.DOWNLOAD,
                params=download,
                section="download_artifacts",
            )
        )
    script = _shell("script", "script", (*job.before_script, *job.script), checkout.script_s, "step_script")
    if job.inputs:
        script = replace(script, script=template_of((*job.before_script, *job.script)), templated=True)
    steps.append(script)
    if job.after_script:
        commands = job.after_script
        text = template_of(commands) if job.inputs else escaped(text_of(commands))
        steps.append(_after(text, checkout.after_script_s))
    steps += [_save(i, cache) for i, cache in enumerate(caches) if cache.policy != "pull"]
    if job.artifacts:
        steps += uploads(job.artifacts, runner_template_with_inputs if job.inputs else runner_template)
    return tuple(steps)


def _shell(key: str, name: str, commands: tuple[str, ...], timeout_s: int | None, section: str) -> StepPlan:
    return StepPlan(key, name, argv=SHELL, script=text_of(commands), timeout_s=timeout_s, section=section)


def _after(script: str, timeout_s: int) -> StepPlan:
    """In a shell of its own, also after failure and cancel, its own failure ignored; not when the script
    never began."""
    return StepPlan(
        "after_script",
        "after_script",
        argv=SHELL,
        script=script,
        env={"CI_JOB_STATUS": _STATUS},
        condition="always() && steps.script.outcome != 'skipped'",
        timeout_s=timeout_s,
        continue_on_error=True,
        templated=True,
        section="after_script",
    )


def _restore(i: int, cache: Cache) -> StepPlan:
    key = f"cache_restore_{i}"
    return StepPlan(
        key, "Restore cache", StepKind.CACHE_RESTORE, params=cache.params, templated=True, section="restore_cache",
        continue_on_error=True,
    )  # fmt: skip


def _save(i: int, cache: Cache) -> StepPlan:
    return StepPlan(
        f"cache_save_{i}", "Save cache", StepKind.CACHE_SAVE, params=cache.params, templated=True, section="archive_cache",
        condition=_CONDITION[cache.when], continue_on_error=True,
    )  # fmt: skip


def uploads(artifacts: ArtifactsSpec, template: Callable[[str], str]) -> list[StepPlan]:
    """The archive, then one upload per report (reports always go up)."""
    found = []
    if artifacts.paths or artifacts.untracked:
        params = {
            "name": template(artifacts.name or "artifacts"),
            "filename": template(artifacts.name or "artifacts") + ".zip",
            "paths": [template(path) for path in artifacts.paths],
            "exclude": [template(path) for path in artifacts.exclude],
            "untracked": artifacts.untracked,
            "type": "archive",
            "format": "zip",
            "if_no_files": "warn",
            **_expiry(artifacts),
        }
        found.append(
            _upload("upload", "Upload artifacts", params, _CONDITION[artifacts.when], artifacts.when)
        )
    for kind, paths in artifacts.reports:
        form, filename = REPORTS[kind]
        params = {
            "name": filename,
            "filename": filename,
            "paths": [template(path) for path in paths],
            "type": kind,
            "format": form,
            "if_no_files": "warn",
            **_expiry(artifacts),
        }
        found.append(_upload(f"upload_{kind}", f"Upload {kind} report", params, "always()", "always"))
    return found


def _expiry(artifacts: ArtifactsSpec) -> dict[str, int | None]:
    """Nothing when not given: the server's default; None for never."""
    if artifacts.expire_in_s is None:
        return {}
    return {"expire_in_s": None if artifacts.expire_in_s < 0 else artifacts.expire_in_s}


def _upload(key: str, name: str, params: Mapping[str, Any], condition: str, when: str) -> StepPlan:
    section = "upload_artifacts_on_failure" if when == "on_failure" else "upload_artifacts_on_success"
    return StepPlan(
        key, name, StepKind.UPLOAD, params=params, condition=condition, templated=True, section=section
    )


def runner_template(text: str) -> str:
    """`$VAR` for the runner as a template over the job's environment. `%X%` is for Windows and stays."""
    return _of_environment(text, escaped(text)) if "$" in text else text


def runner_template_with_inputs(text: str) -> str:
    """The same in a job with inputs."""
    return _of_environment(text, escaped_but_inputs(text)) if "$" in text else text


def _of_environment(text: str, template: str) -> str:
    return expand(template, {name: f"${{{{ env.{name} }}}}" for name in dollar_references(text)})
