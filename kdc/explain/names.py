"""Numbers and object identifiers by their names, and fields by the names their documents use."""

from enum import IntEnum

from kdc.config_values import enctype_name
from kdc.crypto import pkinit_kdf
from kdc.crypto.key_agreement import EC_GROUPS
from kdc.wire import rfc4556
from kdc.wire.constants import (
    ErrorCode,
    KdcOption,
    MessageType,
    NameType,
    PaType,
    TicketFlag,
    TypedData,
)
from kdc.wire.rfc3244 import CHANGE_PASSWORD, SET_PASSWORD
from pki import oids

OTHER_ENCTYPES = {
    1: "des-cbc-crc",
    3: "des-cbc-md5",
    16: "des3-cbc-sha1",
    23: "rc4-hmac",
    24: "rc4-hmac-exp",
    25: "camellia128-cts-cmac",
    26: "camellia256-cts-cmac",
    -128: "rc4-md4",
    -133: "rc4-hmac-old",
    -135: "rc4-hmac-old-exp",
}
"""Encryption types that exist on the wire and not here."""

OTHER_PADATA = {
    5: "PA-ENC-UNIX-TIME",
    10: "PA-AFS3-SALT",
    139: "PA-OTP-CHALLENGE",
    141: "PA-OTP-REQUEST",
    151: "PA-SPAKE",
}

ADDRESS_TYPES = {2: "IPv4", 20: "NetBIOS", 24: "IPv6"}

# Spellings that no rule makes out of the snake_case of a field.
_FIELDS = {
    "supported_cms_types": "supportedCMSTypes",
    "client_dh_nonce": "clientDHNonce",
    "server_dh_nonce": "serverDHNonce",
    "supported_kdfs": "supportedKDFs",
    "kdf_id": "kdf-id",
    "issuer_unique_id": "issuerUniqueID",
    "subject_unique_id": "subjectUniqueID",
    "extn_id": "extnID",
    "algorithm_id": "algorithmID",
    "as_req": "as-REQ",
    "pk_as_rep": "pk-as-rep",
    "include_pac": "include-pac",
    "name_type": "name-type",
    "name_string": "name-string",
    "user_name": "userName",
    "user_realm": "userRealm",
}
_HYPHENATED = frozenset(
    ("kdc.wire.rfc4120", "kdc.wire.rfc6113", "kdc.wire.ms_kile", "kdc.wire.ms_sfu")
)
"""Modules whose documents write `req-body`; all others write `reqBody`."""

