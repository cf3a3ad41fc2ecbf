"""`VariableService` of v3beta2, v2 and v1: three views of one Shelf. Values are shown. Called by routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connectrpc.request import RequestContext

from runyard.dialects.depot import ids
from runyard.dialects.depot.gen.depot.ci.v1 import variables_pb as v1
from runyard.dialects.depot.gen.depot.ci.v1.variables_connect import VariableService as VariableServiceV1
from runyard.dialects.depot.gen.depot.ci.v2 import variables_pb as v2
from runyard.dialects.depot.gen.depot.ci.v2.variables_connect import VariableService as VariableServiceV2
from runyard.dialects.depot.gen.depot.ci.v3beta2 import types_pb as types
from runyard.dialects.depot.gen.depot.ci.v3beta2 import variables_pb as v3
from runyard.dialects.depot.gen.depot.ci.v3beta2.variables_connect import VariableService as VariableServiceV3
from runyard.dialects.depot.shelf import (
    Attributes,
    Keeper,
    Put,
    Shelf,
    attributes_of,
    grouped,
    page_of,
    repository,
)
from runyard.dialects.depot.variants import (
    attributes,
    lookup,
    matching,
    modified,
    newest,
    pairs,
)
from runyard.engine.ports import Tx, Vault
from runyard.model.work import SecretVariable

_Ctx = RequestContext[Any, Any]
Rows = Sequence[SecretVariable]


def _variant(row: SecretVariable, number: str, vault: Vault) -> v3.VariableVariant:
    return v3.VariableVariant(
        id=ids.say(ids.Kind.VARIABLE_VARIANT, row.id),
        variable_id=number,
        name=row.variant or "default",
        value=vault.open(row.value),
        description=row.extra.get("description") or None,
        attributes=attributes(row),
        last_modified=modified(row),
    )


def _variable(rows: Rows, vault: Vault) -> v3.Variable:
    number = ids.say(ids.Kind.VARIABLE, min(row.id for row in rows))
    variants = [_variant(row, number, vault) for row in rows]
    return v3.Variable(
        id=number, name=rows[0].key, variants=variants, variant_count=len(rows), last_modified=newest(rows)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Variables(VariableServiceV3):
    """v3beta2, the current one."""

    keeper: Keeper

    async def list_variables(
        self, request: v3.ListVariablesRequest, ctx: _Ctx, /
    ) -> v3.ListVariablesResponse:
        """By name, a page at a time; `query` is a part of the name, `attributes` must all be there."""
        rows = matching(
            await self.keeper.read(lambda tx, s: s.all(tx)), request.query, pairs(request.attributes)
        )
        variables = grouped(rows)
        asked = request.page or types.PageRequest()
        start, end, more = page_of(len(variables), asked.page, asked.page_size)
        page = types.PageResponse(page=max(asked.page, 1), page_size=end - start, has_more=more)
        shown = [_variable(group, self.keeper.services.vault) for group in variables[start:end]]
        return v3.ListVariablesResponse(variables=shown, page=page)

    async def get_variable(self, request: v3.GetVariableRequest, ctx: _Ctx, /) -> v3.GetVariableResponse:
        rows = await self.keeper.read(lambda tx, s: lookup(tx, s, request.lookup, ids.Kind.VARIABLE))
        return v3.GetVariableResponse(variable=_variable(rows, self.keeper.services.vault))

    async def get_variable_variant(
        self, request: v3.GetVariableVariantRequest, ctx: _Ctx, /
    ) -> v3.GetVariableVariantResponse:
        row, rows = await self.keeper.read(lambda tx, s: _with_siblings(tx, s, request.id))
        return v3.GetVariableVariantResponse(variant=_of(row, rows, self.keeper.services.vault))

    async def create_variable_variant(
        self, request: v3.CreateVariableVariantRequest, ctx: _Ctx, /
    ) -> v3.CreateVariableVariantResponse:
        done, rows = await self._put(request, fresh=True)
        return v3.CreateVariableVariantResponse(
            variable=_variable(rows, self.keeper.services.vault), variant=_of(done.row, rows, self.keeper.services.vault), created_variable=done.made_name, created_variant=done.made_variant
        )  # fmt: skip

    async def set_variable_variant(
        self, request: v3.SetVariableVariantRequest, ctx: _Ctx, /
    ) -> v3.SetVariableVariantResponse:
        done, rows = await self._put(request, fresh=False)
        return v3.SetVariableVariantResponse(
            variable=_variable(rows, self.keeper.services.vault), variant=_of(done.row, rows, self.keeper.services.vault), created_variable=done.made_name, created_variant=done.made_variant
        )  # fmt: skip

    async def _put(
        self, request: v3.CreateVariableVariantRequest | v3.SetVariableVariantRequest, *, fresh: bool
    ) -> tuple[Put, Rows]:
        place = attributes_of(pairs(request.attributes))

        def put(tx: Tx, shelf: Shelf) -> tuple[Put, Rows]:
            done = shelf.put(
                tx, request.variable_name, request.variant_name or "default", request.value, request.description, place, fresh=fresh
            )  # fmt: skip
            return done, shelf.named(tx, request.variable_name)

        return await self.keeper.write(put)

    async def update_variable_variant_metadata(
        self, request: v3.UpdateVariableVariantMetadataRequest, ctx: _Ctx, /
    ) -> v3.UpdateVariableVariantMetadataResponse:
        place = attributes_of(pairs(request.attributes))

        def describe(tx: Tx, shelf: Shelf) -> tuple[SecretVariable, Rows]:
            number = ids.hear(request.variant_id, ids.Kind.VARIABLE_VARIANT)[1]
            row = shelf.describe(tx, number, request.name, request.description, place)
            return row, shelf.named(tx, row.key)

        return v3.UpdateVariableVariantMetadataResponse(
            variant=_of(*await self.keeper.write(describe), self.keeper.services.vault)
        )

    async def update_variable_variant_value(
        self, request: v3.UpdateVariableVariantValueRequest, ctx: _Ctx, /
    ) -> v3.UpdateVariableVariantValueResponse:
        def change(tx: Tx, shelf: Shelf) -> tuple[SecretVariable, Rows]:
            number = ids.hear(request.variant_id, ids.Kind.VARIABLE_VARIANT)[1]
            row = shelf.set_value(tx, number, request.value)
            return row, shelf.named(tx, row.key)

        return v3.UpdateVariableVariantValueResponse(
            variant=_of(*await self.keeper.write(change), self.keeper.services.vault)
        )

    async def delete_variable_variant(
        self, request: v3.DeleteVariableVariantRequest, ctx: _Ctx, /
    ) -> v3.DeleteVariableVariantResponse:
        number = ids.hear(request.variant_id, ids.Kind.VARIABLE_VARIANT)[1]
        return v3.DeleteVariableVariantResponse(
            deleted_variable=await self.keeper.write(lambda tx, s: s.remove(tx, number))
        )

    async def delete_variable(
        self, request: v3.DeleteVariableRequest, ctx: _Ctx, /
    ) -> v3.DeleteVariableResponse:
        def delete(tx: Tx, shelf: Shelf) -> None:
            shelf.remove_all(tx, lookup(tx, shelf, request.lookup, ids.Kind.VARIABLE)[0].key)

        await self.keeper.write(delete)
        return v3.DeleteVariableResponse()


def _with_siblings(tx: Tx, shelf: Shelf, id: str) -> tuple[SecretVariable, Rows]:
    row = shelf.one(tx, ids.hear(id, ids.Kind.VARIABLE_VARIANT)[1])
    return row, shelf.named(tx, row.key)


def _of(row: SecretVariable, rows: Rows, vault: Vault) -> v3.VariableVariant:
    return _variant(row, ids.say(ids.Kind.VARIABLE, min(r.id for r in rows)), vault)


def _told_v2(row: SecretVariable) -> v2.Variable:
    return v2.Variable(
        name=row.key, description=row.extra.get("description") or None, last_modified=modified(row)
    )


@dataclass(frozen=True, slots=True)
class VariablesV2(VariableServiceV2):
    """Of the organisation, and of a repository."""

    keeper: Keeper

    async def add_org_variable(
        self, request: v2.AddOrgVariableRequest, ctx: _Ctx, /
    ) -> v2.AddOrgVariableResponse:
        await self.keeper.add(request, {})
        return v2.AddOrgVariableResponse()

    async def remove_org_variable(
        self, request: v2.RemoveOrgVariableRequest, ctx: _Ctx, /
    ) -> v2.RemoveOrgVariableResponse:
        await self.keeper.drop(request.name, {})
        return v2.RemoveOrgVariableResponse()

    async def list_org_variables(
        self, request: v2.ListOrgVariablesRequest, ctx: _Ctx, /
    ) -> v2.ListOrgVariablesResponse:
        rows = await self.keeper.placed({})
        return v2.ListOrgVariablesResponse(variables=[_told_v2(row) for row in rows])

    async def update_org_variable_description(
        self, request: v2.UpdateOrgVariableDescriptionRequest, ctx: _Ctx, /
    ) -> v2.UpdateOrgVariableDescriptionResponse:
        await self.keeper.redescribe(request.name, {}, request.description)
        return v2.UpdateOrgVariableDescriptionResponse()

    async def batch_add_org_variables(
        self, request: v2.BatchAddOrgVariablesRequest, ctx: _Ctx, /
    ) -> v2.BatchAddOrgVariablesResponse:
        await self.keeper.add_all(request.variables, {})
        return v2.BatchAddOrgVariablesResponse()

    async def add_repo_variable(
        self, request: v2.AddRepoVariableRequest, ctx: _Ctx, /
    ) -> v2.AddRepoVariableResponse:
        await self.keeper.add(request, repository(request.repo))
        return v2.AddRepoVariableResponse()

    async def remove_repo_variable(
        self, request: v2.RemoveRepoVariableRequest, ctx: _Ctx, /
    ) -> v2.RemoveRepoVariableResponse:
        await self.keeper.drop(request.name, repository(request.repo))
        return v2.RemoveRepoVariableResponse()

    async def list_repo_variables(
        self, request: v2.ListRepoVariablesRequest, ctx: _Ctx, /
    ) -> v2.ListRepoVariablesResponse:
        rows = await self.keeper.placed(repository(request.repo))
        return v2.ListRepoVariablesResponse(variables=[_told_v2(row) for row in rows])

    async def update_repo_variable_description(
        self, request: v2.UpdateRepoVariableDescriptionRequest, ctx: _Ctx, /
    ) -> v2.UpdateRepoVariableDescriptionResponse:
        await self.keeper.redescribe(request.name, repository(request.repo), request.description)
        return v2.UpdateRepoVariableDescriptionResponse()

    async def batch_add_repo_variables(
        self, request: v2.BatchAddRepoVariablesRequest, ctx: _Ctx, /
    ) -> v2.BatchAddRepoVariablesResponse:
        await self.keeper.add_all(request.variables, repository(request.repo))
        return v2.BatchAddRepoVariablesResponse()

    async def get_org_variable_values(
        self, request: v2.GetOrgVariableValuesRequest, ctx: _Ctx, /
    ) -> v2.GetOrgVariableValuesResponse:
        """The organisation's own."""
        return v2.GetOrgVariableValuesResponse(variables=await _values(self.keeper, {}))

    async def get_repo_variable_values(
        self, request: v2.GetRepoVariableValuesRequest, ctx: _Ctx, /
    ) -> v2.GetRepoVariableValuesResponse:
        """The repository's own, without the organisation's."""
        values = await _values(self.keeper, repository(request.repo))
        return v2.GetRepoVariableValuesResponse(variables=values)


