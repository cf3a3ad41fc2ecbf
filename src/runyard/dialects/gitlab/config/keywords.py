"""Readers of `image`, `services`, `artifacts`, `cache`, `retry`, `environment`, `coverage`, `inherit`: nodes
become specs.

Called by the job reader. Limits are those of gitlab.md §3.2.
"""

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from runyard.dialects.gitlab.config import fields
from runyard.dialects.gitlab.config.findings import Place, nearest
from runyard.dialects.gitlab.config.reports import COVERAGE_FORMATS, REPORT_KEYS
from runyard.dialects.gitlab.config.rules import exit_codes, variables_of
from runyard.dialects.gitlab.config.spec import ArtifactsSpec, CacheSpec, Environment, ImageSpec, RetrySpec
from runyard.syntax.patterns import PatternError, literal
from runyard.syntax.yamltree import Mapping, Node, Scalar, Sequence

MAX_CACHES = 4
MAX_FALLBACK_KEYS = 5
MAX_SERVICES = 50
MAX_PATHS = 1000
MAX_ENVIRONMENT = 255
IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}")
IMAGE_HINT = "expected like registry/name:tag"
_ENVIRONMENT_NAME = re.compile(r"(?!/)[A-Za-z0-9_/\\${}. -]+(?<!/)")
ENVIRONMENT_NAME_HINT = (
    "can contain only letters, digits, '-', '_', '/', '$', '{', '}', '.', and spaces, "
    "but it cannot start or end with '/'"
)
EXPOSE_AS = re.compile(r"\w[-\w ]*", re.ASCII)
RESULTS = ("on_success", "on_failure", "always")

RETRY_REASONS = [
    "always",
    "unknown_failure",
    "script_failure",
    "api_failure",
    "stuck_or_timeout_failure",
    "runner_system_failure",
    "runner_unsupported",
    "stale_schedule",
    "job_execution_timeout",
    "archived_failure",
    "unmet_prerequisites",
    "scheduler_failure",
    "data_integrity_failure",
    "missing_dependency_failure",
    "runner_configuration_error",
    "runner_external_dependency_failure",
    "runner_interrupted",
]

_IMAGE = ("name", "entrypoint", "docker", "kubernetes", "pull_policy", "ports")
_PULL = ("always", "never", "if-not-present")


def image(node: Node, place: Place) -> ImageSpec | None:
    """`image`."""
    return _image(node, place, _IMAGE)


def services(node: Node, place: Place) -> tuple[ImageSpec, ...]:
    """`services`."""
    items = fields.sequence(node, place, "should be an array of services") or ()
    if len(items) > MAX_SERVICES:
        place.wrong(node.at, f"is too long (maximum is {MAX_SERVICES})")
        return ()
    found = [_image(item, place.sub("service"), (*_IMAGE, "command", "alias", "variables")) for item in items]
    return tuple(one for one in found if one)


def _image(node: Node, place: Place, keys: tuple[str, ...]) -> ImageSpec | None:
    if isinstance(node, Scalar) and isinstance(node.value, str) and node.text.strip():
        return ImageSpec(_named(node.text, node, place), node.at)
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash or a string")
        return None
    fields.unknown_keys(node, place, keys)
    if "ports" in node.entries:
        place.error(node.key_at("ports"), f"{place.path}:ports is not served")
    name_node, policy, variables = node.get("name"), node.get("pull_policy"), node.get("variables")
    name = fields.text(name_node, place.sub("name")) if name_node else None
    if name is None:
        if name_node is None:
            place.wrong(node.at, "should have a `name`")
        return None
    alias = node.get("alias")
    return ImageSpec(
        _named(name, node, place),
        node.at,
        entrypoint=_strings(node, "entrypoint", place),
        command=_strings(node, "command", place),
        alias=fields.text(alias, place.sub("alias")) if alias else None,
        executor_opts=_executor_opts(node, place),
        pull_policy=_policies(policy, place.sub("pull_policy")) if policy else None,
        variables=variables_of(variables, place.sub("variables")) if variables else {},
    )


def _named(name: str, node: Node, place: Place) -> str:
    """A name without variables can be judged at once; others are judged when rules are."""
    if "$" not in name and not IMAGE_NAME.fullmatch(name.strip()):
        place.error(node.at, f"`{name[:80]}` is not the name of an image", IMAGE_HINT)
    return name


