"""Owns secrets: sealing them for the disk, making new ones; leaves where the sealing keys come from to the settings."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

SECRET_BYTES = 32
DKIM_KEY_BITS = 2048  # the longest that SES takes


class VaultError(Exception):
    """No key of the vault opens this: it was sealed with another key, or altered."""


class Vault:
    """Seals bytes with the first key and opens what any of the keys sealed, so that keys can be rotated."""

    def __init__(self, keys: Sequence[bytes | str]) -> None:
        """Take one key or more, newest first, each as `new_key` makes it; raise ValueError for anything else."""
        if not keys:
            raise ValueError("A vault needs a key: make one with Vault.new_key().")
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    @staticmethod
    def new_key() -> str:
        """Make a sealing key: 32 random bytes as URL-safe base64."""
        return Fernet.generate_key().decode()

    def seal(self, clear: bytes) -> bytes:
        """Encrypt and authenticate; equal bytes never look equal when sealed."""
        return self._fernet.encrypt(clear)

    def unseal(self, sealed: bytes) -> bytes:
        """Give back what was sealed, or raise VaultError."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as error:
            raise VaultError("sealed with a key that is not in the settings, or altered") from error

    @staticmethod
    def new_secret() -> str:
        """Make a key's secret; it holds no dot, so that `id.secret` can be read back."""
        return secrets.token_urlsafe(SECRET_BYTES)

    @staticmethod
    def new_dkim_pair() -> tuple[str, str]:
        """Make an RSA key pair as (private, public) base64 of DER: PKCS#8 as SES takes it, SPKI for the TXT record.

        Takes some tenths of a second of processor time: call it in a thread.
        """
        private = rsa.generate_private_key(public_exponent=65537, key_size=DKIM_KEY_BITS)
        private_der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        public_der = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b64encode(private_der).decode(), b64encode(public_der).decode()
