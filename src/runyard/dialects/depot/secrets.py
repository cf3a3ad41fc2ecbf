"""`SecretService` of v3beta2, v2 and v1: three views of one Shelf. Values go in and never come out. Called by
routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connectrpc.request import RequestContext

from runyard.dialects.depot import ids
from runyard.dialects.depot.gen.depot.ci.v1 import secrets_pb as v1
from runyard.dialects.depot.gen.depot.ci.v1.secrets_connect import SecretService as SecretServiceV1
from runyard.dialects.depot.gen.depot.ci.v2 import secrets_pb as v2
from runyard.dialects.depot.gen.depot.ci.v2.secrets_connect import SecretService as SecretServiceV2
from runyard.dialects.depot.gen.depot.ci.v3beta2 import secrets_pb as v3
from runyard.dialects.depot.gen.depot.ci.v3beta2 import types_pb as types
from runyard.dialects.depot.gen.depot.ci.v3beta2.secrets_connect import SecretService as SecretServiceV3
from runyard.dialects.depot.shelf import (
    Keeper,
    Put,
    Shelf,
    attributes_of,
    grouped,
    page_of,
    repository,
)
from runyard.dialects.depot.variants import (
    attribute_counts,
    attributes,
    lookup,
    matching,
    modified,
    newest,
    pairs,
    resolutions,
)
from runyard.engine.ports import Tx
from runyard.model.work import SecretVariable

_Ctx = RequestContext[Any, Any]
Rows = Sequence[SecretVariable]


def _variant(
    row: SecretVariable, number: str, resolution: types.VariantResolution | None
) -> v3.SecretVariant:
    return v3.SecretVariant(
        id=ids.say(ids.Kind.SECRET_VARIANT, row.id),
        secret_id=number,
        name=row.variant or "default",
        description=row.extra.get("description") or None,
        attributes=attributes(row),
        last_modified=modified(row),
        resolution=resolution or types.VariantResolution.UNSPECIFIED,
    )


def _secret(rows: Rows, context: Sequence[types.Attribute] = ()) -> v3.Secret:
    number = ids.say(ids.Kind.SECRET, min(row.id for row in rows))
    resolved = resolutions(rows, pairs(context)) if context else {}
    variants = [_variant(row, number, resolved.get(row.id)) for row in rows]
    best = min(resolved.values(), key=lambda r: r.value, default=types.VariantResolution.UNSPECIFIED)
    return v3.Secret(
        id=number, name=rows[0].key, variants=variants, variant_count=len(rows), last_modified=newest(rows), resolution=best
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Secrets(SecretServiceV3):
    """v3beta2, the current one."""

    keeper: Keeper

    async def list_secrets(self, request: v3.ListSecretsRequest, ctx: _Ctx, /) -> v3.ListSecretsResponse:
        """By name, a page at a time; `query` is a part of the name, `attributes` must all be there, `context`
        says what would hold."""
        rows = matching(
            await self.keeper.read(lambda tx, s: s.all(tx)), request.query, pairs(request.attributes)
        )
        secrets = grouped(rows)
        asked = request.page or types.PageRequest()
        start, end, more = page_of(len(secrets), asked.page, asked.page_size)
        page = types.PageResponse(page=max(asked.page, 1), page_size=end - start, has_more=more)
        shown = [_secret(group, request.context) for group in secrets[start:end]]
        return v3.ListSecretsResponse(secrets=shown, page=page)

    async def list_secret_attributes(
        self, request: v3.ListSecretAttributesRequest, ctx: _Ctx, /
    ) -> v3.ListSecretAttributesResponse:
        rows = await self.keeper.read(lambda tx, s: s.all(tx))
        return v3.ListSecretAttributesResponse(attributes=attribute_counts(rows))

    async def get_secret(self, request: v3.GetSecretRequest, ctx: _Ctx, /) -> v3.GetSecretResponse:
        rows = await self.keeper.read(lambda tx, s: lookup(tx, s, request.lookup, ids.Kind.SECRET))
        return v3.GetSecretResponse(secret=_secret(rows))

    async def get_secret_variant(
        self, request: v3.GetSecretVariantRequest, ctx: _Ctx, /
    ) -> v3.GetSecretVariantResponse:
        row, rows = await self.keeper.read(lambda tx, s: _with_siblings(tx, s, request.id))
        return v3.GetSecretVariantResponse(variant=_of(row, rows))

    async def create_secret_variant(
        self, request: v3.CreateSecretVariantRequest, ctx: _Ctx, /
    ) -> v3.CreateSecretVariantResponse:
        done, rows = await self._put(request, fresh=True)
        return v3.CreateSecretVariantResponse(
            secret=_secret(rows), variant=_of(done.row, rows), created_secret=done.made_name, created_variant=done.made_variant
        )  # fmt: skip

    async def set_secret_variant(
        self, request: v3.SetSecretVariantRequest, ctx: _Ctx, /
    ) -> v3.SetSecretVariantResponse:
        done, rows = await self._put(request, fresh=False)
        return v3.SetSecretVariantResponse(
            secret=_secret(rows), variant=_of(done.row, rows), created_secret=done.made_name, created_variant=done.made_variant
        )  # fmt: skip

    async def _put(
        self, request: v3.CreateSecretVariantRequest | v3.SetSecretVariantRequest, *, fresh: bool
    ) -> tuple[Put, Rows]:
        place = attributes_of(pairs(request.attributes))

        def put(tx: Tx, shelf: Shelf) -> tuple[Put, Rows]:
            done = shelf.put(
                tx, request.secret_name, request.variant_name or "default", request.value, request.description, place, fresh=fresh
            )  # fmt: skip
            return done, shelf.named(tx, request.secret_name)

        return await self.keeper.write(put)

    async def update_secret_variant_metadata(
        self, request: v3.UpdateSecretVariantMetadataRequest, ctx: _Ctx, /
    ) -> v3.UpdateSecretVariantMetadataResponse:
        place = attributes_of(pairs(request.attributes))

        def describe(tx: Tx, shelf: Shelf) -> tuple[SecretVariable, Rows]:
            number = ids.hear(request.variant_id, ids.Kind.SECRET_VARIANT)[1]
            row = shelf.describe(tx, number, request.name, request.description, place)
            return row, shelf.named(tx, row.key)

        return v3.UpdateSecretVariantMetadataResponse(variant=_of(*await self.keeper.write(describe)))

    async def update_secret_variant_value(
        self, request: v3.UpdateSecretVariantValueRequest, ctx: _Ctx, /
    ) -> v3.UpdateSecretVariantValueResponse:
        def change(tx: Tx, shelf: Shelf) -> tuple[SecretVariable, Rows]:
            number = ids.hear(request.variant_id, ids.Kind.SECRET_VARIANT)[1]
            row = shelf.set_value(tx, number, request.value)
            return row, shelf.named(tx, row.key)

        return v3.UpdateSecretVariantValueResponse(variant=_of(*await self.keeper.write(change)))

    async def delete_secret_variant(
        self, request: v3.DeleteSecretVariantRequest, ctx: _Ctx, /
    ) -> v3.DeleteSecretVariantResponse:
        number = ids.hear(request.variant_id, ids.Kind.SECRET_VARIANT)[1]
        return v3.DeleteSecretVariantResponse(
            deleted_secret=await self.keeper.write(lambda tx, s: s.remove(tx, number))
        )

    async def delete_secret(self, request: v3.DeleteSecretRequest, ctx: _Ctx, /) -> v3.DeleteSecretResponse:
        def delete(tx: Tx, shelf: Shelf) -> None:
            shelf.remove_all(tx, lookup(tx, shelf, request.lookup, ids.Kind.SECRET)[0].key)

        await self.keeper.write(delete)
        return v3.DeleteSecretResponse()


def _with_siblings(tx: Tx, shelf: Shelf, id: str) -> tuple[SecretVariable, Rows]:
    row = shelf.one(tx, ids.hear(id, ids.Kind.SECRET_VARIANT)[1])
    return row, shelf.named(tx, row.key)


def _of(row: SecretVariable, rows: Rows) -> v3.SecretVariant:
    return _variant(row, ids.say(ids.Kind.SECRET, min(r.id for r in rows)), None)


def _told_v2(row: SecretVariable) -> v2.Secret:
    return v2.Secret(
        name=row.key, description=row.extra.get("description") or None, last_modified=modified(row)
    )


@dataclass(frozen=True, slots=True)
class SecretsV2(SecretServiceV2):
    """Of the organisation, and of a repository."""

    keeper: Keeper

    async def add_org_secret(self, request: v2.AddOrgSecretRequest, ctx: _Ctx, /) -> v2.AddOrgSecretResponse:
        await self.keeper.add(request, {})
        return v2.AddOrgSecretResponse()

    async def remove_org_secret(
        self, request: v2.RemoveOrgSecretRequest, ctx: _Ctx, /
    ) -> v2.RemoveOrgSecretResponse:
        await self.keeper.drop(request.name, {})
        return v2.RemoveOrgSecretResponse()

    async def list_org_secrets(
        self, request: v2.ListOrgSecretsRequest, ctx: _Ctx, /
    ) -> v2.ListOrgSecretsResponse:
        rows = await self.keeper.placed({})
        return v2.ListOrgSecretsResponse(secrets=[_told_v2(row) for row in rows])

    async def update_org_secret_description(
        self, request: v2.UpdateOrgSecretDescriptionRequest, ctx: _Ctx, /
    ) -> v2.UpdateOrgSecretDescriptionResponse:
        await self.keeper.redescribe(request.name, {}, request.description)
        return v2.UpdateOrgSecretDescriptionResponse()

    async def batch_add_org_secrets(
        self, request: v2.BatchAddOrgSecretsRequest, ctx: _Ctx, /
    ) -> v2.BatchAddOrgSecretsResponse:
        await self.keeper.add_all(request.secrets, {})
        return v2.BatchAddOrgSecretsResponse()

    async def add_repo_secret(
        self, request: v2.AddRepoSecretRequest, ctx: _Ctx, /
    ) -> v2.AddRepoSecretResponse:
        await self.keeper.add(request, repository(request.repo))
        return v2.AddRepoSecretResponse()

    async def remove_repo_secret(
        self, request: v2.RemoveRepoSecretRequest, ctx: _Ctx, /
    ) -> v2.RemoveRepoSecretResponse:
        await self.keeper.drop(request.name, repository(request.repo))
        return v2.RemoveRepoSecretResponse()

    async def list_repo_secrets(
        self, request: v2.ListRepoSecretsRequest, ctx: _Ctx, /
    ) -> v2.ListRepoSecretsResponse:
        rows = await self.keeper.placed(repository(request.repo))
        return v2.ListRepoSecretsResponse(secrets=[_told_v2(row) for row in rows])

    async def update_repo_secret_description(
        self, request: v2.UpdateRepoSecretDescriptionRequest, ctx: _Ctx, /
    ) -> v2.UpdateRepoSecretDescriptionResponse:
        await self.keeper.redescribe(request.name, repository(request.repo), request.description)
        return v2.UpdateRepoSecretDescriptionResponse()

    async def batch_add_repo_secrets(
        self, request: v2.BatchAddRepoSecretsRequest, ctx: _Ctx, /
    ) -> v2.BatchAddRepoSecretsResponse:
        await self.keeper.add_all(request.secrets, repository(request.repo))
        return v2.BatchAddRepoSecretsResponse()


@dataclass(frozen=True, slots=True)
class SecretsV1(SecretServiceV1):
    """Of the organisation only."""

    keeper: Keeper

    async def add_secret(self, request: v1.AddSecretRequest, ctx: _Ctx, /) -> v1.AddSecretResponse:
        await self.keeper.add(request, {})
        return v1.AddSecretResponse()

    async def remove_secret(self, request: v1.RemoveSecretRequest, ctx: _Ctx, /) -> v1.RemoveSecretResponse:
        await self.keeper.drop(request.name, {})
        return v1.RemoveSecretResponse()

    async def list_secrets(self, request: v1.ListSecretsRequest, ctx: _Ctx, /) -> v1.ListSecretsResponse:
        rows = await self.keeper.placed({})
        told = [
            v1.Secret(name=r.key, description=r.extra.get("description") or None, last_modified=modified(r))
            for r in rows
        ]
        return v1.ListSecretsResponse(secrets=told)

    async def update_secret_description(
        self, request: v1.UpdateSecretDescriptionRequest, ctx: _Ctx, /
    ) -> v1.UpdateSecretDescriptionResponse:
        await self.keeper.redescribe(request.name, {}, request.description)
        return v1.UpdateSecretDescriptionResponse()

    async def batch_add_secrets(
        self, request: v1.BatchAddSecretsRequest, ctx: _Ctx, /
    ) -> v1.BatchAddSecretsResponse:
        await self.keeper.add_all(request.secrets, {})
        return v1.BatchAddSecretsResponse()
