"""Checks over TLS: whose certificate is trusted, and under which name."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sup.plugin_api import CheckContext, CheckResult, Health
from sup_health_http.check import HttpCheck


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for ``app.test`` and 127.0.0.1 that signs itself, its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app.test")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("app.test"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def check(certificate: Path, *, plain: bool = False, **settings: Any) -> CheckResult:
    """The result of one check of a server with this certificate, or (``plain``) without TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def run() -> CheckResult:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if plain else context)
        port = server.sockets[0].getsockname()[1]
        async with server:
            asked = CheckContext(
                *("app", "/", None, True, 3.0),
                settings={"port": port, "scheme": "https", **settings},
            )
            return await HttpCheck().check(asked)

    return asyncio.run(run())


def test_tls_trusted_certificate_is_ok(certificate: Path) -> None:
    """By address, and by the name that the plan gives."""
    assert check(certificate, tls_ca=str(certificate)).health is Health.OK
    named = check(certificate, tls_ca=str(certificate), tls_server_name="app.test")
    assert named.health is Health.OK


def test_tls_untrusted_certificate_is_critical_unless_any_will_do(certificate: Path) -> None:
    """The reason is said; ``tls_verify = false`` asks for no trust."""
    refused = check(certificate)
    assert refused.health is Health.CRITICAL
    assert "certificate is not trusted" in refused.output
    assert check(certificate, tls_verify=False).health is Health.OK


def test_tls_other_name_is_critical(certificate: Path) -> None:
    """A good certificate of somebody else."""
    result = check(certificate, tls_ca=str(certificate), tls_server_name="other.test")
    assert result.health is Health.CRITICAL
    assert "other.test" in result.output


def test_tls_to_a_server_without_is_critical(certificate: Path) -> None:
    """Not a crash."""
    result = check(certificate, plain=True, tls_verify=False)
    assert result.health is Health.CRITICAL


def test_tls_file_that_is_not_there_is_critical_and_named(certificate: Path) -> None:
    """The file is read at the first check."""
    result = check(certificate, tls_ca="/nonexistent/ca.pem")
    assert result.health is Health.CRITICAL
    assert "No such file" in result.output
