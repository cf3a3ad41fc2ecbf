"""Reads `lkmlstyle.yaml`: Looker CI's form (`schema_version: 1`, `ruleset_version`, `rules`, `overrides`) and
lkmlstyle's (`select`, `ignore`).

Both may have `custom_rules`. Every problem has its line and column. Source of the newer form's keys: Google's
page "Continuous Integration Style Validator"; the inner shape of `overrides` and `custom_rules` is not
published in text that we have and is decided in docs/dialects/looker.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from runyard.syntax import patterns, yamltree
from runyard.syntax.yamltree import Node, Scalar, YamlError
from runyard.tasks.lookml.language.findings import nearest
from runyard.tasks.lookml.validators.style.catalogue import BY_WORD, RULES
from runyard.tasks.lookml.validators.style.rule import FIELDS, Condition, Kind, Rule, Severity

NAMES = ("lkmlstyle.yaml", "lkmlstyle.yml")
RULESETS = ("all-v1.0", "none")
_NEW_KEYS = ("schema_version", "ruleset_version", "ignore_files", "rules", "overrides", "custom_rules")
_OLD_KEYS = ("select", "ignore", "custom_rules", "ignore_files")
_ENTITIES = ("file", "view", "explore", "join", "set", "test", "datagroup", *FIELDS)
_KINDS = {
    "patternmatch": Kind.PATTERN_MATCH,
    "parameter": Kind.PROPERTY,
    "property": Kind.PROPERTY,
    "order": Kind.ORDER,
    "first": Kind.FIRST_CHILD,
    "firstchild": Kind.FIRST_CHILD,
    "duplicate": Kind.UNIQUE,
    "unique": Kind.UNIQUE,
}
_CUSTOM_KEYS = (
    "title", "code", "name", "rationale", "select", "filters", "regex", "pattern", "negative", "type", "kind", "parameter", "property", "severity",
)  # fmt: skip
MAX_CUSTOM = 200


class BadConfig(Exception):
    """The configuration cannot be used; the text names file, line and column."""


@dataclass(frozen=True)
class Override:
    """Severities for the files that match."""

    files: tuple[patterns.Pattern, ...]
    severities: Mapping[str, Severity]


@dataclass
class Config:
    """Rules by code, and how bad each is where. A rule without an entry in `severities` does not run."""

    rules: dict[str, Rule] = field(default_factory=dict)
    severities: dict[str, Severity] = field(default_factory=dict)
    overrides: list[Override] = field(default_factory=list)
    ignored: list[patterns.Pattern] = field(default_factory=list)

    def severity(self, code: str, path: str) -> Severity:
        """The rule's severity in this file; the last override that matches wins."""
        found = self.severities.get(code, Severity.DISABLED)
        for override in self.overrides:
            if code in override.severities and patterns_match(override.files, path):
                found = override.severities[code]
        return found

    def active(self) -> list[Rule]:
        """The rules that run in at least some files."""
        named = {c for o in self.overrides for c, s in o.severities.items() if s is not Severity.DISABLED}
        on = {c for c, s in self.severities.items() if s is not Severity.DISABLED} | named
        return [rule for code, rule in self.rules.items() if code in on]


def patterns_match(globs: tuple[patterns.Pattern, ...] | list[patterns.Pattern], path: str) -> bool:
    """Whether one of the globs matches."""
    return any(glob.found_in(path) for glob in globs)


def read(text: str, file: str) -> Config:
    """The configuration, or BadConfig."""
    try:
        return _Reader(file).config(yamltree.load(text, file))
    except YamlError as problem:
        raise BadConfig(f"{file}:{problem.line}:{problem.column}: {problem.message}") from None


