"""Honest AS-REQs, made in advance, all distinct."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from kdc.client.as_exchange import AsExchange, AsOptions, client_name
from kdc.client.mechanism import Hints
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.client.tgs_exchange import TgsExchange, TgsOptions, service_name
from kdc.crypto.etypes import EncType, KeyUsage, encrypt, string_to_key
from kdc.crypto.key_agreement import GROUPS, Group, KeyPair, generate
from kdc.wire.constants import PVNO, KdcOption, MessageType, NameType, PaType
from kdc.wire.rfc4120 import AsReq, EncryptedData, KdcReqBody, PaData, PaEncTsEnc, PrincipalName
from pki import asn1, oids
from pki.ca import private_key_from_pem, self_signed_hello_certificate
from pki.cms_sign import CmsSigner
from pki.x500 import simple_name
from tests.bench.realm import PASSWORD, REALM

PAIRS = 16
"""Key-agreement keys of the clients; each is used by many, since only the KDC is measured."""

_numbers = count(1)


def _body(name: str, now: datetime) -> KdcReqBody:
    start = now.replace(microsecond=0)
    return KdcReqBody(
        kdc_options=KdcOption.FORWARDABLE | KdcOption.RENEWABLE,
        cname=client_name(name),
        realm=REALM,
        sname=PrincipalName(name_type=NameType.SRV_INST, name_string=("krbtgt", REALM)),
        till=start + timedelta(hours=10),
        rtime=start + timedelta(days=7),
        nonce=next(_numbers),
        etype=(18, 17, 20, 19),
    )


def _as_req(body: KdcReqBody, *padata: PaData) -> bytes:
    return asn1.encode(
        AsReq(pvno=PVNO, msg_type=MessageType.AS_REQ, padata=padata or None, req_body=body)
    )


def logon_request(
    name: str, now: datetime, proof: Callable[[KdcReqBody], Iterable[PaData]]
) -> bytes:
    """Make a logon with a proof that is made for its body."""
    body = _body(name, now)
    return _as_req(body, *proof(body))


def plain_requests(number: int, name: str = "pat") -> list[bytes]:
    """Make requests without proof: what every client sends first."""
    return plain_requests_for([name] * number)


def plain_requests_for(names: Iterable[str]) -> list[bytes]:
    """Make requests without proof, one for each name."""
    now = datetime.now(UTC)
    return [_as_req(_body(name, now)) for name in names]


_password_key = string_to_key(EncType.AES256_CTS_HMAC_SHA1_96, PASSWORD, REALM + "pat", None)


def password_requests(number: int) -> list[bytes]:
    """Make logons of `pat` by encrypted timestamp."""
    out = []
    for _ in range(number):
        now = datetime.now(UTC)
        stamp = PaEncTsEnc(patimestamp=now.replace(microsecond=0), pausec=now.microsecond)
        plain = asn1.encode(stamp)
        cipher = encrypt(_password_key, KeyUsage.PA_ENC_TIMESTAMP, plain, os.urandom(16))
        value = asn1.encode(EncryptedData(etype=int(_password_key.enctype), cipher=cipher))
        proof = PaData(padata_type=PaType.ENC_TIMESTAMP, padata_value=value)
        out.append(_as_req(_body("pat", now), proof))
    return out


class _KnownSalt(PasswordMechanism):
    """A password whose salt is the usual one, so that no hints are asked for first."""

    asks_first = False


def tgs_requests(answer: Callable[[bytes], bytes], number: int, tgts: int = 1) -> list[bytes]:
    """Ask for tickets of `host/web.lab.test` with TGTs of `pat`, in turn.

    answer: what the KDC answers to a message; the logons go there.
    """
    now = datetime.now(UTC)
    options = AsOptions(client=client_name("pat"), realm=REALM)
    held = []
    for _ in range(tgts):
        logon = AsExchange(options, _KnownSalt(PASSWORD), os.urandom)
        got = logon.receive(answer(logon.start(now)), now)
        if isinstance(got, bytes):
            raise TypeError("the KDC asks for another proof")
        held.append(got.credential)
    wanted = TgsOptions(server=service_name("host/web.lab.test"), realm=REALM)
    return [
        TgsExchange(wanted, held[turn % tgts], os.urandom).start(datetime.now(UTC))
        for turn in range(number)
    ]


class KeyUsers:
    """The users with Hello keys of a realm, in turn."""

    def __init__(self, folder: Path, *, group: str = "p256", dh_nonce: bool = False) -> None:
        """group: of key agreement. dh_nonce: lets the KDC reuse its key."""
        pairs = cycle([generate(GROUPS[group]) for _ in range(PAIRS)])

        def next_pair(_: Group) -> KeyPair:
            return next(pairs)

        options = PkinitOptions(
            anchors=(), domain="", group=group, dh_nonce=dh_nonce, freshness=False
        )
        self._users = cycle(
            [
                (path.stem, PkinitMechanism(_signer(path), options, next_pair))
                for path in sorted((folder / "keys").glob("*.key"))
            ]
        )

    def requests(self, number: int) -> list[bytes]:
        """Make logons by PKINIT."""
        return [self._request(datetime.now(UTC)) for _ in range(number)]

    def requests_at(self, times: Iterable[datetime]) -> list[bytes]:
        """Make logons by PKINIT that say they are made at given times."""
        return [self._request(now) for now in times]

    def _request(self, now: datetime) -> bytes:
        name, mechanism = next(self._users)
        body = _body(name, now)
        return _as_req(body, *mechanism.proof(body, Hints(), now, os.urandom))


def _signer(path: Path) -> CmsSigner:
    key = private_key_from_pem(path.read_bytes())
    if not isinstance(key, RSAPrivateKey):
        raise TypeError(f"{path} is no RSA key")
    subject = simple_name((oids.ID_AT_COMMON_NAME, path.stem))
    return CmsSigner(key, self_signed_hello_certificate(key, subject, datetime.now(UTC)), ())
