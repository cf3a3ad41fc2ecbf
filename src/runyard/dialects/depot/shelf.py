"""Secrets and variables as Depot keeps them: names with variants, each variant with attributes that say where
it holds (contracts/depot.md §6).

One Shelf per kind ("secret", "var"); the services of v1, v2 and v3beta2 are views of it: an organisation's
value is the variant without attributes, a repository's the one with that single attribute. Rows are
SecretVariables of the instance, sealed by the vault. Functions of one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from runyard.dialects.depot.access import asker, require_person
from runyard.engine.ports import Tx, Vault
from runyard.http.services import Principal, Services
from runyard.model.access import Role
from runyard.model.errors import Forbidden, Invalid, NotFound
from runyard.model.variants import KEYS
from runyard.model.work import SecretVariable

T = TypeVar("T")
DEFAULT = "default"
VALUE_BYTES = 64 << 10
TEXT_LIMIT = 1024
MOST_ATTRIBUTES = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}\Z")
Attributes = Mapping[str, tuple[str, ...]]


class Given(Protocol):
    """A name, its value and perhaps a description, as every version of the services sends them."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def description(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Put:
    """What one set or create did."""

    row: SecretVariable
    made_name: bool
    made_variant: bool


def attributes_of(pairs: Iterable[tuple[str, str]]) -> Attributes:
    """Conditions from (key, value) pairs; Invalid for a key that nothing here could ever match."""
    found: dict[str, tuple[str, ...]] = {}
    for count, (key, value) in enumerate(pairs):
        if key not in KEYS:
            raise Invalid(f"attribute '{key[:80]}' is not known; use one of {', '.join(KEYS)}")
        if not value or len(value) > 255 or count >= MOST_ATTRIBUTES:
            raise Invalid(
                f"attribute '{key}' needs a value of 1 to 255 characters, and there are at most {MOST_ATTRIBUTES}"
            )
        found[key] = (*found.get(key, ()), value) if value not in found.get(key, ()) else found[key]
    return found


def when(row: SecretVariable) -> dict[str, tuple[str, ...]]:
    """A row's conditions."""
    return {key: tuple(values) for key, values in (row.extra.get("when") or {}).items()}


