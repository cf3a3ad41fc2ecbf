"""The server's signing key: identity tokens (RS256) for jobs, and the public half as a JSON Web Key Set. Made
by app and by the GitLab door.

The key is made when first needed and lies sealed in the database, so that replicas and restarts share it. RFC
7515, 7517, 7518, 7638.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from runyard.engine.ports import Page, Tx, Vault
from runyard.model.work import Record

KIND = "server.signing_key"
BITS = 2048
_FIRST = Page(limit=10, descending=False)


class Identity:
    """Signs inside a transaction; what it has read once it remembers."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._found: tuple[str, Any] | None = None

    def sign(self, tx: Tx, claims: Mapping[str, Any]) -> str:
        """A compact JWT."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        kid, key = self._found or self._load(tx)
        head = _part(json.dumps({"alg": "RS256", "kid": kid, "typ": "JWT"}, separators=(",", ":")).encode())
        body = _part(json.dumps(dict(claims), separators=(",", ":")).encode())
        text = f"{head}.{body}"
        return f"{text}.{_part(key.sign(text.encode(), PKCS1v15(), hashes.SHA256()))}"

    def keys(self, tx: Tx) -> list[dict[str, str]]:
        """Every public key, oldest first; one is made when there is none yet (`tx` must be able to write)."""
        self._found or self._load(tx)
        return [dict(row.data["public"]) for row in tx.records(KIND, None, None, _FIRST)]

    def _load(self, tx: Tx) -> tuple[str, Any]:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        rows = tx.records(KIND, None, None, _FIRST)
        row = rows[0] if rows else tx.add(self._fresh())
        key = load_pem_private_key(self._vault.open(str(row.data["sealed"])).encode(), None)
        if rows:  # a key of this very transaction may yet be rolled back
            self._found = (row.key, key)
        return row.key, key

    def _fresh(self) -> Record:
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = generate_private_key(65537, BITS)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        numbers = key.public_key().public_numbers()
        shown = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
        kid = _part(hashlib.sha256(json.dumps(shown, separators=(",", ":")).encode()).digest())
        public = {**shown, "kid": kid, "use": "sig", "alg": "RS256"}
        data = {"sealed": self._vault.seal(pem), "public": public}
        return Record(0, KIND, None, kid, data, created_at=time.time_ns() // 1_000_000)


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _part(value.to_bytes((value.bit_length() + 7) // 8, "big"))
