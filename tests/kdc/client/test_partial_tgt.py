"""Opening the AS-REP that the cloud delivers; minting is tested with `kdc cloud-trust mint`."""

import json
from dataclasses import replace

import pytest

from kdc.client.errors import ClientError, ClientFault
from kdc.client.partial_tgt import MintedTgt, mint_partial_tgt, open_partial_tgt
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, encrypt
from kdc.wire.rfc4120 import AsRep, EncryptedData, PrincipalName, Ticket
from pki import asn1
from tests.kdc.client.fake_kdc import NOW, counting_entropy
from tests.kdc.cloud_keys import CLOUD_KEY, DOMAIN_SID


def minted() -> MintedTgt:
    """Mint a partial TGT for pat."""
    sid = DOMAIN_SID.with_rid(1107)
    return mint_partial_tgt(CLOUD_KEY, "pat", sid, now=NOW, entropy=counting_entropy)


def fault(message: bytes, key: ProtocolKey | None = None) -> tuple[ClientFault, str]:
    """Open in vain and return why."""
    with pytest.raises(ClientError) as caught:
        open_partial_tgt(message, key or minted().client_key)
    return caught.value.fault, caught.value.detail


def test_opened_credential_is_the_minted_one() -> None:
    """Key usage 3, and the session key in the client's part is the ticket's."""
    found = minted()
    assert open_partial_tgt(found.message, found.client_key) == found.credential


def test_member_carries_the_wrapped_key() -> None:
    """The text of tgt_ad, with clientKey as the cloud seals it."""
    member = json.loads(minted().token_member("a.jwe"))
    assert (member["clientKey"], member["keyType"], member["accountType"]) == ("a.jwe", 18, 2)


def test_another_client_key_does_not_open_it() -> None:
    """The enc-part is authenticated."""
    assert fault(minted().message, ProtocolKey(EncType(18), bytes(32)))[0] == ClientFault.WRONG_KEY


def test_key_of_another_type() -> None:
    """RFC 4120 5.2.9: etype says how the part is sealed."""
    wrong = ProtocolKey(EncType(17), bytes(16))
    assert fault(minted().message, wrong) == (
        ClientFault.WRONG_ANSWER,
        "encryption type of the AS-REP",
    )


@pytest.mark.parametrize("message", [b"", b"\x6b\x00", b"\x30\x03\x02\x01\x05"])
def test_octets_that_are_no_as_rep(message: bytes) -> None:
    """Strict DER."""
    assert fault(message)[0] == ClientFault.MALFORMED


def test_client_part_that_is_none() -> None:
    """Sealed with the right key, but no EncASRepPart."""
    found = minted()
    reply = asn1.decode(AsRep, found.message)
    cipher = encrypt(found.client_key, KeyUsage.AS_REP_ENC_PART, b"\x79\x00", bytes(16))
    other = replace(reply, enc_part=EncryptedData(etype=18, cipher=cipher))
    assert fault(asn1.encode(other))[0] == ClientFault.MALFORMED


def test_ticket_for_a_service_is_no_tgt() -> None:
    """Only krbtgt of the client's own realm can be redeemed."""
    reply = asn1.decode(AsRep, minted().message)
    web = PrincipalName(name_type=2, name_string=("host", "web.lab.test"))
    ticket = Ticket(tkt_vno=5, realm="LAB.TEST", sname=web, enc_part=reply.ticket.enc_part)
    assert fault(asn1.encode(replace(reply, ticket=ticket))) == (
        ClientFault.WRONG_ANSWER,
        "it is no TGT of the client's realm",
    )