_OID_NAMES = {
    oids.ID_DATA: "id-data",
    oids.ID_SIGNED_DATA: "id-signedData",
    oids.ID_ENVELOPED_DATA: "id-envelopedData",
    oids.ID_CONTENT_TYPE: "id-contentType",
    oids.ID_MESSAGE_DIGEST: "id-messageDigest",
    oids.ID_SIGNING_TIME: "id-signingTime",
    oids.ID_PKINIT_AUTH_DATA: "id-pkinit-authData",
    oids.ID_PKINIT_DH_KEY_DATA: "id-pkinit-DHKeyData",
    oids.ID_PKINIT_RKEY_DATA: "id-pkinit-rkeyData",
    oids.ID_PKINIT_KP_CLIENT_AUTH: "id-pkinit-KPClientAuth",
    oids.ID_PKINIT_KP_KDC: "id-pkinit-KPKdc",
    oids.ID_PKINIT_SAN: "id-pkinit-san",
    oids.MD5: "id-md5",
    oids.SHA1: "id-sha1",
    oids.SHA256: "id-sha256",
    oids.SHA384: "id-sha384",
    oids.SHA512: "id-sha512",
    oids.RSA_ENCRYPTION: "rsaEncryption",
    oids.MD5_WITH_RSA: "md5WithRSAEncryption",
    oids.SHA1_WITH_RSA: "sha1WithRSAEncryption",
    oids.ID_MGF1: "id-mgf1",
    oids.RSASSA_PSS: "id-RSASSA-PSS",
    oids.SHA256_WITH_RSA: "sha256WithRSAEncryption",
    oids.SHA384_WITH_RSA: "sha384WithRSAEncryption",
    oids.SHA512_WITH_RSA: "sha512WithRSAEncryption",
    oids.EC_PUBLIC_KEY: "id-ecPublicKey",
    oids.ECDSA_WITH_SHA1: "ecdsa-with-SHA1",
    oids.ECDSA_WITH_SHA256: "ecdsa-with-SHA256",
    oids.ECDSA_WITH_SHA384: "ecdsa-with-SHA384",
    oids.ECDSA_WITH_SHA512: "ecdsa-with-SHA512",
    oids.ID_CE_SUBJECT_KEY_IDENTIFIER: "subjectKeyIdentifier",
    oids.ID_CE_KEY_USAGE: "keyUsage",
    oids.ID_CE_SUBJECT_ALT_NAME: "subjectAltName",
    oids.ID_CE_BASIC_CONSTRAINTS: "basicConstraints",
    oids.ID_CE_CRL_DISTRIBUTION_POINTS: "cRLDistributionPoints",
    oids.ID_CE_AUTHORITY_KEY_IDENTIFIER: "authorityKeyIdentifier",
    oids.ID_CE_EXT_KEY_USAGE: "extKeyUsage",
    oids.ID_KP_SERVER_AUTH: "id-kp-serverAuth",
    oids.ID_KP_CLIENT_AUTH: "id-kp-clientAuth",
    oids.ID_MS_KP_SMARTCARD_LOGON: "smartcardLogon (Microsoft)",
    oids.ID_MS_SID_EXTENSION: "szOID_NTDS_CA_SECURITY_EXT (Microsoft)",
    rfc4556.DH_PUBLIC_NUMBER: "dhpublicnumber",
    pkinit_kdf.ID_PKINIT_KDF_AH_SHA1: "id-pkinit-kdf-ah-sha1",
    pkinit_kdf.ID_PKINIT_KDF_AH_SHA256: "id-pkinit-kdf-ah-sha256",
    pkinit_kdf.ID_PKINIT_KDF_AH_SHA384: "id-pkinit-kdf-ah-sha384",
    pkinit_kdf.ID_PKINIT_KDF_AH_SHA512: "id-pkinit-kdf-ah-sha512",
    **{group.curve_oid: f"{group.name[0].upper()}-{group.name[1:]}" for group in EC_GROUPS},
    "1.2.840.10045.3.1.1": "P-192",
    "1.3.132.0.10": "secp256k1",
    "1.3.132.0.33": "P-224",
    "1.2.840.113549.1.3.1": "dhKeyAgreement",
    "1.2.840.113549.3.7": "des-ede3-cbc",
    "1.2.840.113549.3.2": "rc2-cbc",
    "1.2.840.113549.1.9.15": "smimeCapabilities",
    oids.ID_CE_NAME_CONSTRAINTS: "nameConstraints",
    oids.ID_CE_CERTIFICATE_POLICIES: "certificatePolicies",
    oids.ID_CE_POLICY_CONSTRAINTS: "policyConstraints",
    oids.ID_CE_FRESHEST_CRL: "freshestCRL",
    oids.ID_PE_AUTHORITY_INFO_ACCESS: "authorityInfoAccess",
    "1.3.6.1.4.1.311.21.7": "certificateTemplate (Microsoft)",
    "1.3.6.1.4.1.311.21.10": "applicationPolicies (Microsoft)",
    "1.3.6.1.4.1.311.20.2": "enrollCerttype (Microsoft)",
}

_TYPES = {
    "PaData": "PA-DATA",
    "EtypeInfo2Entry": "ETYPE-INFO2-ENTRY",
    "TypedDataElement": "TYPED-DATA",
    "KdfAlgorithmId": "KDFAlgorithmId",
    "AuthorizationDataElement": "AuthorizationData",
    "LastReqEntry": "LastReq",
}
"""Declared types of lists, as their documents spell them; others are spelled as in Python."""


