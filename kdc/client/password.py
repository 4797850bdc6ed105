"""Logging on with a password (RFC 4120 5.2.7): PA-ENC-TIMESTAMP, and in FAST the challenge."""

from collections.abc import Mapping
from datetime import datetime

from kdc.client.errors import ClientError, ClientFault
from kdc.client.mechanism import Entropy, Hints, SentRequest
from kdc.crypto.etypes import (
    CONFOUNDER_BYTES,
    CryptoError,
    EncType,
    KeyUsage,
    ProtocolKey,
    decrypt,
    encrypt,
    iterations_of,
    string_to_key,
)
from kdc.crypto.rfc6113 import client_challenge_key, kdc_challenge_key
from kdc.wire.constants import PaType
from kdc.wire.rfc4120 import (
    ETYPE_INFO2,
    AsRep,
    EncryptedData,
    EtypeInfo2Entry,
    KdcReqBody,
    KrbError,
    PaData,
    PaEncTsEnc,
)
from pki import asn1
from pki.errors import PkiError

# The hints are not authenticated. A count below RFC 3962's default would let whoever forged them
# try passwords against our proof at a bargain.
MIN_ITERATIONS = 4096


class PasswordMechanism:
    """Prove knowledge of a password. Keys are derived when the KDC has said the salt."""

    name = "password"
    asks_first = True

    def __init__(self, password: str, *, armored: bool = False) -> None:
        """Take a password. armored: for an exchange inside FAST (RFC 6113 5.4.6)."""
        self.pa_type = int(PaType.ENCRYPTED_CHALLENGE if armored else PaType.ENC_TIMESTAMP)
        self._password = password
        self._etype: EncType | None = None
        self._keys: dict[tuple[EncType, str, int], ProtocolKey] = {}

    def __repr__(self) -> str:
        return "<PasswordMechanism>"

    def first_padata(self) -> tuple[PaData, ...]:
        """Nothing: the KDC's hints come first."""
        return ()

    def proof(
        self, body: KdcReqBody, hints: Hints, now: datetime, entropy: Entropy
    ) -> tuple[PaData, ...]:
        """Encrypt the time in the key of the password, inside FAST in one of armor and password."""
        key = self._key(body, _choose(body, hints.etype_info2))
        self._etype = key.enctype
        usage = KeyUsage.PA_ENC_TIMESTAMP
        if hints.armor_key is not None:
            key = client_challenge_key(hints.armor_key, key)
            usage = KeyUsage.ENC_CHALLENGE_CLIENT
        stamp = PaEncTsEnc(patimestamp=now.replace(microsecond=0), pausec=now.microsecond)
        cipher = encrypt(key, usage, asn1.encode(stamp), entropy(CONFOUNDER_BYTES))
        value = asn1.encode(EncryptedData(etype=int(key.enctype), cipher=cipher))
        return (PaData(padata_type=self.pa_type, padata_value=value),)

    def retry(self, error: KrbError) -> bool:
        """Never: a wrong password stays wrong, and each try counts against the account."""
        return False

    def reply_key(
        self, sent: SentRequest, reply: AsRep, hints: Hints, now: datetime
    ) -> ProtocolKey:
        """Derive the client's key of the reply's encryption type.

        An ETYPE-INFO2 in the reply replaces the earlier one (RFC 4120 5.2.7.5).
        """
        infos = hints.etype_info2
        for padata in reply.padata or ():
            if padata.padata_type == PaType.ETYPE_INFO2:
                infos = decode_etype_info2(padata.padata_value)
        etype = reply.enc_part.etype
        if etype not in sent.body.etype:
            raise ClientError(ClientFault.BAD_PARAMETERS, "encryption type that was not asked for")
        info = next((i for i in infos if i.etype == etype), EtypeInfo2Entry(etype=etype))
        key = self._key(sent.body, info)
        self._etype = key.enctype
        if hints.armor_key is not None:
            _check_kdc_challenge(reply, kdc_challenge_key(hints.armor_key, key))
        return key

    def _key(self, body: KdcReqBody, info: EtypeInfo2Entry) -> ProtocolKey:
        salt = info.salt
        if salt is None:  # RFC 4120 4: the realm and the parts of the name, joined
            salt = body.realm + "".join(body.cname.name_string if body.cname else ())
        try:
            etype = EncType(info.etype)
            iterations = iterations_of(etype, info.s2kparams)
            if iterations < MIN_ITERATIONS:
                raise ClientError(ClientFault.BAD_PARAMETERS, "too few iterations for a password")
            known = (etype, salt, iterations)
            if known not in self._keys:
                self._keys[known] = string_to_key(etype, self._password, salt, iterations)
            return self._keys[known]
        except (ValueError, CryptoError):
            raise ClientError(ClientFault.BAD_PARAMETERS, "string-to-key parameters") from None

    def facts(self) -> Mapping[str, object]:
        """Name the encryption type of the password's key."""
        return {} if self._etype is None else {"key_etype": int(self._etype)}


def _check_kdc_challenge(reply: AsRep, key: ProtocolKey) -> None:
    """Check that the KDC knows the password as well: the client MUST (RFC 6113 5.4.6)."""
    kind = PaType.ENCRYPTED_CHALLENGE
    value = next((p.padata_value for p in reply.padata or () if p.padata_type == kind), b"")
    try:
        sealed = asn1.decode(EncryptedData, value)
        asn1.decode(PaEncTsEnc, decrypt(key, KeyUsage.ENC_CHALLENGE_KDC, sealed.cipher))
    except (PkiError, CryptoError):
        raise ClientError(ClientFault.KDC_NOT_TRUSTED, "the KDC's encrypted challenge") from None


def _choose(body: KdcReqBody, infos: tuple[EtypeInfo2Entry, ...]) -> EtypeInfo2Entry:
    """Take the KDC's most preferred entry that we asked for (RFC 4120 5.2.7.5)."""
    for info in infos:
        if info.etype in body.etype:
            return info
    if infos:
        raise ClientError(ClientFault.BAD_PARAMETERS, "no encryption type in common")
    return EtypeInfo2Entry(etype=body.etype[0])


def decode_etype_info2(value: bytes) -> tuple[EtypeInfo2Entry, ...]:
    """Decode an ETYPE-INFO2. Raises ClientError(MALFORMED)."""
    try:
        return asn1.decode_as(ETYPE_INFO2, value)
    except PkiError:
        raise ClientError(ClientFault.MALFORMED, "ETYPE-INFO2") from None
