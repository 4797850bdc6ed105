"""SASL GSSAPI with a service ticket (RFC 4752, RFC 4121): how our commands log on to a directory.

No security layer: a directory is spoken to under TLS or on a local socket. The server proves itself
(mutual authentication), which an LDAP server on the wrong end of a stolen name could not do.
"""

from collections.abc import Callable
from datetime import datetime

from directory.backend import DirectoryError, DirectoryFault
from kdc.client.errors import ClientError, ClientFault
from kdc.client.mechanism import Entropy
from kdc.crypto.etypes import (
    CHECKSUM_BYTES,
    CONFOUNDER_BYTES,
    KEY_BYTES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    make_checksum,
    verify_checksum,
)
from kdc.formats.ccache import Credential
from kdc.wire.constants import PVNO, MessageType
from kdc.wire.rfc4120 import (
    ApRep,
    ApReq,
    Authenticator,
    Checksum,
    EncApRepPart,
    EncryptedData,
    EncryptionKey,
    PrincipalName,
    Ticket,
)
from pki import asn1, der
from pki.errors import PkiError

_TOKEN = 0x60
_MECHANISM = bytes.fromhex("06092a864886f712010202")  # 1.2.840.113554.1.2.2, Kerberos V5
_AP_REQ, _AP_REP, _ERROR = b"\1\0", b"\2\0", b"\3\0"
_GSS_CHECKSUM = 0x8003
_MUTUAL, _REPLAY, _SEQUENCE, _INTEGRITY = 2, 4, 8, 32
_MUTUAL_REQUIRED = 1 << 29
_WRAP = b"\x05\x04"
_SENT_BY_ACCEPTOR, _SEALED, _ACCEPTOR_SUBKEY = 1, 2, 4
_HEADER_BYTES = 16
_NO_LAYER = 1


