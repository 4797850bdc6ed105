"""A realm in process whose keys are the same in every run, so that recorded requests stay valid.

It remembers nothing between requests: what one input does never depends on the input before it.
"""

import atexit
import hashlib
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TypedDict, Unpack

from cryptography.hazmat.primitives.asymmetric import ec

from directory.changes import NewAccount
from directory.model import AccountKind, Sid
from directory.store import Store
from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
)
from kdc.outcome import Outcome, Peer
from kdc.server.audit import TimeText, encode_record
from kdc.wire.constants import KdcOption, PaType
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    ApReq,
    AsRep,
    AsReq,
    Authenticator,
    Checksum,
    EncryptedData,
    EncryptionKey,
    EncTicketPart,
    KdcReqBody,
    KrbError,
    PrincipalName,
    TgsRep,
    TgsReq,
    Ticket,
)
from kdc.wire.rfc4556 import PaPkAsReq
from kdc.wire.rfc6113 import ANONYMOUS, ANONYMOUS_REALM
from pki import asn1, ca, cms, der, oids
from pki.ca import IssuedCertificate, KeyType, PrivateKey
from pki.keys import PublicKey, public_key_from_cryptography
from pki.x500 import simple_name
from tests.fuzz.targets import recorded
from tests.kdc import builders
from tests.kdc.builders import NOW, REALM, Kdc

PEOPLE = ("alice", "bob")
"""Who has a key. pat has a password: `builders.PASSWORD`."""
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PEER = Peer(address="192.0.2.7", port=40_000, transport="tcp")


