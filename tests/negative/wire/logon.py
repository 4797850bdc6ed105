"""Whole logons, honest until a part is replaced: plain, by password, by PKINIT."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.negative.wire import cms, crypto, der, kerberos
from tests.negative.wire.certificate import SignedCertificate
from tests.negative.wire.groups import Agreement, Modp
from tests.negative.wire.kerberos import AsRep, Body, Name, Opened
from tests.negative.wire.keys import DIGESTS, SigningKey

ID_AUTH_DATA = "1.3.6.1.5.2.3.1"
ID_DH_KEY_DATA = "1.3.6.1.5.2.3.2"
ID_RKEY_DATA = "1.3.6.1.5.2.3.3"


class WrongTicketError(AssertionError):
    """An AS-REP that this client should not have got, or cannot open: the worst there is."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A private key and the certificate over it."""

    key: SigningKey = field(repr=False)
    certificate: SignedCertificate


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What an honest client holds after a logon."""

    crealm: str
    cname: Name
    sname: Name
    part: Opened
    reply: AsRep
    kdc_public: bytes = b""
    """The KDC's key-agreement value, for PKINIT."""
    server_nonce: bytes = b""


@dataclass(kw_only=True)
class Plain:
    """A request without proof of identity; also the frame of the other two."""

    body: Body
    owner: str = ""
    """The account that this proof stands for; a ticket for any other is the worst there is."""
    before: list[bytes] = field(default_factory=list)
    """PA-DATA in front of the proof."""
    after: list[bytes] = field(default_factory=list)
    """PA-DATA behind it."""
    change_body: Callable[[Body], object] = lambda body: None
    """Changes the body after the proof was made over it."""
    no_padata_field: bool = True
    """Leave the field out when there is nothing in it."""
    tag: int = 10
    pvno: int = 5
    msg_type: int = 10

    def proof(self, body: bytes) -> list[bytes]:
        """Make the PA-DATA that prove who asks."""
        return []

    def message(self) -> bytes:
        """Encode the request."""
        entries: list[bytes] | None = [
            *self.before,
            *self.proof(self.body.encode()),
            *self.after,
        ]
        if not entries and self.no_padata_field:
            entries = None
        self.change_body(self.body)
        return kerberos.kdc_req(
            self.body.encode(), entries, tag=self.tag, pvno=self.pvno, msg_type=self.msg_type
        )

    def nonces(self) -> set[int]:
        """Return the nonces of which the reply must carry one."""
        return {self.body.nonce}

    def reply_key(self, reply: AsRep) -> tuple[bytes, bytes, bytes]:
        """Return the reply key, the KDC's public value and its nonce."""
        raise WrongTicketError("for a request that proved nothing")

    def open(self, reply: AsRep) -> Ticket:
        """Open an AS-REP with the client's own key. Raises WrongTicketError."""
        if reply.etype not in crypto.KEY_BYTES:
            raise WrongTicketError(f"a reply under encryption type {reply.etype}")
        try:
            key, public, nonce = self.reply_key(reply)
            plain = crypto.decrypt(reply.etype, key, crypto.USAGE_AS_REP, reply.cipher)
            part = kerberos.read_client_part(plain)
        except (crypto.WrongKeyError, cms.BadReplyError, der.UnreadableError, KeyError) as error:
            raise WrongTicketError(f"an AS-REP that its client cannot open: {error}") from error
        if part.nonce not in self.nonces():
            raise WrongTicketError("an AS-REP with another nonce")
        if part.sname != reply.ticket_sname:
            raise WrongTicketError("an AS-REP whose two parts name two services")
        return Ticket(
            crealm=reply.crealm,
            cname=reply.cname,
            sname=reply.ticket_sname,
            part=part,
            reply=reply,
            kdc_public=public,
            server_nonce=nonce,
        )


@dataclass(kw_only=True)
class PasswordLogon(Plain):
    """A logon by PA-ENC-TIMESTAMP."""

    key: bytes = field(repr=False)
    etype: int = 18
    when: datetime = field(default_factory=lambda: datetime.now(UTC))
    plain: bytes | None = None
    """Of the PA-ENC-TS-ENC; None: made of `when`."""
    sealed: bytes | None = field(default=None, repr=False)
    """The encrypted timestamp, kept so that a second message can repeat it."""

    def encrypted_timestamp(self) -> bytes:
        """Return the value of the PA-DATA."""
        if self.sealed is None:
            plain = self.plain or kerberos.timestamp(self.when)
            cipher = crypto.encrypt(self.etype, self.key, crypto.USAGE_TIMESTAMP, plain)
            self.sealed = kerberos.encrypted_data(self.etype, cipher)
        return self.sealed

    def proof(self, body: bytes) -> list[bytes]:
        """Make the PA-ENC-TIMESTAMP."""
        return [kerberos.padata(kerberos.PA_ENC_TIMESTAMP, self.encrypted_timestamp())]

    def reply_key(self, reply: AsRep) -> tuple[bytes, bytes, bytes]:
        """Return the long-term key."""
        if reply.etype != self.etype:
            raise WrongTicketError("a reply of another encryption type")
        return self.key, b"", b""


