"""SASL GSSAPI, client side, against an acceptor made of the same primitives: what is refused.

That a real server takes its tokens is proven in tests/interop/test_directory_gssapi.py.
"""

from datetime import UTC, datetime

import pytest

from directory.backend import DirectoryError, DirectoryFault
from kdc.client.gssapi import GssapiClient
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, decrypt, encrypt, make_checksum
from kdc.formats.ccache import Credential, Principal
from kdc.wire.rfc4120 import (
    ApRep,
    ApReq,
    Authenticator,
    EncApRepPart,
    EncryptedData,
    EncryptionKey,
    PrincipalName,
    Ticket,
)
from pki import asn1, der

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
SESSION = ProtocolKey(EncType(18), bytes(range(32)))
SUBKEY = ProtocolKey(EncType(18), bytes(range(32, 64)))
MECHANISM = bytes.fromhex("06092a864886f712010202")


def _entropy(count: int) -> bytes:
    return bytes(count)


def _client() -> GssapiClient:
    ticket = Ticket(
        tkt_vno=5,
        realm="LAB.TEST",
        sname=PrincipalName(name_type=2, name_string=("ldap", "dc1.lab.test")),
        enc_part=EncryptedData(etype=18, kvno=1, cipher=bytes(64)),
    )
    credential = Credential(
        client=Principal(realm="LAB.TEST", components=("pat",)),
        server=Principal(realm="LAB.TEST", components=("ldap", "dc1.lab.test")),
        etype=18,
        session_key=SESSION.value,
        authtime=NOW,
        starttime=NOW,
        endtime=NOW,
        renew_till=None,
        flags=0,
        ticket=asn1.encode(ticket),
    )
    return GssapiClient(credential, lambda: NOW, _entropy)


def _authenticator(token: bytes) -> Authenticator:
    start, end = der.open_tlv(token, 0x60)
    inner = token[start:end]
    assert inner.startswith(MECHANISM + b"\1\0")
    request = asn1.decode(ApReq, inner[len(MECHANISM) + 2 :])
    plain = decrypt(SESSION, KeyUsage.AP_REQ_AUTHENTICATOR, request.authenticator.cipher)
    return asn1.decode(Authenticator, plain)


def _ap_rep(
    sent: Authenticator,
    key: ProtocolKey = SESSION,
    cusec: int | None = None,
    *,
    subkey: bool = True,
) -> bytes:
    part = EncApRepPart(
        ctime=sent.ctime,
        cusec=sent.cusec if cusec is None else cusec,
        subkey=EncryptionKey(keytype=18, keyvalue=SUBKEY.value) if subkey else None,
        seq_number=7,
    )
    cipher = encrypt(key, KeyUsage.AP_REP_ENC_PART, asn1.encode(part), bytes(16))
    reply = ApRep(pvno=5, msg_type=15, enc_part=EncryptedData(etype=18, cipher=cipher))
    return der.tlv(0x60, MECHANISM + b"\2\0" + asn1.encode(reply))


def _wrap(plain: bytes, *, flags: int = 5, key: ProtocolKey = SUBKEY, turned: int = 0) -> bytes:
    start, sequence = bytes((5, 4, flags, 0xFF)), (7).to_bytes(8, "big")
    mac = make_checksum(key, KeyUsage.ACCEPTOR_SEAL, plain + start + bytes(4) + sequence)
    body = plain + mac
    body = body[-turned:] + body[:-turned] if turned else body
    return start + len(mac).to_bytes(2, "big") + turned.to_bytes(2, "big") + sequence + body


def _proven() -> GssapiClient:
    client = _client()
    token = client.step(None)
    assert token is not None
    assert client.step(_ap_rep(_authenticator(token))) == b""
    return client


def _refused(client: GssapiClient, challenge: bytes, why: str) -> None:
    with pytest.raises(DirectoryError, match=why) as error:
        client.step(challenge)
    assert error.value.kind is DirectoryFault.DENIED