def _strings(node: Mapping, key: str, place: Place) -> tuple[str, ...] | None:
    value = node.get(key)
    return (
        fields.texts(value, place.sub(key), MAX_PATHS)
        if value is not None and not fields.is_null(value)
        else None
    )


def _policies(node: Node, place: Place) -> tuple[str, ...]:
    items = node.items if isinstance(node, Sequence) else (node,)
    found = [fields.choice(item, place, _PULL) for item in items]
    return tuple(one for one in found if one)


def _executor_opts(node: Mapping, place: Place) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for key, known in (("docker", ("platform", "user")), ("kubernetes", ("user",))):
        value = node.get(key)
        if value is None:
            continue
        found = fields.mapping(value, place.sub(key), known)
        if found is not None:
            texts = {k: fields.scalar_text(e.value, place.sub(key).sub(k)) for k, e in found.entries.items()}
            options[key] = {k: v for k, v in texts.items() if v is not None}
    return options


def artifacts(node: Node, place: Place) -> ArtifactsSpec | None:
    """`artifacts`."""
    keys = (
        "name",
        "paths",
        "exclude",
        "untracked",
        "when",
        "expire_in",
        "expose_as",
        "public",
        "access",
        "reports",
    )
    found = fields.mapping(node, place, keys)
    if found is None:
        return None
    if "public" in found.entries and "access" in found.entries:
        place.wrong(found.key_at("access"), "these keys cannot be used together: public, access")
    get = found.get
    name, untracked, when, expire = get("name"), get("untracked"), get("when"), get("expire_in")
    reports = get("reports")
    return ArtifactsSpec(
        name=fields.scalar_text(name, place.sub("name")) if name else None,
        paths=_strings(found, "paths", place) or (),
        exclude=_strings(found, "exclude", place) or (),
        untracked=untracked is not None and fields.boolean(untracked, place.sub("untracked")) is True,
        when=(fields.choice(when, place.sub("when"), RESULTS) if when else None) or "on_success",
        expire_in=expire.text if isinstance(expire, Scalar) else None,
        expire_in_s=fields.expiry(expire, place.sub("expire_in")) if expire else None,
        expose_as=_expose_as(found, place),
        access=_access(found, place),
        reports=_reports(reports, place.sub("reports")) if reports else (),
    )


def _expose_as(node: Mapping, place: Place) -> str | None:
    value = node.get("expose_as")
    if value is None:
        return None
    name = fields.text(value, place.sub("expose_as"))
    if name is not None and not 0 < len(name) <= 100:
        place.wrong(value.at, "expose_as must be 1 to 100 characters")
    elif name and not EXPOSE_AS.fullmatch(name):
        place.wrong(value.at, "expose_as can contain only letters, digits, '-', '_' and spaces")
    paths = node.get("paths")
    if paths is None or "*" in "".join(fields.texts(paths, place.sub("paths")) or "*"):
        place.wrong(value.at, "paths without `*` are needed with `expose_as`")
    return name


def _access(node: Mapping, place: Place) -> str:
    access, public = node.get("access"), node.get("public")
    if access is not None:
        return fields.choice(access, place.sub("access"), ("none", "developer", "maintainer", "all")) or "all"
    return (
        "developer" if public is not None and fields.boolean(public, place.sub("public")) is False else "all"
    )


def _reports(node: Node, place: Place) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = fields.mapping(node, place, REPORT_KEYS)
    reports: list[tuple[str, tuple[str, ...]]] = []
    for key, entry in found.entries.items() if found else ():
        if key == "coverage_report":
            reports += _coverage_report(entry.value, place.sub(key))
        elif key in REPORT_KEYS and not fields.is_null(entry.value):
            paths = fields.text_or_texts(entry.value, place.sub(key), MAX_PATHS)
            reports += [(key, paths)] if paths else []
    return tuple(reports)


def _coverage_report(node: Node, place: Place) -> list[tuple[str, tuple[str, ...]]]:
    found = fields.mapping(node, place, ("coverage_format", "path"))
    kind, path = (found.get("coverage_format"), found.get("path")) if found else (None, None)
    if kind is None or path is None:
        place.wrong(node.at, "should have `coverage_format` and `path`")
        return []
    chosen = fields.choice(kind, place.sub("coverage_format"), COVERAGE_FORMATS)
    text = fields.text(path, place.sub("path"))
    return [(chosen, (text,))] if chosen and text else []