class GssapiClient:
    """One SASL exchange, the client's side; call `step` until the server says it is done."""

    mechanism = "GSSAPI"

    def __init__(
        self, credential: Credential, clock: Callable[[], datetime], entropy: Entropy
    ) -> None:
        """Take a ticket for the server's service, `ldap/dc1.lab.test`."""
        self._credential = credential
        self._clock = clock
        self._entropy = entropy
        self._sent: Authenticator | None = None
        self._subkey: ProtocolKey | None = None
        self._acceptor_subkey: ProtocolKey | None = None
        self._proven = False
        self._chosen = False

    def step(self, challenge: bytes | None) -> bytes | None:
        """Answer the server's challenge; None is the first. Raises DirectoryError(DENIED)."""
        try:
            if self._sent is None:
                return self._initial()
            if not self._proven:
                self._open_ap_rep(challenge or b"")
                self._proven = True
                return b""
            if not self._chosen:
                self._chosen = True
                return self._choose_layer(challenge or b"")
        except ClientError as error:
            raise DirectoryError(DirectoryFault.DENIED, f"GSSAPI: {error}") from error
        return None

    # -- the context (RFC 4121 4.1) ----------------------------------------------------------

    def _initial(self) -> bytes:
        credential = self._credential
        try:
            session = ProtocolKey(EncType(credential.etype), credential.session_key)
            ticket = asn1.decode(Ticket, credential.ticket)
        except (ValueError, CryptoError, PkiError):
            raise ClientError(
                ClientFault.BAD_PARAMETERS, "the service ticket cannot be used"
            ) from None
        now = self._clock()
        value = self._entropy(KEY_BYTES[session.enctype])
        self._subkey = ProtocolKey(session.enctype, value)
        flags = _MUTUAL | _REPLAY | _SEQUENCE | _INTEGRITY
        # No channel bindings: sixteen zeros.
        bound = (16).to_bytes(4, "little") + bytes(16) + flags.to_bytes(4, "little")
        self._sent = Authenticator(
            authenticator_vno=PVNO,
            crealm=credential.client.realm,
            cname=PrincipalName(
                name_type=credential.client.name_type, name_string=credential.client.components
            ),
            cksum=Checksum(cksumtype=_GSS_CHECKSUM, checksum=bound),
            cusec=now.microsecond,
            ctime=now.replace(microsecond=0),
            subkey=EncryptionKey(keytype=session.enctype, keyvalue=value),
            seq_number=int.from_bytes(self._entropy(4), "big") & 0x3FFFFFFF,
        )
        cipher = encrypt(
            session,
            KeyUsage.AP_REQ_AUTHENTICATOR,
            asn1.encode(self._sent),
            self._entropy(CONFOUNDER_BYTES),
        )
        request = ApReq(
            pvno=PVNO,
            msg_type=MessageType.AP_REQ,
            ap_options=_MUTUAL_REQUIRED,
            ticket=ticket,
            authenticator=EncryptedData(etype=session.enctype, cipher=cipher),
        )
        return _framed(_AP_REQ + asn1.encode(request))

    def _open_ap_rep(self, token: bytes) -> None:
        inner = _unframed(token)
        if inner[:2] == _ERROR:
            raise ClientError(ClientFault.REFUSED, "the server does not take the ticket")
        if inner[:2] != _AP_REP or self._sent is None:
            raise ClientError(ClientFault.MALFORMED, "not an AP-REP")
        session = ProtocolKey(EncType(self._credential.etype), self._credential.session_key)
        try:
            reply = asn1.decode(ApRep, inner[2:])
            plain = decrypt(session, KeyUsage.AP_REP_ENC_PART, reply.enc_part.cipher)
            part = asn1.decode(EncApRepPart, plain)
            if part.subkey is not None:
                subkey = part.subkey
                self._acceptor_subkey = ProtocolKey(EncType(subkey.keytype), subkey.keyvalue)
        except PkiError as error:
            raise ClientError(ClientFault.MALFORMED, str(error)) from None
        except (CryptoError, ValueError):
            # Only who has the service's key can make this part.
            raise ClientError(ClientFault.WRONG_KEY, "the server did not prove itself") from None
        if part.ctime != self._sent.ctime or part.cusec != self._sent.cusec:
            raise ClientError(ClientFault.WRONG_ANSWER, "the AP-REP is for another request")

    # -- the security layer (RFC 4752 3.1) ---------------------------------------------------

    def _choose_layer(self, token: bytes) -> bytes:
        offer = self._unwrapped(token)
        if len(offer) != 4:
            raise ClientError(ClientFault.MALFORMED, "offer of security layers")
        if not offer[0] & _NO_LAYER:
            raise ClientError(
                ClientFault.BAD_PARAMETERS, "the server insists on a security layer under TLS"
            )
        return self._wrapped(bytes((_NO_LAYER, 0, 0, 0)))

    def _wrapped(self, plain: bytes) -> bytes:
        """Make a Wrap token without sealing (RFC 4121 4.2.4)."""
        if self._sent is None or self._subkey is None:
            raise ClientError(ClientFault.WRONG_ANSWER, "no context yet")
        key = self._acceptor_subkey or self._subkey
        flags = _ACCEPTOR_SUBKEY if self._acceptor_subkey is not None else 0
        sequence = (self._sent.seq_number or 0).to_bytes(8, "big")
        start = _WRAP + bytes((flags, 0xFF))
        mac = make_checksum(key, KeyUsage.INITIATOR_SEAL, plain + start + bytes(4) + sequence)
        size = len(mac).to_bytes(2, "big")
        return start + size + bytes(2) + sequence + plain + mac

    def _unwrapped(self, token: bytes) -> bytes:
        """Check a Wrap token of the server and return what is in it."""
        if len(token) < _HEADER_BYTES or token[:2] != _WRAP or token[3] != 0xFF:
            raise ClientError(ClientFault.MALFORMED, "not a Wrap token")
        flags = token[2]
        if not flags & _SENT_BY_ACCEPTOR or flags & _SEALED:
            raise ClientError(ClientFault.WRONG_ANSWER, "a Wrap token of another kind")
        key = self._acceptor_subkey if flags & _ACCEPTOR_SUBKEY else self._subkey
        if key is None:
            raise ClientError(ClientFault.WRONG_ANSWER, "a Wrap token under no key of ours")
        size = int.from_bytes(token[4:6], "big")
        turned = int.from_bytes(token[6:8], "big")
        body = token[_HEADER_BYTES:]
        if size != CHECKSUM_BYTES[key.enctype] or len(body) < size:
            raise ClientError(ClientFault.MALFORMED, "not a Wrap token")
        turned %= len(body)
        body = body[turned:] + body[:turned]  # RFC 4121 4.2.5: undo the rotation
        plain, mac = body[:-size], body[-size:]
        header = token[:4] + bytes(4) + token[8:_HEADER_BYTES]
        try:
            verify_checksum(key, KeyUsage.ACCEPTOR_SEAL, plain + header, mac)
        except CryptoError:
            raise ClientError(ClientFault.WRONG_KEY, "a Wrap token not of this server") from None
        return plain


def _framed(inner: bytes) -> bytes:
    """Put the head of a token of the mechanism before it (RFC 2743 3.1)."""
    return der.tlv(_TOKEN, _MECHANISM + inner)


def _unframed(token: bytes) -> bytes:
    try:
        start, end = der.open_tlv(token, _TOKEN)
    except PkiError:
        raise ClientError(ClientFault.MALFORMED, "not a token of Kerberos") from None
    if end != len(token) or not token.startswith(_MECHANISM, start):
        raise ClientError(ClientFault.MALFORMED, "not a token of Kerberos")
    return token[start + len(_MECHANISM) :]
