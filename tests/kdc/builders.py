"""A realm in process, and requests and replies as a client makes and opens them.

Everything is valid by default; a test replaces exactly one thing. The client's side is written out
here from RFC 4120 and RFC 4556: nothing of `kdc.exchange` or `kdc.client` takes part in it.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from directory.changes import NewAccount
from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.keymaterial import MaterialForm
from directory.model import AccountKind, PrincipalKey, Sid
from directory.sealing import MasterKey
from directory.store import Store
from kdc.config import DhReuse, KdcConfig, KeyListSwitch, PrivilegedKeys, RocaPolicy
from kdc.core import Core
from kdc.crypto.etypes import (
    KEY_BYTES,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    string_to_key,
)
from kdc.crypto.key_agreement import GROUPS, KeyPair, generate
from kdc.crypto.pkinit_kdf import octetstring2key, rfc8636_kdf
from kdc.exchange.realm import KdcSigners, Realm
from kdc.outcome import Outcome, Peer, Service, Transport
from kdc.server.build import build_realm
from kdc.server.replay import FileReplayMemory, ReplayGeometry
from kdc.server.retransmit import FileRetransmitMemory, RetransmitGeometry
from kdc.state_folder import StateFolder
from kdc.wire.constants import PVNO, KdcOption, MessageType, NameType, PaType
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    TYPED_DATA,
    AsRep,
    AsReq,
    EncAsRepPart,
    EncryptedData,
    EncTicketPart,
    KdcReqBody,
    KrbError,
    PaData,
    PaEncTsEnc,
    PrincipalName,
    TypedDataElement,
)
from kdc.wire.rfc4556 import (
    ID_PKINIT_DH_KEY_DATA,
    AlgorithmIdentifier,
    AuthPack,
    DhRepInfo,
    KdcDhKeyInfo,
    KdfAlgorithmId,
    Krb5PrincipalName,
    OtherInfo,
    PaPkAsReq,
    PkAuthenticator,
    PkinitSuppPubInfo,
    SubjectPublicKeyInfo,
    decode_pa_pk_as_rep,
)
from pki import asn1, cms, der
from pki.ca import IssuedCertificate, KeyType
from pki.cms_sign import CmsSigner
from pki.keys import PublicKey, public_key_from_cryptography
from tests.pki import issued, messages

NOW = issued.NOW
REALM = issued.REALM
PASSWORD = "Correct-Horse-7"  # noqa: S105  # the test user's own
NONCE = 1_234_567_890
ENCTYPES = (18, 17, 20, 19)

REPLAY_SIZE = ReplayGeometry(shards=2, chunks=48, buckets=4)
RETRANSMIT_SIZE = RetransmitGeometry(ring_bytes=1 << 18, buckets=16)


class Seeded:
    """Entropy that is the same in every run, and never the same twice in one."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._count = 0

    def __call__(self, count: int) -> bytes:
        """Return the next `count` octets."""
        self._count += 1
        return hashlib.shake_256(self._seed + b" %d" % self._count).digest(count)


client_entropy = Seeded("client")


# -- the realm -------------------------------------------------------------------------------


class Settings(TypedDict, total=False):
    """What tests change of a configuration."""

    strong_mapping: Literal["full", "compatibility", "none"]
    max_life_s: int
    max_renewable_life_s: int
    clockskew_s: int
    supported_enctypes: tuple[int, ...]
    pkinit_require_freshness: bool
    pkinit_dh_min_bits: int
    pkinit_dh_max_bits: int
    dh_reuse: DhReuse
    dh_key_life_s: int
    max_dgram_reply_size: int
    hide_unknown: bool
    require_fast: bool
    roca_policy: RocaPolicy
    implicit_dollar: bool
    pac: bool
    legacy_ntlm: bool
    legacy_rsa_reply: bool
    legacy_sha1_cms: bool
    legacy_dh_group2: bool
    cms_require_content_type: bool
    lockout_threshold: int
    lockout_window_s: int
    lockout_duration_s: int
    password_min_length: int
    password_min_classes: int
    password_history: int
    password_min_age_s: int
    password_max_age_s: int
    kpasswd_admin_reset: bool
    cloud_trust_key_list: KeyListSwitch
    cloud_trust_deny_admin_count: bool
    require_device_object: bool
    privileged_keys: PrivilegedKeys