@dataclass(frozen=True, slots=True)
class Shelf:
    """One kind's values, as one caller may see and change them."""

    kind: str
    vault: Vault
    now: int
    who: Principal

    def all(self, tx: Tx) -> list[SecretVariable]:
        """Variants that the caller may manage, by name, oldest first."""
        rows = [r for r in tx.secret_variables(None) if r.kind == self.kind and self._may(tx, when(r))]
        return sorted(rows, key=lambda r: (r.key, r.id))

    def named(self, tx: Tx, name: str) -> list[SecretVariable]:
        """The variants of a name; NotFound when there are none."""
        found = [row for row in self.all(tx) if row.key == name]
        if not found:
            raise NotFound(f"{self._word} '{name[:255]}' not found")
        return found

    def one(self, tx: Tx, number: int) -> SecretVariable:
        """A variant by its id."""
        row = tx.get(SecretVariable, number)
        if (
            row is None
            or row.kind != self.kind
            or row.project_id
            or row.group_id
            or not self._may(tx, when(row))
        ):
            raise NotFound(f"{self._word} variant not found")
        return row

    def put(
        self,
        tx: Tx,
        name: str,
        variant: str,
        value: str,
        description: str | None,
        attributes: Attributes,
        *,
        fresh: bool,
    ) -> Put:
        """Sets a variant's value, and makes it when there is none; with `fresh` one that is there already is
        already_exists.

        The CLI calls every variant `default` whatever its attributes: so a default for one place never
        replaces that of another, it gets the place as its name. A variant that was given a name of its own is
        found by it, and moves to the new place.
        """
        _check_name(name)
        _check_texts(variant, description)
        _check_value(value)
        self._require(tx, attributes)
        mine = [row for row in tx.secret_variables(None) if row.kind == self.kind and row.key == name]
        known = next((row for row in mine if _same_place(when(row), attributes)), None)
        if known is None and variant != DEFAULT:
            known = next((row for row in mine if row.variant == variant), None)
        if known is not None and fresh:
            raise ConnectError(
                Code.ALREADY_EXISTS, f"{self._word} '{name}' has a variant '{variant}' already"
            )
        if known is not None:
            self._require(tx, when(known))
            return Put(
                self._changed(tx, known, value=value, description=description, attributes=attributes),
                False,
                False,
            )
        extra = self._extra({}, description or "", attributes)
        if variant == DEFAULT and attributes:
            variant = ", ".join(f"{key}={'|'.join(values)}" for key, values in sorted(attributes.items()))[
                :255
            ]
        row = SecretVariable(
            0, name, self.vault.seal(value), masked=self.kind == "secret", kind=self.kind, extra=extra, variant=variant
        )  # fmt: skip
        return Put(tx.add(row), not mine, True)

    def set_value(self, tx: Tx, number: int, value: str) -> SecretVariable:
        """Another value; everything else stays."""
        _check_value(value)
        return self._changed(tx, self.one(tx, number), value=value)

    def describe(
        self, tx: Tx, number: int, variant: str, description: str, attributes: Attributes
    ) -> SecretVariable:
        """Another name, description and place; the value stays."""
        _check_texts(variant, description)
        self._require(tx, attributes)
        return self._changed(
            tx, self.one(tx, number), variant=variant, description=description, attributes=attributes
        )

    def remove(self, tx: Tx, number: int) -> bool:
        """Takes a variant away; whether it was its name's last."""
        row = self.one(tx, number)
        tx.remove(SecretVariable, number)
        return not any(r.key == row.key and r.kind == self.kind for r in tx.secret_variables(None))

    def remove_all(self, tx: Tx, name: str) -> None:
        """Takes every variant away that the caller may manage."""
        for row in self.named(tx, name):
            tx.remove(SecretVariable, row.id)

    def at(self, tx: Tx, name: str, attributes: Attributes) -> SecretVariable:
        """The variant of a name for exactly this place; NotFound otherwise."""
        for row in self.all(tx):
            if row.key == name and _same_place(when(row), attributes):
                return row
        raise NotFound(f"{self._word} '{name[:255]}' not found")

    def redescribe(self, tx: Tx, name: str, attributes: Attributes, description: str) -> None:
        """Another description of the variant for exactly this place."""
        _check_texts(DEFAULT, description)
        self._changed(tx, self.at(tx, name, attributes), description=description)

    def put_all(self, tx: Tx, given: Iterable[Given], attributes: Attributes) -> None:
        """Many at once, all or none."""
        for one in given:
            self.put(tx, one.name, DEFAULT, one.value, one.description, attributes, fresh=False)

    def placed(self, tx: Tx, attributes: Attributes) -> list[SecretVariable]:
        """All variants for exactly this place. Forbidden when it is not the caller's."""
        self._require(tx, attributes)
        return [row for row in self.all(tx) if _same_place(when(row), attributes)]

    def opened(self, row: SecretVariable) -> str:
        """Its value; only variables are ever shown."""
        return self.vault.open(row.value)

    @property
    def _word(self) -> str:
        return "secret" if self.kind == "secret" else "variable"

    def _changed(
        self, tx: Tx, row: SecretVariable, *, value: str | None = None, description: str | None = None,
        attributes: Attributes | None = None, variant: str | None = None,
    ) -> SecretVariable:  # fmt: skip
        described = row.extra.get("description", "") if description is None else description
        changed = replace(
            row,
            value=row.value if value is None else self.vault.seal(value),
            variant=row.variant if variant is None else variant,
            extra=self._extra(row.extra, described, when(row) if attributes is None else attributes),
        )
        tx.save(changed)
        return changed

    def _extra(
        self, old: Mapping[str, object], description: str, attributes: Attributes
    ) -> dict[str, object]:
        named = {key: list(values) for key, values in attributes.items()}
        return {**old, "description": description, "when": named, "updated_at": self.now}

    def _may(self, tx: Tx, attributes: Attributes) -> bool:
        """Administrators manage everything; maintainers what holds in their repositories only."""
        if self.who.is_job:
            return False
        if self.who.user.is_admin:
            return True
        repositories = attributes.get("repository", ())
        return bool(repositories) and all(self._maintains(tx, path) for path in repositories)

    def _maintains(self, tx: Tx, path: str) -> bool:
        project = tx.project_by_path(path)
        role = self.who.role_in(project) if project else None
        return role is not None and role >= Role.MAINTAINER

    def _require(self, tx: Tx, attributes: Attributes) -> None:
        if not self._may(tx, attributes):
            raise Forbidden(
                f"only administrators may manage {self._word}s of the organization, and maintainers those of their repositories"
            )


