"""Keys, certificates and a configuration for a broker that others can reach."""

import datetime as dt
import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.engine.nats import subjects

Role = Literal["web", "worker"]
_DAYS = 825

PERMISSIONS: dict[Role, dict[str, Any]] = {
    "web": {
        "publish": {"allow": ["run.*.>", "job.*.*", "ask.*", "forget.*", "$JS.API.>"]},
        "subscribe": {"allow": ["_INBOX.web.>", "live.>", "executed.*"]},
    },
    "worker": {
        "publish": {
            "allow": [
                "run.*.ev",
                "run.*.lease",
                "executed.*",
                "built.>",
                "$KV.workers.*",
                "$JS.ACK.JOBS.>",
                "$JS.API.CONSUMER.MSG.NEXT.JOBS.*",
                "$JS.API.DIRECT.GET.RUNS",
                "$JS.API.DIRECT.GET.BUILT",
                "hold.*",
            ]
        },
        "subscribe": {"allow": ["_INBOX.worker.>", "run.*.cancel", "ask.*", "forget.*", "hold.*"]},
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
    authority = _Identity.of("playground authority")
    server = _Identity.of("playground broker", authority, ExtendedKeyUsageOID.SERVER_AUTH, names)
    _write(folder / "ca.pem", authority.certificate_pem)
    _write(folder / "server.pem", server.certificate_pem)
    _write(folder / "server.key", server.key_pem)
    for role in PERMISSIONS:
        own = folder / role
        own.mkdir(mode=0o700)
        # A certificate for clients only, so that a worker cannot pass for the broker.
        client = _Identity.of(_name_of(role), authority, ExtendedKeyUsageOID.CLIENT_AUTH)
        _write(own / f"{role}.pem", client.certificate_pem)
        _write(own / f"{role}.key", client.key_pem)
        _write(own / "ca.pem", authority.certificate_pem)
    _write(folder / "server.conf", configuration(folder, listen=hosts[0] if hosts else "127.0.0.1").encode())


def configuration(folder: Path, *, listen: str) -> str:
    """Return the configuration of nats-server. A client is the user that its certificate names."""
    users = [{"user": f"CN={_name_of(role)}", "permissions": PERMISSIONS[role]} for role in PERMISSIONS]
    return f"""# A broker for the playground; `playground engine init` has written this.
server_name: playground
listen: {json.dumps(f"[{listen}]:4222" if ":" in listen else f"{listen}:4222")}
max_payload: {subjects.MESSAGE}
max_connections: 1000

tls {{
  cert_file: {json.dumps(str(folder / "server.pem"))}
  key_file: {json.dumps(str(folder / "server.key"))}
  ca_file: {json.dumps(str(folder / "ca.pem"))}
  verify_and_map: true
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


def _name_of(role: Role) -> str:
    return f"playground {role}"


@dataclass(frozen=True)
class _Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(
        cls,
        name: str,
        issuer: Self | None = None,
        purpose: x509.ObjectIdentifier | None = None,
        hosts: Sequence[str] = (),
    ) -> Self:
        """Return a new identity; without an issuer, of an authority that signs itself and whose key nobody keeps."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer.key if issuer else key
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=_DAYS))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .add_extension(_usage(authority=issuer is None), critical=True)
        )
        if purpose:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if hosts:
            names = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return cls(builder.sign(signer, hashes.SHA256()), key)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        none = serialization.NoEncryption()
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)


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


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