def config(**settings: Unpack[Settings]) -> KdcConfig:
    """Return the configuration of LAB.TEST: the defaults, but for `settings`."""
    return KdcConfig(realm=REALM, netbios="LAB", domain="lab.test", **settings)


@cache
def kdc_signers() -> KdcSigners:
    """Return the KDC's RSA certificate, alone: the default of `kdc init`."""
    return KdcSigners(rsa=_kdc_signer(KeyType.RSA_2048))


@cache
def ec_signer() -> CmsSigner:
    """Return the KDC's EC certificate."""
    return _kdc_signer(KeyType.EC_P256)


def _kdc_signer(key_type: KeyType) -> CmsSigner:
    made = issued.kdc(key_type)
    return CmsSigner(made.private_key, made.certificate_der)


def random_keys(owner: str, kvno: int = 1) -> tuple[PrincipalKey, ...]:
    """Return a generation of keys, the same for the same owner."""
    drawn = Seeded(f"{owner} {kvno}")
    return tuple(
        PrincipalKey(etype=etype, kvno=kvno, key=drawn(KEY_BYTES[EncType(etype)]))
        for etype in ENCTYPES
    )


@cache
def password_keys(name: str, kvno: int = 1) -> tuple[PrincipalKey, ...]:
    """Return the keys of PASSWORD for a user of this name."""
    salt = REALM + name
    return tuple(
        PrincipalKey(
            etype=etype,
            kvno=kvno,
            key=string_to_key(EncType(etype), PASSWORD, salt).value,
            salt=salt,
        )
        for etype in ENCTYPES
    )


def hello_key(name: str) -> PublicKey:
    """Return the public half of the Hello key of this name."""
    return public_key_from_cryptography(issued.hello(name).private_key.public_key())


def master_key() -> MasterKey:
    """Return the master key of the tests' stores."""
    return MasterKey(hashlib.sha256(b"master").digest())


def make_template(folder: Path) -> None:
    """Make the store that each test gets a copy of.

    alice (UPN under another suffix) and bob (UPN `robert@lab.test`) and the computer pc1$ have a
    Hello key each, pat has a password, host/web.lab.test is a service.
    """
    store = Store.create(
        folder / "store.sqlite",
        master_key(),
        realm=REALM,
        netbios="LAB",
        krbtgt_keys=random_keys("krbtgt"),
        now=NOW - timedelta(days=30),
    )
    created = NOW - timedelta(days=20)
    user = partial(NewAccount, kind=AccountKind.USER, created_at=created)
    for new in (
        user(name="alice", upn="Alice.Adams@corp.example"),
        user(name="bob", upn="robert@lab.test"),
        user(name="pat", keys=password_keys("pat")),
        NewAccount(
            kind=AccountKind.COMPUTER,
            name="pc1$",
            created_at=created,
            spns=("host/pc1.lab.test",),
            keys=random_keys("pc1"),
        ),
        NewAccount(
            kind=AccountKind.SERVICE,
            name="web",
            created_at=created,
            spns=("host/web.lab.test",),
            keys=random_keys("web"),
        ),
    ):
        store.add_account(new)
    for name in ("alice", "bob", "pc1$"):
        add_hello_key(store, name, hello_key(name.rstrip("$")))
    store.close()


def add_hello_key(store: Store, name: str, key: PublicKey) -> None:
    """Register a key on an account as Windows does."""
    account = store.account_by_name(name)
    assert account is not None
    form = MaterialForm.BCRYPT if key.n else MaterialForm.SPKI
    new = NewKeyCredential(public_key=key, material=form, created=NOW)
    dn = store.owner_dn(account.account_id)
    store.add_key_credential(account.account_id, encode_key_credential(new, dn))