@dataclass(frozen=True, slots=True)
class Keeper:
    """Runs work on the caller's shelf in one transaction."""

    services: Services
    kind: str

    def shelf(self) -> Shelf:
        """As the caller may use it. Forbidden for jobs."""
        who = asker()
        require_person(who)
        return Shelf(self.kind, self.services.vault, self.services.now(), who)

    def write(self, work: Callable[[Tx, Shelf], T]) -> Awaitable[T]:
        """One change."""
        shelf = self.shelf()
        return self.services.db.write(lambda tx: work(tx, shelf))

    def read(self, work: Callable[[Tx, Shelf], T]) -> Awaitable[T]:
        """One look."""
        shelf = self.shelf()
        return self.services.db.read(lambda tx: work(tx, shelf))

    # what v1 and v2 do, to the value of exactly one place
    async def add(self, given: Given, place: Attributes) -> None:
        """Sets it, and makes it when there is none."""
        await self.add_all([given], place)

    async def add_all(self, given: Iterable[Given], place: Attributes) -> None:
        """Many at once, all or none."""
        await self.write(lambda tx, s: s.put_all(tx, given, place))

    async def drop(self, name: str, place: Attributes) -> None:
        """Takes it away; NotFound when there is none."""
        await self.write(lambda tx, s: s.remove(tx, s.at(tx, name, place).id))

    async def placed(self, place: Attributes) -> list[SecretVariable]:
        """All of a place."""
        return await self.read(lambda tx, s: s.placed(tx, place))

    async def redescribe(self, name: str, place: Attributes, description: str) -> None:
        """Another description."""
        await self.write(lambda tx, s: s.redescribe(tx, name, place, description))


def _check_name(name: str) -> None:
    if not _NAME.match(name) or name.upper().startswith("GITHUB_"):
        raise Invalid("a name has letters, digits and _, does not start with a digit and not with GITHUB_")


def _check_texts(variant: str, description: str | None) -> None:
    if not 0 < len(variant) <= 255 or len(description or "") > TEXT_LIMIT:
        raise Invalid(f"a variant's name has 1 to 255 characters, a description at most {TEXT_LIMIT}")


def _check_value(value: str) -> None:
    if len(value.encode("utf-8", "surrogatepass")) > VALUE_BYTES or "\0" in value:
        raise Invalid(f"a value has at most {VALUE_BYTES} bytes and no NUL")


def _same_place(one: Attributes, other: Attributes) -> bool:
    def folded(attributes: Attributes) -> dict[str, set[str]]:
        return {
            k: {v.lower() if k == "repository" else v for v in values} for k, values in attributes.items()
        }

    return folded(one) == folded(other)


def repository(repo: str) -> Attributes:
    """The place of a repository's own value."""
    if not repo:
        raise Invalid("repo must be given")
    return {"repository": (repo,)}


def page_of(count: int, page: int, size: int, limit: int = 100) -> tuple[int, int, bool]:
    """(start, end, more) of a page counted from 1; absent figures are the first page and the limit."""
    size = min(size or limit, limit)
    start = (max(page, 1) - 1) * size
    return start, start + size, start + size < count


def grouped(rows: Sequence[SecretVariable]) -> list[list[SecretVariable]]:
    """Variants by name."""
    found: dict[str, list[SecretVariable]] = {}
    for row in rows:
        found.setdefault(row.key, []).append(row)
    return list(found.values())
