"""The TLS side of HTTPS: one context from the realm's files, made anew on reload."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from directory.sealing import read_secret_file
from kdc.config import ConfigError, KdcConfig
from kdc.server.key_files import MAX_PEM_BYTES, key_file
from kdc.state_folder import StateFolder


def tls_context(folder: StateFolder, config: KdcConfig) -> ssl.SSLContext:
    """Make the context that connections are accepted with: TLS 1.2 or 1.3, HTTP/1.1.

    Raises DirectoryError (the key's mode or owner), ConfigError (missing, or not a pair).
    """
    certificate, key = folder.http_tls(config)
    # Read here for the rules on secret files; OpenSSL itself takes only paths.
    trusted = tuple(Path(p) for p in config.trusted_secret_paths)
    key = key_file(certificate, key, trusted)
    read_secret_file(key, MAX_PEM_BYTES, trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A session ticket's key would live as long as the context; clients come once in ten hours.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            str(certificate),
            None,
            "HTTPS cannot use this certificate",
            "it is missing, or its key is another one's or sealed with a password",
            "kdc cert issue-http makes a new pair; http.tls_certificate and http.tls_key name "
            "others",
        ) from error
    return context


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key is sealed with a password")


def validity(certificate: Path) -> tuple[datetime, datetime]:
    """Return from when until when the first certificate of a PEM file is valid.

    Raises OSError, ValueError.
    """
    found = x509.load_pem_x509_certificate(certificate.read_bytes()[:MAX_PEM_BYTES])
    return found.not_valid_before_utc, found.not_valid_after_utc


def crl_next_update(crl: Path) -> datetime:
    """Return until when a revocation list (PEM or DER) may be used. Raises OSError, ValueError."""
    data = crl.read_bytes()
    if b"-----BEGIN" in data[:64]:
        found = x509.load_pem_x509_crl(data)
    else:
        found = x509.load_der_x509_crl(data)
    return found.next_update_utc or datetime.max.replace(tzinfo=UTC)
