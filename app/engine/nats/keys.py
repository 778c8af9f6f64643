"""Keys, certificates and a configuration for a broker that others can reach."""

import base64
import binascii
import datetime as dt
import ipaddress
import json
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Role = Literal["web", "worker"]
_DAYS = 825
_SEED, _USER = 18 << 3, 20 << 3
"""The prefixes of seeds and of users, which make them begin with S and U."""
_MAX_PAYLOAD = 4 * 1024 * 1024
"""Bytes of the largest message: a job has a request's body, whose bound is a quarter of this by default."""

PERMISSIONS: dict[Role, dict[str, Any]] = {
    "web": {
        "publish": {"allow": ["run.*.>", "job.*.*", "ask.*", "$JS.API.>"]},
        "subscribe": {"allow": ["_INBOX.web.>", "live.>"]},
    },
    "worker": {
        "publish": {
            "allow": [
                "run.*.ev",
                "run.*.lease",
                "built.>",
                "$KV.workers.*",
                "$JS.ACK.JOBS.>",
                "$JS.API.CONSUMER.MSG.NEXT.JOBS.*",
                "$JS.API.DIRECT.GET.RUNS",
                "$JS.API.DIRECT.GET.BUILT",
            ]
        },
        "subscribe": {"allow": ["_INBOX.worker.>", "run.*.cancel", "ask.*"]},
        "allow_responses": True,
    },
}
"""The rights of each side. A worker cannot hand out jobs, end runs, or read another one's answers."""


def init(folder: Path, hosts: Sequence[str]) -> None:
    """Write keys, certificates and ``server.conf`` into a new folder. Raises ``FileExistsError``, ``OSError``.

    ``hosts`` are the names and addresses under which the broker is reached, besides those of this computer.
    """
    folder.mkdir(mode=0o700, parents=True)
    names = ["localhost", "127.0.0.1", "::1", *hosts]
    authority, authority_key = _certificate("playground authority", names, None)
    server, server_key = _certificate("playground broker", names, (authority, authority_key))
    public: dict[Role, str] = {}
    for role in PERMISSIONS:
        own = folder / role
        own.mkdir(mode=0o700)
        public[role] = _key(own / f"{role}.nk")
        _write(own / "ca.pem", _pem(authority))
    _write(folder / "server.pem", _pem(server))
    _write(
        folder / "server.key",
        server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    _write(folder / "server.conf", configuration(folder, public, listen=hosts[0] if hosts else "127.0.0.1").encode())


def configuration(folder: Path, public: dict[Role, str], *, listen: str) -> str:
    """Return the configuration of nats-server. ``public`` has the public key of each role."""
    users = [{"nkey": public[role], "permissions": PERMISSIONS[role]} for role in PERMISSIONS]
    return f"""# A broker for the playground; `playground engine init` has written this.
server_name: playground
listen: {json.dumps(f"[{listen}]:4222" if ":" in listen else f"{listen}:4222")}
max_payload: {_MAX_PAYLOAD}
max_connections: 1000

tls {{
  cert_file: {json.dumps(str(folder / "server.pem"))}
  key_file: {json.dumps(str(folder / "server.key"))}
  timeout: 5
}}

authorization: {json.dumps({"users": users}, indent=2)}

jetstream {{
  store_dir: {json.dumps(str(folder / "store"))}
  # Runs expire, so this is enough for about a thousand of them with their artifacts.
  max_file: 8GB
  max_mem: 256MB
  # Each stored message is on the disk before it is acknowledged. Without this line a power cut may lose the last
  # two minutes; with it each event takes as long as the disk's fsync.
  sync_interval: always
}}
"""


def certificates(keys: Path) -> ssl.SSLContext:
    """Return what a client trusts: the authority in its folder of keys. Raises ``OSError``."""
    return ssl.create_default_context(cafile=keys / "ca.pem")


class Nkey:
    """A key pair in the form of NATS: base32 of a prefix, the bytes of an Ed25519 key, and a checksum.

    The library ``nkeys`` is published without a wheel, which the image cannot install.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @classmethod
    def of(cls, keys: Path, role: Role) -> "Nkey":
        """Read the key of a role. Raises ``OSError``, ``ValueError``."""
        raw = base64.b32decode(_padded((keys / f"{role}.nk").read_bytes().strip()))
        if len(raw) != 36 or _checked(raw[:-2]) != raw or raw[0] & 0xF8 != _SEED or raw[0] & 7 != _USER >> 5:
            raise ValueError(f"{keys / role}.nk is not the seed of a user")
        return cls(raw[2:-2])

    @property
    def seed(self) -> bytes:
        """The form in which the secret is stored."""
        head = bytes([_SEED | _USER >> 5, (_USER & 31) << 3])
        return base64.b32encode(_checked(head + self._secret)).rstrip(b"=")

    @property
    def public(self) -> str:
        """The public key, as the broker's configuration has it."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return base64.b32encode(_checked(bytes([_USER]) + raw)).rstrip(b"=").decode()

    def sign(self, nonce: str) -> bytes:
        """Return the signature of the broker's challenge."""
        return base64.b64encode(self._key.sign(nonce.encode()))


def _checked(raw: bytes) -> bytes:
    """Append the checksum, which is CRC-16/XMODEM."""
    return raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")


def _padded(text: bytes) -> bytes:
    return text + b"=" * (-len(text) % 8)


def _key(path: Path) -> str:
    """Write a new seed and return its public key."""
    key = Nkey(os.urandom(32))
    _write(path, key.seed)
    return key.public


def _certificate(
    name: str, hosts: Sequence[str], issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return a certificate and its key; without an issuer, of an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(authority=issuer is None), critical=True)
    )
    signer = issuer[1] if issuer else key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if issuer:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256()), key


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