def test_the_authenticator_asks_for_mutual_authentication() -> None:
    """RFC 4121 4.1.1: checksum 0x8003, no channel bindings, the flags in little-endian."""
    token = _client().step(None)
    assert token is not None
    sent = _authenticator(token)
    assert sent.cksum is not None
    assert sent.cksum.cksumtype == 0x8003
    assert sent.cksum.checksum[:20] == (16).to_bytes(4, "little") + bytes(16)
    assert int.from_bytes(sent.cksum.checksum[20:], "little") & 2


@pytest.mark.parametrize("turned", [0, 3, 12])
def test_no_security_layer_is_chosen(turned: int) -> None:
    """RFC 4752 3.1; RFC 4121 4.2.5: a server may have rotated its token."""
    answer = _proven().step(_wrap(bytes((7, 0, 16, 0)), turned=turned))
    assert answer is not None
    plain = answer[16:-12]
    assert plain == bytes((1, 0, 0, 0))
    header = answer[:4] + bytes(4) + answer[8:16]
    assert answer[-12:] == make_checksum(SUBKEY, KeyUsage.INITIATOR_SEAL, plain + header)


def test_without_a_key_of_the_server_ours_is_used() -> None:
    """RFC 4121 2: the acceptor may leave its subkey out."""
    client = _client()
    token = client.step(None)
    assert token is not None
    sent = _authenticator(token)
    client.step(_ap_rep(sent, subkey=False))
    assert sent.subkey is not None
    own = ProtocolKey(EncType(18), sent.subkey.keyvalue)
    assert client.step(_wrap(bytes((1, 0, 0, 0)), flags=1, key=own))


@pytest.mark.parametrize(
    ("token", "why"),
    [
        pytest.param(b"", "not a token", id="empty"),
        pytest.param(der.tlv(0x60, MECHANISM + b"\3\0"), "does not take the ticket", id="error"),
        pytest.param(der.tlv(0x60, MECHANISM + b"\1\0"), "not an AP-REP", id="other-token"),
        pytest.param(der.tlv(0x60, MECHANISM + b"\2\0abc"), "well-formed", id="no-asn1"),
        pytest.param(der.tlv(0x60, b"\6\1\1\2\0"), "not a token", id="other-mechanism"),
        pytest.param(der.tlv(0x60, MECHANISM + b"\2\0") + b"x", "not a token", id="more"),
    ],
)
def test_a_malformed_answer_is_refused(token: bytes, why: str) -> None:
    """RFC 2743 3.1, RFC 4120 5.5.2."""
    client = _client()
    client.step(None)
    _refused(client, token, why)


def test_a_server_without_the_session_key_is_refused() -> None:
    """RFC 4120 3.2.5: only who opened the ticket can make the AP-REP."""
    client = _client()
    token = client.step(None)
    assert token is not None
    _refused(client, _ap_rep(_authenticator(token), SUBKEY), "did not prove itself")


def test_an_answer_to_another_request_is_refused() -> None:
    """RFC 4120 3.2.5: ctime and cusec are those that were sent."""
    client = _client()
    token = client.step(None)
    assert token is not None
    _refused(client, _ap_rep(_authenticator(token), cusec=1), "another request")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        pytest.param(b"", "not a Wrap token", id="empty"),
        pytest.param(_wrap(bytes(4))[:12], "not a Wrap token", id="short"),
        pytest.param(_wrap(bytes(4))[:20], "not a Wrap token", id="no-checksum"),
        pytest.param(_wrap(b"\1\0\0\0", flags=4), "of another kind", id="sent-by-us"),
        pytest.param(_wrap(b"\1\0\0\0", flags=7), "of another kind", id="sealed"),
        pytest.param(_wrap(b"\1\0\0\0", key=SESSION), "not of this server", id="other-key"),
        pytest.param(_wrap(b"\1\0\0"), "offer of security layers", id="offer-too-short"),
        pytest.param(_wrap(b"\6\0\1\0"), "insists on a security layer", id="layer-forced"),
    ],
)
def test_a_bad_offer_is_refused(token: bytes, why: str) -> None:
    """RFC 4121 4.2.6.2, RFC 4752 3.1."""
    _refused(_proven(), token, why)
