"""RFC 6113 5.1: PRF+ and KRB-FX-CF2, which makes one key of two; and the keys that FAST makes so.

The peppers are those of 5.4.1.1, 5.4.3 and 5.4.6; that of an explicit armor in a TGS-REQ is
Windows' (MS-KILE 3.3.5.7.4 and Samba's tests, which were checked against Windows).
"""

from kdc.crypto.etypes import KEY_BYTES, ProtocolKey, prf, random_to_key

MAX_COUNTER = 255  # it is one octet


def prf_plus(key: ProtocolKey, shared_info: bytes, size: int) -> bytes:
    """Return `size` octets of PRF+(key, shared_info)."""
    out = b""
    counter = 0
    while len(out) < size:
        counter += 1
        if counter > MAX_COUNTER:
            raise ValueError("more octets than PRF+ gives")
        out += prf(key, bytes((counter,)) + shared_info)
    return out[:size]


def krb_fx_cf2(k1: ProtocolKey, k2: ProtocolKey, pepper1: bytes, pepper2: bytes) -> ProtocolKey:
    """Return KRB-FX-CF2(k1, k2, pepper1, pepper2): a key of k1's encryption type.

    The encryption types may differ. The peppers must differ, or equal keys would give zeros.
    """
    size = KEY_BYTES[k1.enctype]
    first = int.from_bytes(prf_plus(k1, pepper1, size), "big")
    second = int.from_bytes(prf_plus(k2, pepper2, size), "big")
    return random_to_key(k1.enctype, (first ^ second).to_bytes(size, "big"))


def ticket_armor_key(subkey: ProtocolKey, session_key: ProtocolKey) -> ProtocolKey:
    """Return the armor key of an AP-REQ: of FX_FAST_ARMOR_AP_REQUEST or of a PA-TGS-REQ."""
    return krb_fx_cf2(subkey, session_key, b"subkeyarmor", b"ticketarmor")


def explicit_tgs_armor_key(armor_key: ProtocolKey, subkey: ProtocolKey) -> ProtocolKey:
    """Return the armor key of a TGS-REQ that brings an armor ticket of its own.

    armor_key: of that ticket. subkey: the PA-TGS-REQ's.
    """
    return krb_fx_cf2(armor_key, subkey, b"explicitarmor", b"tgsarmor")


def client_challenge_key(armor_key: ProtocolKey, long_term: ProtocolKey) -> ProtocolKey:
    """Return the key of the client's encrypted challenge."""
    return krb_fx_cf2(armor_key, long_term, b"clientchallengearmor", b"challengelongterm")


def kdc_challenge_key(armor_key: ProtocolKey, long_term: ProtocolKey) -> ProtocolKey:
    """Return the key of the KDC's encrypted challenge."""
    return krb_fx_cf2(armor_key, long_term, b"kdcchallengearmor", b"challengelongterm")


def strengthened_reply_key(strengthen_key: ProtocolKey, reply_key: ProtocolKey) -> ProtocolKey:
    """Return the reply key, strengthened by the key that the KDC chose."""
    return krb_fx_cf2(strengthen_key, reply_key, b"strengthenkey", b"replykey")
