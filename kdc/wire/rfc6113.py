"""RFC 6113: FAST, the armored request and reply, and the encrypted challenge.

The types end in "..." in their ASN.1: fields of later documents are skipped.
"""

from datetime import datetime
from typing import Final

from kdc.wire.constants import NameType
from kdc.wire.rfc4120 import (
    METHOD_DATA,
    Checksum,
    EncryptedData,
    EncryptionKey,
    KdcReqBody,
    PaData,
    PrincipalName,
)
from pki import asn1, der
from pki.errors import DerFault

FX_FAST_ARMOR_AP_REQUEST = 1
"""The one armor-type there is: armor-value is an AP-REQ (5.4.1.1)."""

EncryptedChallenge = EncryptedData
"""EncryptedChallenge ::= EncryptedData -- PA-ENC-TS-ENC, in a key of armor and password (5.4.6)."""

ANONYMOUS_REALM = "WELLKNOWN:ANONYMOUS"
ANONYMOUS = PrincipalName(name_type=NameType.WELLKNOWN, name_string=("WELLKNOWN", "ANONYMOUS"))
"""Who the client is called when its name is hidden (RFC 8062 section 3)."""

_ARMORED_DATA = 0xA0


class FastOption:
    """fast-options bits as masks of the 32-bit value (5.4.2)."""

    HIDE_CLIENT_NAMES: Final = 1 << 30
    CRITICAL: Final = 0x7FFF0000
    """Bits 1 to 15: a KDC that does not know one of them MUST refuse the request."""


@asn1.sequence(extensible=True)
class KrbFastArmor:
    """KrbFastArmor ::= SEQUENCE { armor-type [0] Int32, armor-value [1] OCTET STRING, ... }."""

    armor_type: int = asn1.explicit(0, asn1.INT32)
    armor_value: bytes = asn1.explicit(1, asn1.OCTET_STRING)


@asn1.sequence(extensible=True)
class KrbFastArmoredReq:
    """KrbFastArmoredReq ::= SEQUENCE {

    armor [0] KrbFastArmor OPTIONAL, req-checksum [1] Checksum,
    enc-fast-req [2] EncryptedData -- KrbFastReq --, ... }
    """

    armor: KrbFastArmor | None = asn1.explicit(0, asn1.nested(KrbFastArmor), default=None)
    req_checksum: Checksum = asn1.explicit(1, asn1.nested(Checksum))
    enc_fast_req: EncryptedData = asn1.explicit(2, asn1.nested(EncryptedData))


@asn1.sequence(extensible=True)
class KrbFastReq:
    """KrbFastReq ::= SEQUENCE {

    fast-options [0] FastOptions, padata [1] SEQUENCE OF PA-DATA, req-body [2] KDC-REQ-BODY, ... }
    """

    fast_options: int = asn1.explicit(0, asn1.FLAGS32)
    padata: tuple[PaData, ...] = asn1.explicit(1, METHOD_DATA)
    req_body: KdcReqBody = asn1.explicit(2, asn1.nested(KdcReqBody))


@asn1.sequence(extensible=True)
class KrbFastArmoredRep:
    """KrbFastArmoredRep ::= SEQUENCE { enc-fast-rep [0] EncryptedData -- KrbFastResponse --, ... }.

    The key is the request's armor key.
    """

    enc_fast_rep: EncryptedData = asn1.explicit(0, asn1.nested(EncryptedData))


@asn1.sequence(extensible=True)
class KrbFastFinished:
    """KrbFastFinished ::= SEQUENCE {

    timestamp [0] KerberosTime, usec [1] Microseconds, crealm [2] Realm, cname [3] PrincipalName,
    ticket-checksum [4] Checksum, ... }
    """

    timestamp: datetime = asn1.explicit(0, asn1.GENERALIZED_TIME)
    usec: int = asn1.explicit(1, asn1.MICROSECONDS)
    crealm: str = asn1.explicit(2, asn1.GENERAL_STRING)
    cname: PrincipalName = asn1.explicit(3, asn1.nested(PrincipalName))
    ticket_checksum: Checksum = asn1.explicit(4, asn1.nested(Checksum))


@asn1.sequence(extensible=True)
class KrbFastResponse:
    """KrbFastResponse ::= SEQUENCE {

    padata [0] SEQUENCE OF PA-DATA, strengthen-key [1] EncryptionKey OPTIONAL,
    finished [2] KrbFastFinished OPTIONAL, nonce [3] UInt32, ... }
    """

    padata: tuple[PaData, ...] = asn1.explicit(0, METHOD_DATA)
    strengthen_key: EncryptionKey | None = asn1.explicit(
        1, asn1.nested(EncryptionKey), default=None
    )
    finished: KrbFastFinished | None = asn1.explicit(2, asn1.nested(KrbFastFinished), default=None)
    nonce: int = asn1.explicit(3, asn1.NONCE)
    """UInt32; like the request's own, which it repeats, deployed clients send it as an Int32."""


def _armored_data(data: bytes, name: str) -> bytes:
    start, end = der.open_tlv(data, _ARMORED_DATA)
    if start == end:
        der.fail(DerFault.MISSING_FIELD, f"{name}.armored-data")
    return data[start:end]


def decode_pa_fx_fast_request(data: bytes) -> KrbFastArmoredReq:
    """Decode PA-FX-FAST-REQUEST ::= CHOICE { armored-data [0] KrbFastArmoredReq, ... }.

    Raises PkiError.
    """
    return asn1.decode(KrbFastArmoredReq, _armored_data(data, "PA-FX-FAST-REQUEST"))


def encode_pa_fx_fast_request(request: KrbFastArmoredReq) -> bytes:
    """Encode PA-FX-FAST-REQUEST."""
    return der.tlv(_ARMORED_DATA, asn1.encode(request))


def decode_pa_fx_fast_reply(data: bytes) -> KrbFastArmoredRep:
    """Decode PA-FX-FAST-REPLY ::= CHOICE { armored-data [0] KrbFastArmoredRep, ... }.

    Raises PkiError.
    """
    return asn1.decode(KrbFastArmoredRep, _armored_data(data, "PA-FX-FAST-REPLY"))


def encode_pa_fx_fast_reply(reply: KrbFastArmoredRep) -> bytes:
    """Encode PA-FX-FAST-REPLY."""
    return der.tlv(_ARMORED_DATA, asn1.encode(reply))
