"""Whether passwords can be changed where kdc.toml says: the port of kpasswd answers."""

from collections.abc import Iterator

from kdc.cli.checks.finding import Finding, Patient, fail, ok
from kdc.cli.client_files import reachable
from kdc.client.errors import ClientError
from kdc.client.transport import KdcAddress, Protocol, exchange
from kdc.config_values import format_address
from kdc.wire.rfc3244 import decode_frame, encode_frame
from kdc.wire.rfc4120 import KrbError
from pki import asn1
from pki.errors import PkiError

CHECK = "server.kpasswd"
TIMEOUT_S = 1.0
PROBE = encode_frame(2, b"\0", b"")
"""A frame of a version that nobody speaks: it is refused before anything in it is read."""
_PROTOCOLS: tuple[Protocol, ...] = ("udp", "tcp")


def check_kpasswd(patient: Patient) -> Iterator[Finding]:
    """Ask each address by UDP and TCP; nothing for a realm whose passwords live in LDAP."""
    for text in patient.config.kpasswd_addresses():
        host, port = reachable(text)
        for protocol in _PROTOCOLS:
            yield _ask(host, port, protocol, patient.config.realm)


def _ask(host: str, port: int, protocol: Protocol, realm: str) -> Finding:
    name = f"{format_address(host, port)} ({protocol})"
    place = KdcAddress(host=host, port=port, protocol=protocol, timeout_s=TIMEOUT_S, tries=2)
    whose = f"see whose port it is (ss -lntup 'sport = :{port}'), or set kpasswd_listen"
    try:
        answer, _ = exchange(place, PROBE)
    except ClientError:
        fix = "kdc serve; kpasswd_listen = [] if passwords are not changed here"
        return fail(CHECK, f"nobody changes passwords on {name}: no answer", fix)
    frame = decode_frame(answer)
    try:
        found = "" if frame is None else asn1.decode(KrbError, frame.rest).realm
    except PkiError:
        found = ""
    if found != realm:
        return fail(CHECK, f"what answers on {name} is not this realm's kpasswd", whose)
    return ok(CHECK, f"passwords are changed on {name}")