@cache
def private_key(owner: str) -> ec.EllipticCurvePrivateKey:
    """Derive somebody's P-256 key from their name. It protects nothing but this test realm."""
    digest = hashlib.sha256(b"keytrust fuzz " + owner.encode()).digest()
    number = int.from_bytes(digest, "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def public_key(owner: str) -> PublicKey:
    """Return the public half of `private_key`."""
    return public_key_from_cryptography(private_key(owner).public_key())


@cache
def hello(owner: str) -> IssuedCertificate:
    """Make somebody's self-signed certificate."""
    key: PrivateKey = private_key(owner)
    name = simple_name((oids.ID_AT_COMMON_NAME, owner))
    made = ca.self_signed_hello_certificate(key, name, NOW)
    return IssuedCertificate(certificate_der=made, private_key=key)


@cache
def root() -> IssuedCertificate:
    """Make the realm's CA; its key is derived, so certificates on record chain to it."""
    return ca.create_root(REALM, NOW, private_key("root"))


@cache
def kdc_certificate() -> IssuedCertificate:
    """Issue the KDC's certificate."""
    return ca.issue_kdc_certificate(
        root(), REALM, ("dc1.lab.test",), "LAB", KeyType.EC_P256, NOW, key=private_key("kdc")
    )


class _NoReplays:
    """A replay memory that has seen nothing."""

    def seen(self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b"") -> bool:
        return False

    def remember(
        self, digest: bytes, *, ctime: datetime, now: datetime, packet: bytes = b""
    ) -> bool:
        return True

    def oldest_acceptable(self, now: datetime) -> datetime:
        return now - timedelta(hours=1)


class _NoRetransmits:
    """A retransmit memory that keeps nothing."""

    def lookup(self, digest: bytes, now: datetime) -> bytes | None:
        return None

    def store(self, digest: bytes, reply: bytes, now: datetime) -> None:
        return


def _make_store(folder: Path) -> None:
    store = Store.create(
        folder / "store.sqlite",
        builders.master_key(),
        realm=REALM,
        netbios="LAB",
        krbtgt_keys=builders.random_keys("krbtgt"),
        now=NOW - timedelta(days=30),
        domain_sid=Sid.parse("S-1-5-21-1004336348-1177238915-682003330"),
    )
    created = NOW - timedelta(days=20)
    for name in PEOPLE:
        store.add_account(NewAccount(kind=AccountKind.USER, name=name, created_at=created))
        builders.add_hello_key(store, name, public_key(name))
    keys = builders.password_keys("pat")
    store.add_account(NewAccount(kind=AccountKind.USER, name="pat", created_at=created, keys=keys))
    store.add_account(
        NewAccount(
            kind=AccountKind.SERVICE,
            name="web",
            created_at=created,
            spns=("host/web.lab.test",),
            keys=builders.random_keys("web"),
        )
    )
    store.close()


@cache
def kdc() -> Kdc:
    """Make the realm and its KDC, once a process."""
    folder = Path(tempfile.mkdtemp(prefix="keytrust-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _make_store(folder)
    # Nobody is locked out: a mutated password proof must not end the next one.
    made = Kdc(folder, builders.config(lockout_threshold=0))
    made.core.realm = replace(made.realm, replay=_NoReplays(), retransmit=_NoRetransmits())
    return made


def answer(message: bytes) -> Outcome:
    """Let the core answer one message, and check what is true of every answer.

    No bug escaped; reply and outcome agree; the audit record is one line.
    """
    outcome = kdc().core.handle(message, _PEER, NOW)
    assert kdc().core.internal_errors == 0, outcome.why
    record = encode_record(outcome, _PEER, TimeText().of(NOW), 0.0)
    assert record.count(b"\n") == 1
    assert record.decode().removesuffix("\n").isprintable()
    if outcome.reply is not None and outcome.code:
        error = asn1.decode(KrbError, outcome.reply)
        assert error.error_code == outcome.code
        assert outcome.why
    elif outcome.reply is None:
        assert outcome.why
    return outcome


_REPLIES: dict[bytes, type[AsRep] | type[TgsRep]] = {b"\x6b": AsRep, b"\x6d": TgsRep}


def ticket_owner(outcome: Outcome) -> str | None:
    """Open the ticket of an outcome with the service's key and name its client; None: no ticket.

    The name outside and the name inside must be the same, unless FAST hides the one outside.
    """
    kind = _REPLIES.get(outcome.reply[:1]) if outcome.reply is not None else None
    if kind is None or outcome.reply is None:
        assert outcome.reply is None or outcome.code != 0
        return None
    assert outcome.code == 0
    reply = asn1.decode(kind, outcome.reply)
    sealed = reply.ticket.enc_part
    if sealed.kvno is None:
        # User to user: sealed with another ticket's session key.
        return reply.cname.name_string[0].lower()
    service = "krbtgt" if reply.ticket.sname.name_string[0].lower() == "krbtgt" else "web"
    (key,) = (k for k in builders.random_keys(service) if k.etype == sealed.etype)
    plain = decrypt(ProtocolKey(EncType(key.etype), key.key), KeyUsage.TICKET, sealed.cipher)
    ticket = asn1.decode(EncTicketPart, plain)
    assert ticket.crealm == REALM
    if reply.crealm == ANONYMOUS_REALM:
        assert reply.cname == ANONYMOUS
    else:
        assert (reply.crealm, reply.cname) == (REALM, ticket.cname)
    (name,) = ticket.cname.name_string
    return name.lower()


# -- what recorded requests prove ------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The octets without which a request proves nothing, and who they prove."""

    owner: str
    parts: tuple[bytes, ...]
    """PKINIT: KDC-REQ-BODY and AuthPack. Password: the ciphertext of the timestamp.

    TGS: KDC-REQ-BODY, the ciphertexts of TGT and authenticator.
    """

    def is_in(self, message: bytes) -> bool:
        """Tell whether a message holds every part of the proof, unaltered."""
        return all(part in message for part in self.parts)


def proof_of(owner: str, message: bytes) -> Proof | None:
    """Read the proof out of a request as it was recorded; None when it has none."""
    request = asn1.decode(TgsReq if message[:1] == b"\x6c" else AsReq, message)
    for padata in request.padata or ():
        if padata.padata_type == 16:
            signed = asn1.decode(PaPkAsReq, padata.padata_value).signed_auth_pack
            content = cms.parse_signed_data(signed).content
            return Proof(owner=owner, parts=(request.req_body.raw, content))
        if padata.padata_type == 1:
            ap_req = asn1.decode(ApReq, padata.padata_value)
            ciphers = (ap_req.ticket.enc_part.cipher, ap_req.authenticator.cipher)
            return Proof(owner=owner, parts=(request.req_body.raw, *ciphers))
        if padata.padata_type == 2:
            return Proof(owner=owner, parts=(padata.padata_value[-40:],))
    return None


def recorded_proofs(target: str) -> tuple[Proof, ...]:
    """Read the proofs of a target's recorded requests: their names begin with their owners'."""
    found = (
        proof_of(name.partition("-")[0], message) for name, message in recorded(target).items()
    )
    return tuple(proof for proof in found if proof is not None)


# -- the TGS exchange ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tgt:
    """A ticket-granting ticket of pat's, and its session key."""

    ticket: Ticket
    session_key: ProtocolKey


def new_tgt(of: Kdc | None = None, name: str = "pat") -> Tgt:
    """Get a TGT of `of` (else of this realm) by the tests' password."""
    key = builders.key_of(18, name)
    body = replace(
        builders.body_for(name),
        kdc_options=KdcOption.FORWARDABLE | KdcOption.PROXIABLE | KdcOption.RENEWABLE,
    )
    asked = of or kdc()
    outcome = asked.ask(builders.as_req(body, builders.enc_timestamp(key)))
    opened = builders.open_password_reply(outcome, key, asked, body)
    session = opened.part.key
    return Tgt(
        ticket=opened.as_rep.ticket,
        session_key=ProtocolKey(EncType(session.keytype), session.keyvalue),
    )


def tgs_body(**changes: Unpack["TgsFields"]) -> KdcReqBody:
    """Return the body of a request for a ticket to host/web.lab.test."""
    body = KdcReqBody(
        kdc_options=KdcOption.FORWARDABLE,
        realm=REALM,
        sname=builders.name("host", "web.lab.test"),
        till=NOW + timedelta(hours=8),
        nonce=builders.NONCE,
        etype=builders.ENCTYPES,
    )
    return replace(body, **changes)


class TgsFields(TypedDict, total=False):
    """What is changed of `tgs_body`."""

    kdc_options: int
    sname: PrincipalName
    additional_tickets: tuple[Ticket, ...]
    enc_authorization_data: EncryptedData


def authenticator(
    tgt: Tgt,
    body: bytes,
    subkey: EncryptionKey | None = None,
    *,
    name: str = "pat",
    cksum: Checksum | None = None,
) -> bytes:
    """Encode the authenticator of a request with this body; cksum: another than the right one."""
    key = tgt.session_key
    mac = make_checksum(key, KeyUsage.TGS_REQ_AUTHENTICATOR_CHECKSUM, body)
    return asn1.encode(
        Authenticator(
            authenticator_vno=5,
            crealm=REALM,
            cname=builders.name(name),
            cksum=cksum or Checksum(cksumtype=CHECKSUM_TYPES[key.enctype], checksum=mac),
            cusec=1,
            ctime=NOW,
            subkey=subkey,
        )
    )


def tgs_req(tgt: Tgt, body: bytes, sealed: bytes) -> bytes:
    """Encode a TGS-REQ around the DER of a body and of an authenticator."""
    cipher = encrypt(
        tgt.session_key, KeyUsage.TGS_REQ_AUTHENTICATOR, sealed, builders.client_entropy(16)
    )
    ap_req = ApReq(
        pvno=5,
        msg_type=14,
        ap_options=0,
        ticket=tgt.ticket,
        authenticator=EncryptedData(etype=tgt.session_key.enctype, cipher=cipher),
    )
    padata = builders.padata(PaType.TGS_REQ, asn1.encode(ap_req))
    return der.tlv(
        0x6C,
        der.sequence(
            der.explicit(1, der.encode_integer(5)),
            der.explicit(2, der.encode_integer(12)),
            der.explicit(3, asn1.encode_as(METHOD_DATA, (padata,))),
            der.explicit(4, body),
        ),
    )