class Kdc:
    """A KDC in process, on a real store in a folder of its own."""

    def __init__(self, folder: Path, settings: KdcConfig | None = None) -> None:
        self.folder = folder
        self.store = Store.open(folder / "store.sqlite", master_key())
        self.replay = FileReplayMemory(
            folder / "replay.map",
            clockskew=timedelta(seconds=300),
            # A new memory refuses every ctime before its making.
            now=NOW - timedelta(hours=1),
            geometry=REPLAY_SIZE,
        )
        self.retransmit = FileRetransmitMemory(folder / "retransmit.map", geometry=RETRANSMIT_SIZE)
        self._entropy = Seeded(f"kdc {folder.name}")
        self.core = Core(self._realm(settings or config()))

    def _realm(self, settings: KdcConfig) -> Realm:
        made = build_realm(
            StateFolder(self.folder),
            settings,
            self.store,
            self.replay,
            self.retransmit,
            passwords=self.store,
        )
        return replace(made, signers=kdc_signers(), entropy=self._entropy)

    @property
    def realm(self) -> Realm:
        """The realm as the exchanges see it."""
        return self.core.realm

    def configure(self, **settings: Unpack[Settings]) -> None:
        """Reload with another configuration; accounts and memories stay."""
        self.core.realm = self._realm(config(**settings))

    def use_signers(self, *, rsa: CmsSigner | None = None, ec: CmsSigner | None = None) -> None:
        """Give the KDC these certificates and no others."""
        self.core.realm = replace(self.realm, signers=KdcSigners(rsa=rsa, ec=ec))

    def ask(
        self,
        message: bytes,
        *,
        at: datetime = NOW,
        transport: Transport = "tcp",
        port: int = 40_000,
        service: Service = "kdc",
    ) -> Outcome:
        """Send one message."""
        peer = Peer(
            address="192.0.2.7",
            port=port,
            transport=transport,
            service=service,
            local="192.0.2.1",
        )
        return self.core.handle(message, peer, at)

    def account_id(self, name: str) -> int:
        """Return the number of an account by its sAMAccountName."""
        account = self.store.account_by_name(name)
        assert account is not None
        return account.account_id

    def add_user(self, name: str, **given: Unpack["UserFields"]) -> int:
        """Add a user, without a key or a password unless given."""
        return self.store.add_account(
            NewAccount(
                kind=AccountKind.USER, name=name, created_at=NOW - timedelta(days=10), **given
            )
        )

    def close(self) -> None:
        """Give the files back."""
        self.store.close()
        self.replay.close()
        self.retransmit.close()


class UserFields(TypedDict, total=False):
    """What tests give to a user."""

    upn: str
    disabled: bool
    expires_at: datetime
    password_expires_at: datetime
    must_change_password: bool
    smartcard_required: bool
    preauth_not_required: bool
    logon_hours: bytes
    keys: tuple[PrincipalKey, ...]
    nt_hash: bytes
    sid: Sid
    key_credentials: tuple[str, ...]


@contextmanager
def running_kdc(template: Path, folder: Path, **settings: Unpack[Settings]) -> Iterator[Kdc]:
    """Copy the template's store into `folder` and run a KDC on it."""
    for name in ("store.sqlite", "store-lockout.sqlite"):
        shutil.copyfile(template / name, folder / name)
    kdc = Kdc(folder, config(**settings))
    try:
        yield kdc
    finally:
        kdc.close()


# -- requests --------------------------------------------------------------------------------


def name(*parts: str, name_type: int = NameType.PRINCIPAL) -> PrincipalName:
    """Return a principal name."""
    return PrincipalName(name_type=name_type, name_string=parts)


KRBTGT = name("krbtgt", REALM, name_type=NameType.SRV_INST)

BODY = KdcReqBody(
    kdc_options=KdcOption.FORWARDABLE | KdcOption.RENEWABLE,
    cname=name("alice"),
    realm=REALM,
    sname=KRBTGT,
    till=NOW + timedelta(hours=8),
    rtime=NOW + timedelta(days=2),
    nonce=NONCE,
    etype=ENCTYPES,
)
"""alice asks for a TGT; use `dataclasses.replace`."""


def body_for(*parts: str, name_type: int = NameType.PRINCIPAL) -> KdcReqBody:
    """Return BODY with another client name."""
    return replace(BODY, cname=name(*parts, name_type=name_type))


def padata(pa_type: PaType, value: bytes = b"") -> PaData:
    """Return one PA-DATA."""
    return PaData(padata_type=pa_type, padata_value=value)


