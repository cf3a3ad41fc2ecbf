"""A server whose certificate is of an authority of one's own, as inside a company: what to do is told, and
one file is enough for the calls and for git."""

from __future__ import annotations

import datetime
import ssl
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runyard.model.errors import Unavailable
from runyard.runner.remote import Wire
from runyard.runner.sandbox.git import fetch


def certificate(folder: Path) -> Path:
    """Key and self-signed certificate of localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    shape, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "localhost.pem"
    file.write_bytes(key.private_bytes(pem, shape, plain) + made.public_bytes(pem))
    return file


def git(folder: Path, *argv: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *argv], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path)


@pytest.fixture
def url(tmp_path: Path, pem: Path) -> Iterator[str]:
    """A repository behind that certificate."""
    site = tmp_path / "site"
    (site / "app").mkdir(parents=True)
    git(site / "app", "init", "-q", "-b", "main")
    git(site / "app", "commit", "-q", "--allow-empty", "-m", "first")
    git(site / "app", "update-server-info")
    server = ThreadingHTTPServer(("localhost", 0), partial(SimpleHTTPRequestHandler, directory=str(site)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_who_is_not_trusted_and_what_to_do_is_told(url: str) -> None:
    with pytest.raises(Unavailable, match=r"certificate of localhost:\d+ is not trusted.*SSL_CERT_FILE"):
        Wire(url).call("GET", "/", patience_s=0)


def test_the_file_that_the_calls_trust_git_trusts_too(
    url: str, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "work"
    into.mkdir()
    address, head = f"{url}/app/.git", git(tmp_path / "site" / "app", "rev-parse", "HEAD").strip()
    with pytest.raises(Unavailable, match="certificate"):
        fetch(address, "token", head, "refs/heads/main", (), 0, into)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    assert Wire(url).call("GET", "/app/.git/HEAD", patience_s=0, base=False).status == 200
    assert fetch(address, "token", head, "refs/heads/main", (), 0, into) == head
