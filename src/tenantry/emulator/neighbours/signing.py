"""Owns the key with which the local SNS signs its notices, and the certificate that subscribers verify them with.

Leaves what is signed to `wire.sns`. The key is made when it is first needed, and dies with the process.
"""

import base64
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

KEY_BITS = 2_048
COMMON_NAME = "sns.amazonaws.com"
YEARS = timedelta(days=3_650)


class Signer:
    """Signs as SNS does: RSA with PKCS#1 v1.5, over SHA-1 (version 1) or SHA-256 (version 2)."""

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)

    def sign(self, text: bytes, version: str) -> str:
        """Return the signature of these bytes in base64."""
        digest: hashes.HashAlgorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303
        return base64.b64encode(self._key.sign(text, padding.PKCS1v15(), digest)).decode()

    @cached_property
    def certificate(self) -> bytes:
        """The certificate of the key, signed by itself, as PEM."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, COMMON_NAME)])
        start = datetime(2020, 1, 1, tzinfo=UTC)  # valid whatever the clock of the local SES says
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(start)
            .not_valid_after(start + 10 * YEARS)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(COMMON_NAME)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)

    @cached_property
    def path(self) -> str:
        """The path under which the local SES serves the certificate."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.certificate)
        return f"/SimpleNotificationService-{digest.finalize().hex()[:32]}.pem"