def as_req(body: KdcReqBody = BODY, *padata: PaData) -> bytes:
    """Encode an AS-REQ."""
    return asn1.encode(
        AsReq(pvno=PVNO, msg_type=MessageType.AS_REQ, padata=padata or None, req_body=body)
    )


def enc_timestamp(
    key: PrincipalKey, *, at: datetime = NOW, change: Callable[[bytes], bytes] = lambda v: v
) -> PaData:
    """Make a PA-ENC-TIMESTAMP; change: breaks the encrypted octets."""
    plain = asn1.encode(PaEncTsEnc(patimestamp=at, pausec=at.microsecond))
    protocol_key = ProtocolKey(EncType(key.etype), key.key)
    cipher = encrypt(protocol_key, KeyUsage.PA_ENC_TIMESTAMP, plain, client_entropy(16))
    sealed = EncryptedData(etype=key.etype, kvno=key.kvno, cipher=change(cipher))
    return padata(PaType.ENC_TIMESTAMP, asn1.encode(sealed))


def key_of(etype: int, owner: str = "pat") -> PrincipalKey:
    """Return pat's password key of this type."""
    return next(key for key in password_keys(owner) if key.etype == etype)


def same_authenticator(auth: PkAuthenticator) -> PkAuthenticator:
    """Change nothing."""
    return auth


def same_auth_pack(auth_pack: AuthPack) -> AuthPack:
    """Change nothing."""
    return auth_pack


def same_octets(octets: bytes) -> bytes:
    """Change nothing."""
    return octets


def same_pa(pa: PaPkAsReq) -> PaPkAsReq:
    """Change nothing."""
    return pa


@dataclass(slots=True, kw_only=True)
class PkinitRequest:
    """An AS-REQ with PA-PK-AS-REQ, built in steps; each step can be broken by a `change_`."""

    body: KdcReqBody = field(default_factory=lambda: BODY)
    """What is signed, and sent unless `sent_body` says otherwise."""
    sent_body: KdcReqBody | None = None
    signer: IssuedCertificate = field(default_factory=lambda: issued.hello("alice"))
    group: str = "p256"
    dh_nonce: bytes | None = None
    kdfs: tuple[str, ...] | None = None
    cms_types: tuple[str, ...] | None = None
    freshness_token: bytes | None = None
    ctime: datetime = NOW
    change_authenticator: Callable[[PkAuthenticator], PkAuthenticator] = same_authenticator
    change_auth_pack: Callable[[AuthPack], AuthPack] = same_auth_pack
    change_content: Callable[[bytes], bytes] = same_octets
    """Breaks the DER of the AuthPack before it is signed."""
    sign: Callable[[bytes, IssuedCertificate], bytes] | None = None
    """DER of an AuthPack, signer -> signedAuthPack."""
    change_signed: Callable[[bytes], bytes] = same_octets
    """Breaks the DER of the SignedData."""
    change_pa: Callable[[PaPkAsReq], PaPkAsReq] = same_pa
    change_value: Callable[[bytes], bytes] = same_octets
    """Breaks the DER of the PA-PK-AS-REQ."""
    before: tuple[PaData, ...] = ()
    """Other padata, before the PA-PK-AS-REQ ..."""
    after: tuple[PaData, ...] = ()
    """... and after it."""

    def build(self) -> "Sent":
        """Build the message and keep what opening its reply needs."""
        pair = generate(GROUPS[self.group])
        auth = self.change_authenticator(
            PkAuthenticator(
                cusec=int.from_bytes(client_entropy(2), "big"),
                ctime=self.ctime,
                nonce=self.body.nonce,
                pa_checksum=body_digest(self.body, "sha1"),
                freshness_token=self.freshness_token,
            )
        )
        auth_pack = self.change_auth_pack(
            AuthPack(
                pk_authenticator=auth,
                client_public_value=public_value(pair),
                client_dh_nonce=self.dh_nonce,
                supported_cms_types=None
                if self.cms_types is None
                else tuple(algorithm(oid) for oid in self.cms_types),
                supported_kdfs=None
                if self.kdfs is None
                else tuple(KdfAlgorithmId(kdf_id=oid) for oid in self.kdfs),
            )
        )
        content = self.change_content(asn1.encode(auth_pack))
        signed = self.change_signed((self.sign or sign_auth_pack)(content, self.signer))
        value = self.change_value(asn1.encode(self.change_pa(PaPkAsReq(signed_auth_pack=signed))))
        pa = (*self.before, padata(PaType.PK_AS_REQ, value), *self.after)
        sent_body = self.sent_body or self.body
        return Sent(
            message=as_req(sent_body, *pa),
            body=sent_body,
            auth_pack=auth_pack,
            signed=signed,
            pair=pair,
        )


