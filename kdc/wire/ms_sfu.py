"""MS-SFU 2.2: the pre-authentication data of S4U2Self. S4U2Proxy needs none but MS-KILE's."""

from typing import Final

from kdc.wire.rfc4120 import Checksum, PrincipalName
from pki import asn1


class S4UOption:
    """Bits of S4UUserID.options as masks of the 32-bit value (MS-SFU 2.2.2)."""

    LOGON_HOURS: Final = 1 << 30
    USE_REPLY_KEY_USAGE: Final = 1 << 29


@asn1.sequence
class PaForUser:
    """PA-FOR-USER-ENC ::= SEQUENCE {

    userName [0] PrincipalName, userRealm [1] Realm, cksum [2] Checksum,
    auth-package [3] KerberosString } (MS-SFU 2.2.1)
    """

    user_name: PrincipalName = asn1.explicit(0, asn1.nested(PrincipalName))
    user_realm: str = asn1.explicit(1, asn1.GENERAL_STRING)
    cksum: Checksum = asn1.explicit(2, asn1.nested(Checksum))
    auth_package: str = asn1.explicit(3, asn1.GENERAL_STRING)

    def checked_octets(self) -> bytes:
        """Return S4UByteArray, what the checksum covers (MS-SFU 2.2.1).

        It is the name's type (32 bits, little-endian), then its parts, realm and package, with
        nothing between them.
        """
        texts = (*self.user_name.name_string, self.user_realm, self.auth_package)
        head = (self.user_name.name_type & 0xFFFFFFFF).to_bytes(4, "little")
        return head + b"".join(asn1.GENERAL_STRING.write(text) for text in texts)


@asn1.sequence(extensible=True)
class S4UUserId:
    """S4UUserID ::= SEQUENCE {

    nonce [0] UInt32, cname [1] PrincipalName OPTIONAL, crealm [2] Realm,
    subject-certificate [3] OCTET STRING OPTIONAL, options [4] BIT STRING OPTIONAL, ... }
    """

    nonce: int = asn1.explicit(0, asn1.NONCE)
    cname: PrincipalName | None = asn1.explicit(1, asn1.nested(PrincipalName), default=None)
    crealm: str = asn1.explicit(2, asn1.GENERAL_STRING)
    subject_certificate: bytes | None = asn1.explicit(3, asn1.OCTET_STRING, default=None)
    options: int | None = asn1.explicit(4, asn1.FLAGS32, default=None)
    raw: bytes = asn1.received()
    """As it arrived: what the checksum covers."""


@asn1.sequence
class PaS4UX509User:
    """PA-S4U-X509-USER ::= SEQUENCE {

    user-id [0] S4UUserID, checksum [1] Checksum } (MS-SFU 2.2.2)
    """

    user_id: S4UUserId = asn1.explicit(0, asn1.nested(S4UUserId))
    checksum: Checksum = asn1.explicit(1, asn1.nested(Checksum))