async def _values(keeper: Keeper, place: Attributes) -> dict[str, str]:
    return await keeper.read(lambda tx, s: {row.key: s.opened(row) for row in s.placed(tx, place)})


@dataclass(frozen=True, slots=True)
class VariablesV1(VariableServiceV1):
    """Of the organisation only."""

    keeper: Keeper

    async def add_variable(self, request: v1.AddVariableRequest, ctx: _Ctx, /) -> v1.AddVariableResponse:
        await self.keeper.add(request, {})
        return v1.AddVariableResponse()

    async def remove_variable(
        self, request: v1.RemoveVariableRequest, ctx: _Ctx, /
    ) -> v1.RemoveVariableResponse:
        await self.keeper.drop(request.name, {})
        return v1.RemoveVariableResponse()

    async def list_variables(
        self, request: v1.ListVariablesRequest, ctx: _Ctx, /
    ) -> v1.ListVariablesResponse:
        rows = await self.keeper.placed({})
        told = [
            v1.Variable(name=r.key, description=r.extra.get("description") or None, last_modified=modified(r))
            for r in rows
        ]
        return v1.ListVariablesResponse(variables=told)

    async def update_variable_description(
        self, request: v1.UpdateVariableDescriptionRequest, ctx: _Ctx, /
    ) -> v1.UpdateVariableDescriptionResponse:
        await self.keeper.redescribe(request.name, {}, request.description)
        return v1.UpdateVariableDescriptionResponse()

    async def batch_add_variables(
        self, request: v1.BatchAddVariablesRequest, ctx: _Ctx, /
    ) -> v1.BatchAddVariablesResponse:
        await self.keeper.add_all(request.variables, {})
        return v1.BatchAddVariablesResponse()

    async def get_all_variables(
        self, request: v1.GetAllVariablesRequest, ctx: _Ctx, /
    ) -> v1.GetAllVariablesResponse:
        """With their values."""
        return v1.GetAllVariablesResponse(variables=await _values(self.keeper, {}))