def pk_as_req() -> bytes:
    """Return a valid PKINIT request of alice's, a new one each time."""
    return PkinitRequest().build().message


def body_digest(body: KdcReqBody, algorithm_name: str) -> bytes:
    """Return the digest of a KDC-REQ-BODY's DER."""
    return hashlib.new(algorithm_name, asn1.encode(body), usedforsecurity=False).digest()


def algorithm(oid: str, parameters: bytes | None = None) -> AlgorithmIdentifier:
    """Return an AlgorithmIdentifier."""
    return AlgorithmIdentifier(algorithm=oid, parameters=parameters)


def public_value(pair: KeyPair) -> SubjectPublicKeyInfo:
    """Return the clientPublicValue of a key pair."""
    return SubjectPublicKeyInfo(
        algorithm=asn1.decode(AlgorithmIdentifier, pair.group.algorithm_identifier),
        subject_public_key=pair.public,
    )


def sign_auth_pack(content: bytes, signer: IssuedCertificate, digest: str = "sha256") -> bytes:
    """Make the ContentInfo of an AuthPack: one signer, RSA or ECDSA."""
    attributes = (messages.content_type(), messages.message_digest(content, digest))
    info = messages.signer_info(signer, attributes=attributes, name=digest)
    return messages.signed_data(
        signer=signer, infos=(info,), e_content=der.explicit(0, der.encode_octet_string(content))
    )


# -- replies ---------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Sent:
    """A PKINIT request, and what its client remembers of it."""

    message: bytes
    body: KdcReqBody
    auth_pack: AuthPack
    signed: bytes
    pair: KeyPair


@dataclass(slots=True, kw_only=True)
class Opened:
    """An AS-REP, opened and checked."""

    as_rep: AsRep
    part: EncAsRepPart
    ticket: EncTicketPart
    reply_key: ProtocolKey
    info: DhRepInfo | None = None
    key_info: KdcDhKeyInfo | None = None
    kdc_certificate: bytes = b""


def refused(outcome: Outcome) -> tuple[int, str]:
    """Return (code, why) of a refusal, after checking that the KRB-ERROR says the same code."""
    assert outcome.reply is not None
    error = asn1.decode(KrbError, outcome.reply)
    assert error.error_code == outcome.code != 0
    return outcome.code, outcome.why


def error_of(outcome: Outcome) -> KrbError:
    """Return the KRB-ERROR of a refusal."""
    assert outcome.reply is not None
    return asn1.decode(KrbError, outcome.reply)


def method_data(outcome: Outcome) -> tuple[PaData, ...]:
    """Return the METHOD-DATA of a refusal's e-data."""
    e_data = error_of(outcome).e_data
    assert e_data is not None
    return asn1.decode_as(METHOD_DATA, e_data)


def typed_data(outcome: Outcome) -> tuple[TypedDataElement, ...]:
    """Return the TYPED-DATA of a refusal's e-data."""
    e_data = error_of(outcome).e_data
    assert e_data is not None
    return asn1.decode_as(TYPED_DATA, e_data)


def issued_ticket(outcome: Outcome) -> AsRep:
    """Return the AS-REP of an outcome that must be one."""
    assert (outcome.code, outcome.why) == (0, "")
    assert outcome.reply is not None
    return asn1.decode(AsRep, outcome.reply)


def open_ticket(as_rep: AsRep, kdc: Kdc) -> EncTicketPart:
    """Open the ticket with the service's key, of its etype and kvno."""
    sealed = as_rep.ticket.enc_part
    parts = as_rep.ticket.sname.name_string
    service = (
        kdc.store.krbtgt()
        if parts[0].lower() == "krbtgt"
        else kdc.store.account_by_spn("/".join(parts))
    )
    assert service is not None
    (key,) = (k for k in service.keys if (k.etype, k.kvno) == (sealed.etype, sealed.kvno))
    protocol_key = ProtocolKey(EncType(key.etype), key.key)
    return asn1.decode(EncTicketPart, decrypt(protocol_key, KeyUsage.TICKET, sealed.cipher))


