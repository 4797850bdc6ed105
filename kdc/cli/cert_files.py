"""Certificates and revocation lists that a user names by file."""

from pathlib import Path

from kdc.cli.errors import CliError
from kdc.cli.options import read_input_file
from kdc.cli.state import MAX_PEM_BYTES
from pki import ca
from pki.certificate import Certificate
from pki.chain import ChainProfile
from pki.crl import MAX_CRL_BYTES, Crl
from pki.errors import PkiError
from pki.pem import from_pem
from pki.x500 import canonical_name


def read_certificate(file: Path) -> tuple[Certificate, ...]:
    """Read the certificates of a file, PEM or DER; at least one. Raises CliError."""
    data = read_input_file(file, MAX_PEM_BYTES)
    try:
        is_pem = b"-----BEGIN" in data
        found = tuple(map(Certificate, ca.certificates_from_pem(data) if is_pem else (data,)))
        for certificate in found:
            canonical_name(certificate.subject)
            certificate.validity()
            certificate.extensions()
    except PkiError as error:
        raise CliError(
            f"{file} is no certificate",
            f"it does not read as one, PEM or DER: {error.detail or error.fault.value}",
            "give a certificate file; kdc cert show pki/kdc.pem shows the KDC's",
        ) from None
    return found


def read_crl(path: Path, issuer: Certificate) -> bytes:
    """Read a CRL and check that this CA has signed it. Raises CliError."""
    try:
        data = from_pem(read_input_file(path, MAX_CRL_BYTES))
        profile = ChainProfile()
        Crl(data).check_signature(issuer, profile.digests, profile.key_policy)
    except PkiError as error:
        raise CliError(
            f"{path} is no revocation list of this CA",
            error.detail or error.fault.value,
            "fetch the list that the CA's certificates point to",
        ) from None
    return data
