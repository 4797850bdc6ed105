"""Spliced replies are, octet for octet, what the declared types encode."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kdc.crypto.pkinit_kdf import ID_PKINIT_KDF_AH_SHA256, ID_PKINIT_KDF_AH_SHA512
from kdc.exchange.reply_der import ReplyDer, enc_ticket_part, pkinit_other_info
from kdc.policy import TicketGrant
from kdc.wire.constants import PVNO, MessageType
from kdc.wire.rfc4120 import (
    NOT_TRANSITED,
    AsRep,
    AuthorizationDataElement,
    EncAsRepPart,
    EncryptedData,
    EncryptionKey,
    EncTgsRepPart,
    EncTicketPart,
    HostAddress,
    KdcRep,
    LastReqEntry,
    PaData,
    PrincipalName,
    TgsRep,
    Ticket,
    TransitedEncoding,
)
from kdc.wire.rfc4556 import (
    AlgorithmIdentifier,
    Krb5PrincipalName,
    OtherInfo,
    PkinitSuppPubInfo,
)
from kdc.wire.rfc6113 import ANONYMOUS, ANONYMOUS_REALM
from pki import asn1

SEEDS = range(60)


class Drawn:
    """Everything that can stand in a reply, drawn at random."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self.draw = draw
        self.realm = draw.choice(("LAB.TEST", "L", "A" * 140))
        self.cname = self.name()
        self.sname = self.name()
        self.session = EncryptionKey(
            keytype=draw.choice((17, 18, 19, 20)), keyvalue=self.octets(16, 32)
        )
        self.flags = draw.getrandbits(32)
        start = self.time()
        self.grant = TicketGrant(
            flags=0,
            authtime=start,
            starttime=start + timedelta(hours=1),
            endtime=start + timedelta(hours=9),
            renew_till=draw.choice((None, start + timedelta(days=7))),
        )
        if draw.choice((False, True)):
            self.grant = replace(self.grant, starttime=start)
        self.transited = draw.choice(
            (
                NOT_TRANSITED,
                replace(NOT_TRANSITED),
                TransitedEncoding(tr_type=0, contents=b""),
                TransitedEncoding(tr_type=1, contents=b"OTHER.TEST"),
            )
        )
        address = HostAddress(addr_type=draw.choice((2, 20, 24, -3)), address=self.octets(4, 16))
        self.caddr = draw.choice((None, (), (address,), (address,) * 9))

    def octets(self, low: int, high: int) -> bytes:
        """Draw octets, as many as `low` to `high`."""
        return self.draw.randbytes(self.draw.randint(low, high))

    def time(self) -> datetime:
        """Draw a whole second."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.draw.getrandbits(28))

    def name(self) -> PrincipalName:
        """Draw a name of one to three parts, not all of them ASCII."""
        parts = [self.draw.choice(("a", "web.lab.test", "é" * 90)) for _ in range(3)]
        return PrincipalName(
            name_type=self.draw.choice((1, 2, 10, -128)),
            name_string=tuple(parts[: self.draw.randint(1, 3)]),
        )

    def sealed(self) -> EncryptedData:
        """Draw a sealed part, with and without a key version."""
        kvno = self.draw.choice((None, 1, 200, 2**31, -5))
        return EncryptedData(etype=18, kvno=kvno, cipher=self.octets(1, 70_000))

    def der(self, kind: MessageType) -> ReplyDer:
        """Return the writer of what was drawn."""
        return ReplyDer(
            kind=kind,
            realm=self.realm,
            cname=self.cname,
            sname=self.sname,
            session=self.session,
            flags=self.flags,
            grant=self.grant,
            caddr=self.caddr,
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_ticket_part(seed: int) -> None:
    """EncTicketPart, RFC 4120 5.3."""
    drawn = Drawn(seed)
    data = tuple(
        AuthorizationDataElement(ad_type=drawn.draw.choice((1, 128)), ad_data=drawn.octets(0, 900))
        for _ in range(drawn.draw.randint(0, 3))
    )
    declared = EncTicketPart(
        flags=drawn.flags,
        key=drawn.session,
        crealm=drawn.realm,
        cname=drawn.cname,
        transited=drawn.transited,
        authtime=drawn.grant.authtime,
        starttime=drawn.grant.starttime,
        endtime=drawn.grant.endtime,
        renew_till=drawn.grant.renew_till,
        caddr=drawn.caddr,
        authorization_data=data or None,
    )
    fields = drawn.der(MessageType.TGS_REP).ticket_fields(drawn.transited)
    spliced = enc_ticket_part(fields, b"".join(map(asn1.encode, data)))
    assert spliced == asn1.encode(declared)


@pytest.mark.parametrize(
    ("kind", "part"), [(MessageType.AS_REP, EncAsRepPart), (MessageType.TGS_REP, EncTgsRepPart)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_client_part(
    seed: int, kind: MessageType, part: type[EncAsRepPart] | type[EncTgsRepPart]
) -> None:
    """EncASRepPart and EncTGSRepPart, RFC 4120 5.4.2."""
    drawn = Drawn(seed)
    nonce = drawn.draw.choice((0, 1, 127, 128, 2**32 - 1, -(2**31)))
    expiration = drawn.draw.choice((None, drawn.time()))
    pa = (PaData(padata_type=149, padata_value=drawn.octets(0, 40)),)
    encrypted_pa_data = drawn.draw.choice((None, pa, pa * 2))
    declared = part(
        key=drawn.session,
        last_req=(LastReqEntry(lr_type=0, lr_value=drawn.grant.authtime),),
        nonce=nonce,
        key_expiration=expiration,
        flags=drawn.flags,
        authtime=drawn.grant.authtime,
        starttime=drawn.grant.starttime,
        endtime=drawn.grant.endtime,
        renew_till=drawn.grant.renew_till,
        srealm=drawn.realm,
        sname=drawn.sname,
        caddr=drawn.caddr,
        encrypted_pa_data=encrypted_pa_data,
    )
    spliced = drawn.der(kind).client_part(
        nonce=nonce, key_expiration=expiration, encrypted_pa_data=encrypted_pa_data
    )
    assert spliced == asn1.encode(declared)


@pytest.mark.parametrize(
    ("kind", "message"), [(MessageType.AS_REP, AsRep), (MessageType.TGS_REP, TgsRep)]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_message(seed: int, kind: MessageType, message: type[KdcRep]) -> None:
    """AS-REP and TGS-REP, RFC 4120 5.4.2."""
    drawn = Drawn(seed)
    padata = drawn.draw.choice(
        (None, (PaData(padata_type=17, padata_value=drawn.octets(0, 3000)),))
    )
    ticket, client = drawn.sealed(), drawn.sealed()
    declared = message(
        pvno=PVNO,
        msg_type=kind,
        padata=padata,
        crealm=drawn.realm,
        cname=drawn.cname,
        ticket=Ticket(tkt_vno=PVNO, realm=drawn.realm, sname=drawn.sname, enc_part=ticket),
        enc_part=client,
    )
    der = drawn.der(kind)
    spliced = der.message(padata=padata, ticket=der.ticket(ticket), client=client)
    assert spliced == asn1.encode(declared)
    hidden = der.message(padata=padata, ticket=der.ticket(ticket), client=client, hide_client=True)
    anonymous = replace(declared, crealm=ANONYMOUS_REALM, cname=ANONYMOUS)
    assert hidden == asn1.encode(anonymous)


@pytest.mark.parametrize("seed", SEEDS)
def test_pkinit_other_info(seed: int) -> None:
    """OtherInfo, RFC 8636 section 6."""
    drawn = Drawn(seed)
    kdf_id = drawn.draw.choice((ID_PKINIT_KDF_AH_SHA256, ID_PKINIT_KDF_AH_SHA512))
    as_req, pk_as_rep = drawn.octets(0, 3000), drawn.octets(0, 3000)
    client = Krb5PrincipalName(realm=drawn.realm, principal_name=drawn.cname)
    service = Krb5PrincipalName(realm=drawn.realm, principal_name=drawn.sname)
    public = PkinitSuppPubInfo(enctype=18, as_req=as_req, pk_as_rep=pk_as_rep)
    declared = OtherInfo(
        algorithm_id=AlgorithmIdentifier(algorithm=kdf_id, parameters=None),
        party_u_info=asn1.encode(client),
        party_v_info=asn1.encode(service),
        supp_pub_info=asn1.encode(public),
        supp_priv_info=None,
    )
    spliced = pkinit_other_info(
        kdf_id=kdf_id,
        realm=drawn.realm,
        cname=drawn.cname,
        sname=drawn.sname,
        enctype=18,
        as_req=as_req,
        pk_as_rep=pk_as_rep,
    )
    assert spliced == asn1.encode(declared)
