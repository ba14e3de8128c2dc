"""Owns the certificates of the tests: an authority of their own, and what it did and did not sign."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """Server contexts by what is wrong with them; the authority's own certificate is at `authority`."""

    folder: Path
    authority: Path

    def good(self) -> ssl.SSLContext:
        """For 127.0.0.1, signed by the authority."""
        return _context(self.folder / "good.pem")

    def of_nobody(self) -> ssl.SSLContext:
        """For 127.0.0.1, signed by itself."""
        return _context(self.folder / "nobody.pem")

    def of_another(self) -> ssl.SSLContext:
        """Signed by the authority, for another host."""
        return _context(self.folder / "another.pem")

    def expired(self) -> ssl.SSLContext:
        """Signed by the authority for 127.0.0.1, until yesterday."""
        return _context(self.folder / "expired.pem")


def make_certificates(folder: Path) -> Certificates:
    """Write them all into a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    here, there = x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("mail.example")
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Authority of the tests")])
    authority = _sign(issuer, issuer, key, None, DAY)
    _write(folder / "authority.pem", authority, None)
    for name, alternative, left in (("good", here, DAY), ("another", there, DAY), ("expired", here, -DAY)):
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        _write(folder / f"{name}.pem", _sign(subject, issuer, key, alternative, left), key)
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    _write(folder / "nobody.pem", _sign(own, own, key, here, DAY), key)
    return Certificates(folder, folder / "authority.pem")


def _sign(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    alternative: x509.GeneralName | None,
    left: timedelta,
) -> x509.Certificate:
    now = datetime.now(UTC)
    building = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * DAY)
        .not_valid_after(now + left)
        .add_extension(x509.BasicConstraints(ca=alternative is None, path_length=None), critical=True)
    )
    if alternative is not None:
        building = building.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    return building.sign(key, hashes.SHA256())


def _write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None) -> None:
    text = certificate.public_bytes(serialization.Encoding.PEM)
    if key is not None:
        text += key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    path.write_bytes(text)


def _context(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
