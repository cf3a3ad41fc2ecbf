"""Identity tokens of an assignment: who the job is, signed, for services that trust this server (OpenID
Connect). Called by dispatch.claim only.

A token lives as long as the job may run. It comes first among the variables: whatever the plan says of the
same name wins (GitLab's precedence).
"""

from __future__ import annotations

from dataclasses import replace

from runyard.engine.assign import Undeliverable
from runyard.engine.ports import Sign, Tx
from runyard.engine.terms import Terms
from runyard.model.errors import Away, Unavailable
from runyard.model.plan import Assignment, IdentityToken, Variable
from runyard.model.state import Reason
from runyard.syntax.expressions import ExpressionError, render
from runyard.syntax.variables import VariableError, expand


def with_identity(tx: Tx, given: Assignment, sign: Sign | None, now: int, terms: Terms) -> Assignment:
    """The assignment with a masked variable per token; Undeliverable when nobody here can sign or a claim
    cannot be rendered."""
    if sign is None:
        raise Undeliverable(
            Reason.BAD_PLAN, "This server has no key to sign the identity tokens of this job."
        )
    known = {v.key: v.value for v in given.variables}
    made = []
    for number, token in enumerate(given.job.identity_tokens):
        if token.key in known:
            continue
        try:
            text = sign(tx, _claims(given, token, number, known, now, terms))
        except Away:
            raise  # of the store, not of the job
        except (ExpressionError, VariableError, Unavailable) as error:
            raise Undeliverable(Reason.BAD_PLAN, f"The identity token {token.key}: {error}") from error
        made.append(Variable(token.key, text, masked=True, raw=True, public=False))
    masks = tuple(sorted({*given.masks, *(v.value for v in made)}))
    return replace(given, variables=(*made, *given.variables), masks=masks)


def _claims(
    given: Assignment, token: IdentityToken, number: int, known: dict[str, str], now: int, terms: Terms
) -> dict[str, object]:
    """RFC 7519's registered names around the dialect's own. Texts that name an unknown `$VAR` keep it empty,
    as in a shell."""
    audience = [expand(text, known) for text in token.audience]
    at = now // 1000
    return {
        **{key: render(text, given.facts) for key, text in token.claims.items()},
        "iss": terms.server.url,
        "aud": audience[0] if len(audience) == 1 else audience,
        "iat": at,
        "nbf": at - 5,
        "exp": at + given.timeout_s,
        "jti": f"{given.attempt_id}-{number}-{now:x}",
    }