def type_name(declared: str) -> str:
    """Give the ASN.1 name of a declared type."""
    return _TYPES.get(declared, declared)


def _camel(snake: str) -> str:
    head, *rest = snake.split("_")
    return head + "".join(part.capitalize() for part in rest)


def field_name(module: str, field: str) -> str:
    """Give a field's ASN.1 name from its name in the declared type of `module`."""
    if field in _FIELDS:
        return _FIELDS[field]
    plain = field.rstrip("_")
    return plain.replace("_", "-") if module in _HYPHENATED else _camel(plain)


def oid_name(dotted: str) -> str:
    """Name an object identifier, with its dotted form; the dotted form alone when unknown."""
    known = _OID_NAMES.get(dotted)
    return dotted if known is None else f"{known} ({dotted})"


def oid_short(dotted: str) -> str:
    """Name an object identifier in one word."""
    return _OID_NAMES.get(dotted, dotted)


def etype_text(etype: int) -> str:
    """Name an encryption type: `18 aes256-cts-hmac-sha1-96`."""
    name = enctype_name(etype)
    if name == str(etype):
        name = OTHER_ENCTYPES.get(etype, "unknown")
    return f"{etype} {name}"


def padata_name(pa_type: int) -> str:
    """Name a padata type: `PA-PK-AS-REQ`."""
    try:
        return "PA-" + PaType(pa_type).name.replace("_", "-")
    except ValueError:
        return OTHER_PADATA.get(pa_type, "unknown")


def enum_text(kind: type[IntEnum], value: int, prefix: str = "") -> str:
    """Write a number with its name, as its document spells it where there are hyphens."""
    try:
        return f"{value} {prefix}{kind(value).name.replace('_', '-')}"
    except ValueError:
        return f"{value} (unknown)"


def error_text(code: int) -> str:
    """Write an error code with its name: `62 KDC_ERR_CLIENT_NOT_TRUSTED`."""
    try:
        return f"{code} {ErrorCode(code).name}"
    except ValueError:
        return f"{code} (unknown)"


def message_type_text(value: int) -> str:
    """Write a msg-type with its name."""
    return enum_text(MessageType, value)


def name_type_text(value: int) -> str:
    """Write a name-type with its name."""
    return enum_text(NameType, value, "NT-")


def typed_data_text(value: int) -> str:
    """Write the type of a TYPED-DATA element with its name."""
    return enum_text(TypedData, value, "TD-")


def padata_text(value: int) -> str:
    """Write a padata type with its name."""
    return f"{value} {padata_name(value)}"


def address_type_text(value: int) -> str:
    """Write the type of a HostAddress with its name."""
    return f"{value} {ADDRESS_TYPES.get(value, '(unknown)')}"


def _flag_names(kind: type[object]) -> dict[int, str]:
    return {
        bit: name.lower().replace("_", "-") for name, bit in vars(kind).items() if name.isupper()
    }


_OPTIONS = _flag_names(KdcOption)
_FLAGS = _flag_names(TicketFlag)


def _flags_text(value: int, known: dict[int, str]) -> str:
    bits = [bit for bit in range(31, -1, -1) if value >> bit & 1]
    names = [known.get(1 << bit, f"bit {31 - bit}") for bit in bits]
    return f"{value:#010x}" + (f" {', '.join(names)}" if names else "")


def options_text(value: int) -> str:
    """Write kdc-options: the number and the names of the bits that are set."""
    return _flags_text(value, _OPTIONS)


def ticket_flags_text(value: int) -> str:
    """Write ticket flags: the number and the names of the bits that are set."""
    return _flags_text(value, _FLAGS)


def kpasswd_version_text(version: int) -> str:
    """Name a protocol version of kpasswd: `0xff80 (set-password)`."""
    known = {CHANGE_PASSWORD: "change-password", SET_PASSWORD: "set-password"}
    return f"{version:#06x} ({known.get(version, 'unknown')})"