def caches(node: Node, place: Place) -> tuple[CacheSpec, ...]:
    """`cache`: one or up to four."""
    items = fields.sequence(node, place) or () if isinstance(node, Sequence) else (node,)
    if len(items) > MAX_CACHES:
        place.wrong(node.at, f"has too many caches (maximum is {MAX_CACHES})")
        return ()
    found = [_cache(item, place) for item in items]
    return tuple(one for one in found if one)


def _cache(node: Node, place: Place) -> CacheSpec | None:
    found = fields.mapping(
        node, place, ("key", "paths", "untracked", "policy", "when", "unprotect", "fallback_keys")
    )
    if found is None:
        return None
    get = found.get
    key, untracked, policy, when, unprotect = (
        get(k) for k in ("key", "untracked", "policy", "when", "unprotect")
    )
    fallback = _strings(found, "fallback_keys", place) or ()
    if len(fallback) > MAX_FALLBACK_KEYS:
        place.wrong(
            found.key_at("fallback_keys"), f"fallback_keys is too long (maximum is {MAX_FALLBACK_KEYS})"
        )
    text, files, prefix = _cache_key(key, place.sub("key"))
    return CacheSpec(
        at=node.at,
        key=text,
        files=files,
        prefix=prefix,
        paths=_strings(found, "paths", place) or (),
        untracked=untracked is not None and fields.boolean(untracked, place.sub("untracked")) is True,
        policy=_cache_policy(policy, place.sub("policy")) if policy else "pull-push",
        when=(fields.choice(when, place.sub("when"), RESULTS) if when else None) or "on_success",
        unprotect=unprotect is not None and fields.boolean(unprotect, place.sub("unprotect")) is True,
        fallback_keys=fallback,
    )


def _cache_policy(node: Node, place: Place) -> str:
    if isinstance(node, Scalar) and node.text.startswith("$"):
        return node.text
    return fields.choice(node, place, ("pull-push", "pull", "push")) or "pull-push"


def _cache_key(node: Node | None, place: Place) -> tuple[str | None, tuple[str, ...], str | None]:
    if node is None or fields.is_null(node):
        return None, (), None
    if isinstance(node, Scalar):
        plain = unquote(node.text)
        bad = "/" in plain or plain.strip(".") == ""
        if bad and "$" not in node.text:
            place.wrong(node.at, "should not contain `/`, be `.`, `..` or empty")
        return node.text, (), None
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash or a string")
        return None, (), None
    found = fields.mapping(node, place, ("files", "files_commits", "prefix"))
    if found is None:
        return None, (), None
    if "files" in found.entries and "files_commits" in found.entries:
        place.wrong(found.key_at("files_commits"), "these keys cannot be used together: files, files_commits")
    name = "files" if "files" in found.entries else "files_commits"
    listed, prefix = found.get(name), found.get("prefix")
    files = fields.texts(listed, place.sub(name)) if listed else None
    if not files or len(files) > 2:
        place.wrong(node.at, "should have one or two `files`")
    return None, files or (), fields.scalar_text(prefix, place.sub("prefix")) if prefix else None


def retry(node: Node, place: Place) -> RetrySpec:
    """0 to 2, or max with reasons and exit codes."""
    if not isinstance(node, Mapping):
        most = fields.integer(node, place, 0, 2)
        return RetrySpec(most or 0, ("always",))
    fields.unknown_keys(node, place, ("max", "when", "exit_codes"))
    limit, when, codes = node.get("max"), node.get("when"), node.get("exit_codes")
    reasons: list[str] = []
    for item in (when.items if isinstance(when, Sequence) else (when,)) if when is not None else ():
        if isinstance(item, Scalar) and item.text in RETRY_REASONS:
            reasons.append(item.text)
        else:
            word = item.text if isinstance(item, Scalar) else ""
            place.wrong(item.at, f"when contains unknown values: {word[:60]}", nearest(word, RETRY_REASONS))
    exits = exit_codes(codes, place.sub("exit_codes"), node) if codes is not None else ()
    return RetrySpec(
        (fields.integer(limit, place.sub("max"), 0, 2) or 0) if limit is not None else 0,
        tuple(reasons) or (("always",) if codes is None else ()),
        exits,
    )