@dataclass(kw_only=True)
class AuthPack:
    """An AuthPack. What is None takes its honest value or, where it says so, is left out."""

    agreement: Agreement = field(default_factory=Modp)
    cusec: int = 0
    ctime: datetime | bytes = field(default_factory=lambda: datetime.now(UTC))
    nonce: int = field(default_factory=lambda: secrets.randbits(31))
    checksum: bytes | None = None
    """b"": leave it out."""
    freshness: bytes | None = None
    checksum2: Callable[[bytes], bytes] | None = None
    """body -> DER of PAChecksum2; None: left out."""
    public_value: bytes | None = None
    """b"": leave it out."""
    cms_types: bytes | None = None
    dh_nonce: bytes | None = None
    after: bytes = b""
    """Octets behind the AuthPack, inside eContent."""

    def encode(self, body: bytes) -> bytes:
        """Encode it over a KDC-REQ-BODY."""
        checksum = self.checksum
        if checksum is None:
            checksum = hashlib.sha1(body, usedforsecurity=False).digest()
        authenticator = [
            der.explicit(0, der.integer(self.cusec)),
            der.explicit(1, der.time(self.ctime)),
            der.explicit(2, der.integer(self.nonce)),
        ]
        if checksum:
            authenticator.append(der.explicit(3, der.octets(checksum)))
        if self.freshness is not None:
            authenticator.append(der.explicit(4, der.octets(self.freshness)))
        if self.checksum2 is not None:
            authenticator.append(der.explicit(5, self.checksum2(body)))
        public = self.agreement.spki if self.public_value is None else self.public_value
        parts = [der.explicit(0, der.sequence(*authenticator))]
        if public:
            parts.append(der.explicit(1, public))
        if self.cms_types is not None:
            parts.append(der.explicit(2, self.cms_types))
        if self.dh_nonce is not None:
            parts.append(der.explicit(3, der.octets(self.dh_nonce)))
        return der.sequence(*parts) + self.after


def checksum2(
    name: str, *, oid: str | None = None, bend: Callable[[bytes], bytes] = bytes
) -> Callable[[bytes], bytes]:
    """Make a PAChecksum2 (MS-PKCA 2.2.3) of a digest."""

    def make(body: bytes) -> bytes:
        value = bend(hashlib.new(name, body, usedforsecurity=False).digest())
        algorithm = cms.algorithm(oid or DIGESTS[name])
        return der.sequence(der.explicit(0, der.octets(value)), der.explicit(1, algorithm))

    return make


@dataclass(kw_only=True)
class PkinitLogon(Plain):
    """A logon by PA-PK-AS-REQ."""

    identity: Identity
    auth: AuthPack = field(default_factory=AuthPack)
    signer: cms.Signer = field(init=False)
    signed: cms.SignedData = field(init=False)
    anchor: bytes | None = None
    """DER of the KDC's CA."""
    kdc_pk_id: bytes | None = None
    behind_signed: bytes = b""
    """Octets behind the ContentInfo, inside signedAuthPack."""
    behind_request: bytes = b""
    """Octets behind the PA-PK-AS-REQ, inside the padata value."""
    pa_type: int = kerberos.PA_PK_AS_REQ
    wrap: Callable[[bytes], bytes] | None = None
    """Makes the padata value of the ContentInfo itself."""
    kept: bytes | None = field(default=None, repr=False)
    """The ContentInfo, kept so that a second message can repeat it."""

    def __post_init__(self) -> None:
        """Make the honest signature."""
        self.signer = cms.Signer(key=self.identity.key, certificate=self.identity.certificate)
        self.signed = cms.SignedData(content_type=ID_AUTH_DATA, signers=[self.signer])

    def proof(self, body: bytes) -> list[bytes]:
        """Make the PA-PK-AS-REQ."""
        return [kerberos.padata(self.pa_type, self.request(body))]

    def request(self, body: bytes) -> bytes:
        """Encode the PA-PK-AS-REQ over a body."""
        if self.kept is None:
            self.kept = self.signed.encode(self.auth.encode(body))
        if self.wrap is not None:
            return self.wrap(self.kept)
        parts = [der.implicit(0, self.kept + self.behind_signed)]
        if self.kdc_pk_id is not None:
            parts.append(der.implicit(2, self.kdc_pk_id))
        return der.sequence(*parts) + self.behind_request

    def nonces(self) -> set[int]:
        """Return the request's nonce, which MIT echoes, and the authenticator's (Windows)."""
        return {self.body.nonce, self.auth.nonce}

    def reply_key(self, reply: AsRep) -> tuple[bytes, bytes, bytes]:
        """Verify the KDC's signature and agree on the reply key."""
        info = der.read(reply.padata[kerberos.PA_PK_AS_REP])
        if info.tag != 0xA0:
            raise WrongTicketError("a reply key encrypted with RSA")
        rep = info.inner()
        signed = next(node.content for node in rep if node.tag == 0x80)
        nonce_node = rep.optional(1)
        server_nonce = b"" if nonce_node is None else nonce_node.content
        key_info = der.read(cms.open_signed(signed, ID_DH_KEY_DATA, self.anchor))
        reused = key_info.field(1).number()
        # RFC 4556 3.2.3.1: 0 marks a key that is used again, and then serverDHNonce must be there.
        if reused not in self.nonces() and (reused != 0 or not server_nonce):
            raise WrongTicketError("KDCDHKeyInfo is of another exchange")
        public = key_info.field(0).content[1:]
        secret = self.auth.agreement.agree(public)
        if self.auth.dh_nonce is not None and server_nonce:
            secret += self.auth.dh_nonce + server_nonce
        return crypto.octetstring_to_key(reply.etype, secret), public, server_nonce
