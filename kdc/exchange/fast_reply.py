"""FAST, the way back (RFC 6113 5.4.3, 5.4.4): what goes through the tunnel to the client."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from kdc.crypto.etypes import (
    CHECKSUM_TYPES,
    CONFOUNDER_BYTES,
    KEY_BYTES,
    KeyUsage,
    ProtocolKey,
    encrypt,
    make_checksum,
)
from kdc.exchange.fast import Tunnel
from kdc.exchange.realm import Entropy
from kdc.wire.constants import PaType
from kdc.wire.ms_kile import KerbErrorData
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    TYPED_DATA,
    Checksum,
    EncryptedData,
    EncryptionKey,
    KrbError,
    PaData,
    PrincipalName,
)
from kdc.wire.rfc6113 import (
    ANONYMOUS,
    ANONYMOUS_REALM,
    KrbFastArmoredRep,
    KrbFastFinished,
    KrbFastResponse,
    encode_pa_fx_fast_reply,
)
from pki import asn1
from pki.errors import PkiError


def make_strengthen_key(reply_key: ProtocolKey, entropy: Entropy) -> ProtocolKey:
    """Draw a strengthen-key: of the type of the reply key that it strengthens (5.4.3)."""
    return ProtocolKey(reply_key.enctype, entropy(KEY_BYTES[reply_key.enctype]))


def seal_fast_reply(
    armor_key: ProtocolKey,
    tunnel: Tunnel,
    *,
    padata: tuple[PaData, ...],
    strengthen_key: ProtocolKey,
    ticket: bytes,
    crealm: str,
    cname: PrincipalName,
    now: datetime,
    entropy: Entropy,
) -> PaData:
    """Make the PA-FX-FAST of an AS-REP or TGS-REP.

    padata: what the reply would carry without FAST. ticket: DER of the Ticket in the reply.
    crealm, cname: the client's own, also when they are hidden outside.
    """
    mac = make_checksum(armor_key, KeyUsage.FAST_FINISHED, ticket)
    finished = KrbFastFinished(
        timestamp=now.replace(microsecond=0),
        usec=now.microsecond,
        crealm=crealm,
        cname=cname,
        ticket_checksum=Checksum(cksumtype=CHECKSUM_TYPES[armor_key.enctype], checksum=mac),
    )
    response = KrbFastResponse(
        padata=padata,
        strengthen_key=EncryptionKey(keytype=strengthen_key.enctype, keyvalue=strengthen_key.value),
        finished=finished,
        nonce=tunnel.nonce,
    )
    return _seal(response, armor_key, entropy)


def fast_error(error: KrbError, tunnel: Tunnel, entropy: Entropy) -> KrbError:
    """Put a refusal into the tunnel, if there is one: PA-FX-ERROR and the padata of its e-data.

    The outer KRB-ERROR says the same but for its e-data (5.4.4). TYPED-DATA become padata of the
    same numbers, for they share one registry; so does KERB-ERROR-DATA, as in Windows.
    """
    armor_key = tunnel.armor_key
    if armor_key is None:
        return error
    if tunnel.hide_client:
        error = replace(error, crealm=ANONYMOUS_REALM, cname=ANONYMOUS)
    inner = PaData(
        padata_type=PaType.FX_ERROR, padata_value=asn1.encode(replace(error, e_data=None))
    )
    response = KrbFastResponse(padata=(*_elements(error.e_data), inner), nonce=tunnel.nonce)
    outer = (_seal(response, armor_key, entropy),)
    return replace(error, e_data=asn1.encode_as(METHOD_DATA, outer))


def _elements(e_data: bytes | None) -> tuple[PaData, ...]:
    """Return our own e-data as padata: METHOD-DATA, TYPED-DATA or KERB-ERROR-DATA."""
    if e_data is None:
        return ()
    with suppress(PkiError):
        return asn1.decode_as(METHOD_DATA, e_data)
    with suppress(PkiError):
        return tuple(
            PaData(padata_type=element.data_type, padata_value=element.data_value or b"")
            for element in asn1.decode_as(TYPED_DATA, e_data)
        )
    extended = asn1.decode(KerbErrorData, e_data)
    return (PaData(padata_type=extended.data_type, padata_value=extended.data_value or b""),)


def _seal(response: KrbFastResponse, armor_key: ProtocolKey, entropy: Entropy) -> PaData:
    cipher = encrypt(armor_key, KeyUsage.FAST_REP, asn1.encode(response), entropy(CONFOUNDER_BYTES))
    sealed = EncryptedData(etype=armor_key.enctype, cipher=cipher)
    value = encode_pa_fx_fast_reply(KrbFastArmoredRep(enc_fast_rep=sealed))
    return PaData(padata_type=PaType.FX_FAST, padata_value=value)