def environment(node: Node, place: Place) -> Environment | None:
    """A name, or a hash."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return Environment(_environment_name(node, place))
    keys = ("name", "url", "action", "on_stop", "auto_stop_in", "deployment_tier", "kubernetes")
    if not isinstance(node, Mapping):
        place.wrong(node.at, "should be a hash or a string")
        return None
    found = fields.mapping(node, place, keys)
    if found is None:
        return None
    if "kubernetes" in found.entries:
        clusters = found.get("kubernetes")
        if clusters is not None and not fields.is_null(clusters) and not isinstance(clusters, Mapping):
            place.sub("kubernetes").wrong(clusters.at, "should be a hash")
        place.out.warn(
            found.key_at("kubernetes"), f"{place.path}:kubernetes is not followed: there are no clusters here"
        )
    given = {k: e.value for k, e in found.entries.items() if k in keys and not fields.is_null(e.value)}
    texts = {
        k: fields.scalar_text(v, place.sub(k))
        for k, v in given.items()
        if k in ("url", "on_stop", "auto_stop_in")
    }
    name = _environment_name(given["name"], place) if "name" in given else ""
    if "name" not in given:
        place.wrong(node.at, "should have a `name`")
    if len(texts.get("url") or "") > MAX_ENVIRONMENT:
        place.wrong(given["url"].at, f"url is too long (maximum is {MAX_ENVIRONMENT} characters)")
    stop = given.get("auto_stop_in")
    stop_s = (
        fields.expiry(stop, place.sub("auto_stop_in"))
        if stop and "$" not in (texts["auto_stop_in"] or "")
        else None
    )
    action, tier = given.get("action"), given.get("deployment_tier")
    actions = ("start", "stop", "prepare", "verify", "access")
    tiers = ("production", "staging", "testing", "development", "other")
    return Environment(
        name,
        texts.get("url"),
        (fields.choice(action, place.sub("action"), actions) if action else None) or "start",
        texts.get("on_stop"),
        texts.get("auto_stop_in"),
        None if stop_s is None or stop_s < 0 else stop_s,
        fields.choice(tier, place.sub("deployment_tier"), tiers) if tier else None,
    )


def _environment_name(node: Node, place: Place) -> str:
    name = fields.text(node, place.sub("name")) or ""
    if name and not is_environment_name(name):
        place.wrong(node.at, f"name {ENVIRONMENT_NAME_HINT}")
    elif len(name) > MAX_ENVIRONMENT:
        place.wrong(node.at, f"name is too long (maximum is {MAX_ENVIRONMENT} characters)")
    return name


def is_environment_name(text: str) -> bool:
    """Whether GitLab takes it for the name of an environment; it may still hold variables."""
    return _ENVIRONMENT_NAME.fullmatch(text) is not None


def coverage(node: Node, place: Place) -> str | None:
    """`/re/`."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        try:
            if literal(node.text):
                return node.text
            place.wrong(node.at, "must be a regular expression", "write it between slashes: /…/")
        except PatternError as error:
            place.wrong(node.at, f"must be a regular expression: {error}")
        return None
    place.wrong(node.at, "must be a regular expression")
    return None


def inherit(
    node: Node, place: Place, defaults: Iterable[str]
) -> tuple[bool | frozenset[str], bool | frozenset[str]]:
    """(default, variables): all, none or the named. `defaults`: the keys that `default` may have."""
    found = fields.mapping(node, place, ("default", "variables"))
    answers: list[bool | frozenset[str]] = []
    for key in ("default", "variables"):
        value = found.get(key) if found else None
        if value is None:
            answers.append(True)
        elif isinstance(value, Sequence):
            names = fields.texts(value, place.sub(key)) or ()
            if key == "default" and (unknown := [name for name in names if name not in defaults]):
                told = f"contains unknown values: {', '.join(unknown[:10])}"
                place.sub(key).wrong(value.at, told, nearest(unknown[0], defaults))
            answers.append(frozenset(names))
        else:
            answers.append(fields.boolean(value, place.sub(key)) is not False)
    return answers[0], answers[1]