class _Reader:
    """Reads one file. Problems are raised as YamlError, which knows its place."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found = Config({r.code: r for r in RULES})

    def bad(self, at: Node, message: str) -> YamlError:
        return YamlError(message, at.at.line, at.at.column, self.file)

    def config(self, root: Node) -> Config:
        if not isinstance(root, yamltree.Mapping):
            raise self.bad(root, "expected a mapping with schema_version: 1 and ruleset_version")
        is_new = "schema_version" in root.entries or "ruleset_version" in root.entries
        self.keys(root, _NEW_KEYS if is_new else _OLD_KEYS)
        custom = [self.custom(node) for node in self.items(root.get("custom_rules"))]
        if len(custom) > MAX_CUSTOM:
            raise self.bad(root, f"more than {MAX_CUSTOM} custom rules")
        for rule, _ in custom:
            self.found.rules[rule.code] = rule
        if is_new:
            self.new(root)
        else:
            self.old(root)
        for rule, severity in custom:
            self.found.severities.setdefault(rule.code, severity)
        self.found.ignored = [self.glob(n) for n in self.items(root.get("ignore_files"))]
        return self.found

    def new(self, root: yamltree.Mapping) -> None:
        version, ruleset = root.get("schema_version"), root.get("ruleset_version")
        if not isinstance(version, Scalar) or version.value != 1:
            raise self.bad(version or root, "schema_version must be 1")
        if not isinstance(ruleset, Scalar) or ruleset.text not in RULESETS:
            raise self.bad(ruleset or root, f"ruleset_version must be one of {', '.join(RULESETS)}")
        if ruleset.text != "none":
            self.found.severities = {r.code: Severity.ERROR for r in RULES if r.by_default}
        self.found.severities |= self.severities(root.get("rules"))
        for node in self.items(root.get("overrides")):
            mapping = self.mapping(node)
            self.keys(mapping, ("files", "paths", "path", "rules"))
            globs = [g for key in ("files", "paths", "path") for g in self.items(mapping.get(key))]
            if not globs:
                raise self.bad(node, "an override needs `files`, a list of globs")
            rules = self.severities(mapping.get("rules"))
            self.found.overrides.append(Override(tuple(self.glob(g) for g in globs), rules))

    def old(self, root: yamltree.Mapping) -> None:
        chosen = [self.text(n) for n in self.items(root.get("select"))]
        ignored = [self.text(n) for n in self.items(root.get("ignore"))]
        for key in ("select", "ignore"):
            for node in self.items(root.get(key)):
                self.known_prefix(node)
        for code, rule in self.found.rules.items():
            wanted = any(code.startswith(c) for c in chosen) if chosen else rule.by_default
            if wanted and not any(code.startswith(c) for c in ignored):
                self.found.severities[code] = Severity.ERROR
        for code in self.found.rules:
            self.found.severities.setdefault(code, Severity.DISABLED)

    def known_prefix(self, node: Node) -> None:
        prefix = self.text(node)
        if not any(code.startswith(prefix) for code in self.found.rules):
            raise self.bad(node, f'no rule begins with "{prefix}"')

    def severities(self, node: Node | None) -> dict[str, Severity]:
        found = {}
        for entry in self.mapping(node).entries.values() if node is not None else ():
            rule = self.rule(entry.key)
            value: Node | None = entry.value
            if isinstance(value, yamltree.Mapping):
                self.keys(value, ("severity", "version"))
                value = value.get("severity")
            found[rule.code] = self.severity(value) if value is not None else Severity.ERROR
        return found

    def rule(self, node: Scalar) -> Rule:
        own = {r.name: r for r in self.found.rules.values()}
        found = self.found.rules.get(node.text) or own.get(node.text) or BY_WORD.get(node.text)
        if found is None:
            guess = nearest(node.text, [*self.found.rules, *own])
            raise self.bad(
                node, f'unknown rule "{node.text}"' + (f"; did you mean {guess}?" if guess else "")
            )
        return self.found.rules[found.code]

    def severity(self, node: Node) -> Severity:
        text = self.text(node)
        if text not in set(Severity):
            raise self.bad(node, f'unknown severity "{text}"; error, warn and disabled are known')
        return Severity(text)

    def custom(self, node: Node) -> tuple[Rule, Severity]:
        mapping = self.mapping(node)
        self.keys(mapping, _CUSTOM_KEYS)
        code = self.optional(mapping, "code") or self.optional(mapping, "name")
        if not code:
            raise self.bad(node, "a custom rule needs a `code` or a `name`")
        word = self.optional(mapping, "type") or self.optional(mapping, "kind") or "pattern_match"
        kind = _KINDS.get(re.sub(r"_|rule$", "", word.lower()))
        if kind is None:
            raise self.bad(node, f'unknown kind of rule "{word}"; {", ".join(Kind)} are known')
        select = tuple(self.selector(n) for n in self.items(mapping.get("select")))
        if not select:
            raise self.bad(
                node,
                f'the custom rule "{code}" needs `select`: {", ".join(_ENTITIES)}, or one of their parameters',
            )
        regex = mapping.get("regex") or mapping.get("pattern")
        parameter = self.optional(mapping, "parameter") or self.optional(mapping, "property")
        rule = Rule(
            code, self.optional(mapping, "name") or code, self.optional(mapping, "title") or code, kind, select,
            tuple(c for n in self.items(mapping.get("filters")) for c in self.conditions(n)),
            self.optional(mapping, "rationale"), self.regex(regex) if regex else None, parameter, self.flag(mapping, "negative"), refinements=True,
        )  # fmt: skip
        return self.complete(rule, node), self.severity(
            mapping.get("severity") or Scalar(node.at, None, "error", plain=True)
        )

    def complete(self, rule: Rule, node: Node) -> Rule:
        """The rule, with what its kind needs; a property may also be named by the selector
        (`dimension.description`)."""
        if rule.kind is Kind.PATTERN_MATCH and rule.pattern is None:
            raise self.bad(node, f'the custom rule "{rule.code}" needs a `regex`')
        if rule.kind in (Kind.PROPERTY, Kind.UNIQUE) and not rule.parameter:
            entity, _, parameter = rule.select[0].partition(".")
            if rule.kind is Kind.PROPERTY and not parameter:
                raise self.bad(node, f'the custom rule "{rule.code}" needs a `parameter`')
            return replace(
                rule, select=(entity, *(s.partition(".")[0] for s in rule.select[1:])), parameter=parameter
            )
        return rule

    def selector(self, node: Node) -> str:
        text = self.text(node)
        entity, _, parameter = text.partition(".")
        if entity not in _ENTITIES:
            guess = nearest(entity, _ENTITIES)
            raise self.bad(node, f'unknown selector "{text}"' + (f"; did you mean {guess}?" if guess else ""))
        # lkmlstyle writes `dimension.name` for the name itself.
        return entity if parameter == "name" else text

    def conditions(self, node: Node) -> Iterator[Condition]:
        """`{type: yesno}`, or `{parameter: type, regex: ^yesno$, negative: false}`."""
        mapping = self.mapping(node)
        if "parameter" in mapping.entries:
            self.keys(mapping, ("parameter", "regex", "pattern", "negative"))
            regex = mapping.get("regex") or mapping.get("pattern")
            yield Condition(
                self.optional(mapping, "parameter"),
                self.regex(regex) if regex else None,
                self.flag(mapping, "negative"),
            )
            return
        for entry in mapping.entries.values():
            yield Condition(entry.key.text, self.regex(entry.value))

    def regex(self, node: Node) -> patterns.Pattern:
        try:
            return patterns.compile(self.text(node))
        except patterns.PatternError as problem:
            raise self.bad(node, str(problem)) from None

    def glob(self, node: Node) -> patterns.Pattern:
        try:
            return patterns.path_glob(self.text(node).lstrip("/"))
        except patterns.PatternError as problem:
            raise self.bad(node, str(problem)) from None

    def flag(self, mapping: yamltree.Mapping, key: str) -> bool:
        return self.optional(mapping, key).lower() in ("true", "yes")

    def optional(self, mapping: yamltree.Mapping, key: str) -> str:
        node = mapping.get(key)
        return self.text(node) if node is not None else ""

    def text(self, node: Node) -> str:
        if not isinstance(node, Scalar):
            raise self.bad(node, "expected a text")
        return node.text

    def items(self, node: Node | None) -> tuple[Node, ...]:
        """A list's items; a scalar or mapping stands for a list of itself, nothing for an empty one."""
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return ()
        return node.items if isinstance(node, yamltree.Sequence) else (node,)

    def mapping(self, node: Node) -> yamltree.Mapping:
        if not isinstance(node, yamltree.Mapping):
            raise self.bad(node, "expected a mapping")
        return node

    def keys(self, mapping: yamltree.Mapping, known: tuple[str, ...]) -> None:
        for key, entry in mapping.entries.items():
            if key not in known:
                guess = nearest(key, known)
                hint = f"; did you mean {guess}?" if guess else f"; known are {', '.join(known)}"
                raise self.bad(entry.key, f'unknown key "{key}"{hint}')
