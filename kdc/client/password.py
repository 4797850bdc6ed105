"""Logging on with a password: PA-ENC-TIMESTAMP and ETYPE-INFO2 (RFC 4120 5.2.7)."""

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
    encrypt,
    iterations_of,
    string_to_key,
)
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
    pa_type = int(PaType.ENC_TIMESTAMP)
    asks_first = True

    def __init__(self, password: str) -> None:
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
        """Encrypt the time in the key of the password (PA-ENC-TIMESTAMP)."""
        key = self._key(body, _choose(body, hints.etype_info2))
        self._etype = key.enctype
        stamp = PaEncTsEnc(patimestamp=now.replace(microsecond=0), pausec=now.microsecond)
        cipher = encrypt(
            key, KeyUsage.PA_ENC_TIMESTAMP, asn1.encode(stamp), entropy(CONFOUNDER_BYTES)
        )
        value = asn1.encode(EncryptedData(etype=int(key.enctype), cipher=cipher))
        return (PaData(padata_type=PaType.ENC_TIMESTAMP, padata_value=value),)

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
