"""Secrets at rest: AES-256-GCM under the server's key. Called by app, used through the Vault port.

A sealed text is `v1:` + base64(nonce, ciphertext); a wrong key or a changed byte is refused, never half-read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

from runyard.model.errors import Unavailable


class AesVault:
    """The Vault port over one secret key text."""

    def __init__(self, secret_key: str) -> None:
        self.key = hashlib.sha256(secret_key.encode()).digest()

    def seal(self, text: str) -> str:
        """Encrypts; the same text seals differently each time."""
        from cryptography.hazmat.primitives.ciphers.aead import (
            AESGCM,
        )  # lazy: 20 ms of import that most starts never need

        nonce = os.urandom(12)
        return "v1:" + base64.b64encode(nonce + AESGCM(self.key).encrypt(nonce, text.encode(), None)).decode()

    def open(self, sealed: str) -> str:
        """Decrypts what `seal` made."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            raw = base64.b64decode(sealed.removeprefix("v1:"), validate=True)
            return AESGCM(self.key).decrypt(raw[:12], raw[12:], None).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise Unavailable(
                "A stored secret cannot be opened: is RUNYARD_SECRET_KEY the one it was sealed with?"
            ) from error
