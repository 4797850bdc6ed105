"""MS-KKDCP: the message in which Kerberos messages travel over HTTPS."""

from pki import asn1


@asn1.sequence
class KdcProxyMessage:
    """KDC-PROXY-MESSAGE ::= SEQUENCE {

    kerb-message [0] OCTET STRING, target-domain [1] KERB-REALM OPTIONAL,
    dclocator-hint [2] INTEGER OPTIONAL }
    Source: MS-KKDCP 2.2.2.
    """

    kerb_message: bytes = asn1.explicit(0, asn1.OCTET_STRING)
    """A Kerberos message with its length in front: four octets, big-endian (RFC 4120 7.2.2)."""
    target_domain: str | None = asn1.explicit(1, asn1.GENERAL_STRING, default=None)
    """The realm the message is for; compared without regard to case. Absent in a reply."""
    dclocator_hint: int | None = asn1.explicit(2, asn1.NONCE, default=None)
    """Flags of MS-NRPC 3.5.4.3.1: which domain controller to look for. We are the only one."""