def _open(as_rep: AsRep, reply_key: ProtocolKey, body: KdcReqBody, nonce: int, kdc: Kdc) -> Opened:
    """Open the client's part; check names, times and flags against the request and the ticket."""
    assert as_rep.enc_part.etype == reply_key.enctype
    plain = decrypt(reply_key, KeyUsage.AS_REP_ENC_PART, as_rep.enc_part.cipher)
    part = asn1.decode(EncAsRepPart, plain)
    ticket = open_ticket(as_rep, kdc)
    assert part.nonce == nonce
    assert as_rep.crealm == ticket.crealm == part.srealm == as_rep.ticket.realm == REALM
    assert as_rep.cname == ticket.cname
    assert as_rep.ticket.sname == part.sname
    assert part.key == ticket.key
    assert part.key.keytype in body.etype
    for times in ("authtime", "starttime", "endtime", "renew_till"):
        assert getattr(part, times) == getattr(ticket, times)
    assert part.flags == ticket.flags
    assert part.caddr == ticket.caddr == body.addresses
    return Opened(as_rep=as_rep, part=part, ticket=ticket, reply_key=reply_key)


def open_password_reply(outcome: Outcome, key: PrincipalKey, kdc: Kdc, body: KdcReqBody) -> Opened:
    """Open a reply to an encrypted timestamp with the key that sealed the timestamp."""
    reply_key = ProtocolKey(EncType(key.etype), key.key)
    return _open(issued_ticket(outcome), reply_key, body, body.nonce, kdc)


def open_reply(outcome: Outcome, sent: Sent, kdc: Kdc) -> Opened:
    """Open a reply to PKINIT: KDC's signature, key agreement, KDF, then the client's part."""
    as_rep = issued_ticket(outcome)
    (value,) = (p.padata_value for p in as_rep.padata or () if p.padata_type == PaType.PK_AS_REP)
    info = decode_pa_pk_as_rep(value)
    signer = cms.verify_signature(
        cms.parse_signed_data(info.dh_signed_data),
        expected_content_type=ID_PKINIT_DH_KEY_DATA,
        policy=cms.CmsPolicy(),
        check_key=lambda _key: (),
    )
    key_info = asn1.decode(KdcDhKeyInfo, signer.content)
    secret = sent.pair.agree(key_info.subject_public_key)
    # RFC 4556 3.2.3: the key is of the KDC's choice among the request's types, which the
    # encrypted part names.
    etype = EncType(as_rep.enc_part.etype)
    assert etype in sent.body.etype
    if info.kdf is not None:
        reply_key = rfc8636_kdf(
            info.kdf.kdf_id, secret, other_info(info.kdf.kdf_id, sent, etype, value), etype
        )
    else:
        client_nonce = sent.auth_pack.client_dh_nonce or b""
        reply_key = octetstring2key(etype, secret + client_nonce + (info.server_dh_nonce or b""))
    opened = _open(as_rep, reply_key, sent.body, sent.auth_pack.pk_authenticator.nonce, kdc)
    opened.info, opened.key_info = info, key_info
    opened.kdc_certificate = signer.certificate.der
    return opened


def other_info(kdf_id: str, sent: Sent, etype: EncType, pk_as_rep: bytes) -> bytes:
    """Encode OtherInfo as RFC 8636 section 5 describes it."""
    assert sent.body.cname is not None
    assert sent.body.sname is not None
    parties = (
        asn1.encode(Krb5PrincipalName(realm=sent.body.realm, principal_name=principal))
        for principal in (sent.body.cname, sent.body.sname)
    )
    public = PkinitSuppPubInfo(enctype=etype, as_req=sent.message, pk_as_rep=pk_as_rep)
    return asn1.encode(
        OtherInfo(
            algorithm_id=algorithm(kdf_id),
            party_u_info=next(parties),
            party_v_info=next(parties),
            supp_pub_info=asn1.encode(public),
        )
    )
