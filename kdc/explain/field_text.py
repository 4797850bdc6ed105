"""How the values of single fields are written, where their type alone does not say it."""

from collections.abc import Mapping

from kdc.explain import names
from kdc.explain.keys import key_text
from kdc.explain.reader import Text
from kdc.explain.redact import is_blank
from kdc.explain.text import count, escape, quoted
from kdc.explain.values import octets, show, time_text
from kdc.wire import rfc6113
from pki import der
from pki.keys import public_key_from_spki
from pki.x500 import decode_name, render_rfc4514

UTC_TIME = 0x17


def oid_text(data: bytes) -> str:
    """Write the content of an OBJECT IDENTIFIER. Raises PkiError."""
    return names.oid_name(der.decode_oid(data, 0, len(data)))


def element_time_text(element: bytes) -> str:
    """Write a UTCTime or GeneralizedTime. Raises PkiError."""
    tag, start, end = der.read_tlv(element)
    raw = element[start:end]
    if tag == UTC_TIME:
        raw = (b"19" if raw[:1] >= b"5" else b"20") + raw
    return time_text(der.decode_generalized_time(raw, 0, len(raw)))


def name_text(element: bytes) -> str:
    """Write a Name of X.500. Raises PkiError."""
    return escape(render_rfc4514(decode_name(element)), 200) or "(empty)"


def spki_text(element: bytes) -> str:
    """Write a SubjectPublicKeyInfo. Raises PkiError."""
    return key_text(public_key_from_spki(element))


def _cipher(value: bytes) -> str:
    if is_blank(value):
        return f"({count(len(value), 'octet')}, blanked before it was recorded)"
    # Not even a part: nothing of it should end in a bug report.
    return f"({count(len(value), 'octet')}, encrypted)"


def _digest(value: bytes) -> str:
    return value.hex() if len(value) <= 64 else octets(value)


def _serial(value: int) -> str:
    return f"{value:#x}" if value.bit_length() <= 512 else show(value)


def _version(value: int) -> str:
    return f"v{value + 1}"


def _armor_type(value: int) -> str:
    known = value == rfc6113.FX_FAST_ARMOR_AP_REQUEST
    return f"{value} FX_FAST_ARMOR_AP_REQUEST" if known else f"{value}"


def _address(value: bytes) -> str:
    if len(value) == 4:
        return ".".join(map(str, value))
    return quoted(value.decode("latin-1").strip()) if len(value) == 16 else octets(value)


TEXTS: Mapping[tuple[str, str], Text] = {
    ("AsReq", "msg_type"): names.message_type_text,
    ("AsRep", "msg_type"): names.message_type_text,
    ("TgsReq", "msg_type"): names.message_type_text,
    ("TgsRep", "msg_type"): names.message_type_text,
    ("ApReq", "msg_type"): names.message_type_text,
    ("KrbError", "msg_type"): names.message_type_text,
    ("KrbError", "error_code"): names.error_text,
    ("PaData", "padata_type"): names.padata_text,
    ("TypedDataElement", "data_type"): names.typed_data_text,
    ("PrincipalName", "name_type"): names.name_type_text,
    ("KdcReqBody", "kdc_options"): names.options_text,
    ("KdcReqBody", "etype"): names.etype_text,
    ("EncryptedData", "etype"): names.etype_text,
    ("EncryptedData", "cipher"): _cipher,
    ("EtypeInfo2Entry", "etype"): names.etype_text,
    ("HostAddress", "addr_type"): names.address_type_text,
    ("HostAddress", "address"): _address,
    ("AlgorithmIdentifier", "algorithm"): names.oid_name,
    ("ContentInfo", "content_type"): names.oid_name,
    ("EncapsulatedContentInfo", "e_content_type"): names.oid_name,
    ("Attribute", "attr_type"): names.oid_name,
    ("Extension", "extn_id"): names.oid_name,
    ("KdfAlgorithmId", "kdf_id"): names.oid_name,
    ("PkAuthenticator", "pa_checksum"): _digest,
    ("PaChecksum2", "checksum"): _digest,
    ("KrbFastArmor", "armor_type"): _armor_type,
    ("TbsCertificate", "version"): _version,
    ("TbsCertificate", "serial_number"): _serial,
    ("IssuerAndSerialNumber", "serial_number"): _serial,
}
"""(type, field) -> how its value is written; see `Schema.texts`."""
