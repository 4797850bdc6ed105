"""The TLS side of HTTPS: our certificate, and device certificates of clients that have one."""

import ssl

from directory.sealing import read_secret_file
from kdc.config import ConfigError
from tenant.state_folder import TenantFolder

MAX_PEM_BYTES = 64 * 1024


def tls_context(folder: TenantFolder) -> ssl.SSLContext:
    """Make the context that connections are accepted with: TLS 1.2 or 1.3, HTTP/1.1.

    A client certificate is asked for and not required: the device's, which deletes itself with it
    (MS-DVRJ 3.1.5.1.2). One that the tenant's device CA has not issued ends the handshake. It is
    asked for under every name, since OpenSSL does not take this setting over from the context that
    a name chooses; `dispatch` hands it to the registration host alone.
    Raises DirectoryError (the key's mode or owner), ConfigError (missing, or not a pair).
    """
    certificate, key = folder.tls
    read_secret_file(key, MAX_PEM_BYTES)  # for its rules; OpenSSL itself takes only paths
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would not show the client's certificate again.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
        context.load_verify_locations(folder.device_ca[0])
    except (OSError, ValueError) as error:
        raise ConfigError(
            str(certificate),
            None,
            "HTTPS cannot use this certificate",
            "it is missing, or its key is another one's or sealed with a password",
            "remove both files and run tenant init again: it makes what is missing",
        ) from error
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key is sealed with a password")
