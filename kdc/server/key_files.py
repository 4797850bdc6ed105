"""The key of a certificate, also in the moment between the replacement of the two files."""

from pathlib import Path

from cryptography import x509

from directory.sealing import read_secret_file
from pki.ca import private_key_from_pem
from pki.errors import PkiError

MAX_PEM_BYTES = 64 * 1024  # a key or a chain of ten certificates


def next_key(key: Path) -> Path:
    """Name the file of a key that is about to become `key`."""
    return key.with_name(f"{key.name}.next")


def key_file(certificate: Path, key: Path, trusted: tuple[Path, ...]) -> Path:
    """Return the file that holds the certificate's key: `key`, else the one about to become it.

    Whether either fits is left to who uses it. Raises OSError, DirectoryError.
    """
    coming = next_key(key)
    if not coming.exists():
        return key
    try:
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        found = private_key_from_pem(read_secret_file(coming, MAX_PEM_BYTES, trusted))
        return coming if found.public_key() == leaf.public_key() else key
    except (ValueError, PkiError, FileNotFoundError):
        return key
