"""Cache keys and checkout settings, decided at compile from variables and the commit's files (gitlab.md
§3.10).

Called by lower. A key ends in `-protected` or `-non_protected`, so that an unprotected branch can never feed
a protected one.
"""

import hashlib

from runyard.dialects.gitlab.config.predefined import is_protected
from runyard.dialects.gitlab.config.scope import Scope
from runyard.dialects.gitlab.config.spec import CacheSpec, JobSpec
from runyard.dialects.gitlab.config.steps import AFTER_SCRIPT_S, Cache, Checkout
from runyard.model.errors import TooLarge
from runyard.model.trigger import Files, Trigger
from runyard.syntax.durations import DurationError, seconds

POLICIES = ("pull-push", "pull", "push")
DEFAULT_DEPTH = 20


def caches_of(job: JobSpec, scope: Scope, trigger: Trigger, files: Files) -> tuple[Cache, ...]:
    """Caches that hold something; a key is a template where it names something of the claim."""
    return tuple(
        _cache(spec, i, scope, trigger, files)
        for i, spec in enumerate(job.cache)
        if spec.paths or spec.untracked
    )


def _cache(spec: CacheSpec, index: int, scope: Scope, trigger: Trigger, files: Files) -> Cache:
    suffix = "" if spec.unprotect else "-protected" if is_protected(trigger) else "-non_protected"
    named = spec.fallback_keys
    if "CACHE_FALLBACK_KEY" in scope.plain:
        named = (scope.plain["CACHE_FALLBACK_KEY"], *named)
    fallbacks = tuple(_safe(scope.template(key)) + suffix for key in named)
    policy = scope.expand(spec.policy)
    key, written = _keys(spec, index, scope, files)
    return Cache(
        key=_safe(key) + suffix,
        fallback_keys=fallbacks,
        written=tuple(text + suffix for text in (written, *named)),
        paths=spec.paths,
        untracked=spec.untracked,
        policy=policy if policy in POLICIES else "pull-push",
        when=spec.when,
        protected=is_protected(trigger) and not spec.unprotect,
        with_inputs=scope.with_inputs,
    )


def _keys(spec: CacheSpec, index: int, scope: Scope, files: Files) -> tuple[str, str]:
    """The key as a template, and as written. Without a prefix GitLab takes the cache's number and its files'
    names, so that two caches of one lock file stay apart."""
    if not spec.files:
        return scope.template(spec.key or "default") or "default", spec.key or "default"
    paths = tuple(scope.expand(path) for path in spec.files)
    digest = _digest(paths, files)
    if spec.prefix:
        return f"{scope.template(spec.prefix)}-{digest}", f"{spec.prefix}-{digest}"
    named = f"{index}_{'_'.join(paths)}".replace("/", "-")
    return f"{named}-{digest}", f"{named}-{digest}"


def _digest(paths: tuple[str, ...], files: Files) -> str:
    """SHA-1 over the files' contents; `default` when none of them exists."""
    seen = hashlib.sha1(usedforsecurity=False)
    found = False
    for path in sorted(set(paths)):
        try:
            content = files.read(path)
        except TooLarge:
            content = b"too large"
        if content is not None:
            seen.update(hashlib.sha1(content, usedforsecurity=False).digest())
            found = True
    return seen.hexdigest() if found else "default"


def _safe(key: str) -> str:
    """A key that a variable filled with slashes stays one name (gitlab.md: `/` and `%2F` are not allowed)."""
    return key if "${{" in key else key.replace("/", "-").strip(".") or "default"


def checkout_of(scope: Scope) -> Checkout:
    """GIT_STRATEGY, GIT_DEPTH, GIT_CLEAN_FLAGS and the time limits of scripts."""
    strategy = scope.expand(scope.plain.get("GIT_STRATEGY", "fetch")).lower()
    depth = scope.expand(scope.plain.get("GIT_DEPTH", str(DEFAULT_DEPTH)))
    return Checkout(
        strategy if strategy in ("fetch", "clone", "none", "empty") else "fetch",
        int(depth) if depth.isascii() and depth.isdigit() and len(depth) < 7 else DEFAULT_DEPTH,
        scope.plain.get("GIT_CLEAN_FLAGS", "") != "none",
        _limit(scope, "RUNNER_SCRIPT_TIMEOUT"),
        _limit(scope, "RUNNER_AFTER_SCRIPT_TIMEOUT") or AFTER_SCRIPT_S,
    )


def _limit(scope: Scope, key: str) -> int | None:
    """Seconds of a duration in a variable; what is none is ignored, as gitlab-runner does."""
    if key not in scope.plain:
        return None
    try:
        return seconds(scope.expand(scope.plain[key])) or None
    except DurationError:
        return None
