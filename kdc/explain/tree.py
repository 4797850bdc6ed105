"""A message as a named tree: every field with its ASN.1 name and its value in human form.

The whole of it: down to AuthPack, SignedData, SignerInfo and the certificates. Rules and method
stand in `kdc.explain.reader`; here are the tables: what is inside an OCTET STRING or an ANY, and
how a value is written.
"""

from collections.abc import Callable, Mapping
from types import ModuleType

from kdc.crypto.key_agreement import match_domain_parameters
from kdc.explain import names
from kdc.explain.extension_text import CA_EXTENSIONS
from kdc.explain.keys import key_text
from kdc.explain.reader import (
    Content,
    Element,
    Node,
    Reader,
    Schema,
    Text,
    octets,
    show,
    time_text,
)
from kdc.explain.redact import is_blank
from kdc.explain.text import count, escape, quoted
from kdc.wire import ms_kile, ms_sfu, rfc4120, rfc4556, rfc6113
from kdc.wire.constants import ErrorCode, MessageType, PaType, TypedData
from pki import asn1, certificate, cms_syntax, der, oids
from pki.certificate import CertificateSyntax
from pki.errors import PkiError
from pki.keys import public_key_from_spki
from pki.names import decode_sid_extension, decode_subject_alt_name
from pki.x500 import decode_name, render_rfc4514

MAX_MESSAGE_BYTES = 1024 * 1024
_UTC_TIME = 0x17
_PADATA_TYPE = 0xA1  # the first field of PA-DATA; that of TYPED-DATA is [0]
_AS_REQ, _TGS_REQ = (bytes((0x60 | kind,)) for kind in (MessageType.AS_REQ, MessageType.TGS_REQ))
_KEY_USAGES = (
    "digitalSignature",
    "nonRepudiation",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "keyCertSign",
    "cRLSign",
    "encipherOnly",
    "decipherOnly",
)


@asn1.sequence
class Extension:
    """Extension ::= SEQUENCE { extnID OID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }

    As pki.certificate reads it: an explicit FALSE is no DER, but old issuers wrote it.
    """

    extn_id: str = asn1.plain(asn1.OID)
    critical: bool | None = asn1.plain(asn1.BOOLEAN, default=None)
    extn_value: bytes = asn1.plain(asn1.OCTET_STRING)


_MESSAGES: Mapping[int, tuple[str, type]] = {
    0x60 | MessageType.AS_REQ: ("AS-REQ", rfc4120.AsReq),
    0x60 | MessageType.AS_REP: ("AS-REP", rfc4120.AsRep),
    0x60 | MessageType.TGS_REQ: ("TGS-REQ", rfc4120.TgsReq),
    0x60 | MessageType.TGS_REP: ("TGS-REP", rfc4120.TgsRep),
    0x60 | MessageType.AP_REQ: ("AP-REQ", rfc4120.ApReq),
    0x60 | MessageType.KRB_ERROR: ("KRB-ERROR", rfc4120.KrbError),
}


def message_name(message: bytes) -> str:
    """Name the kind of a message by its first octet; "" when it is none of Kerberos' own."""
    known = _MESSAGES.get(message[0]) if message else None
    return "" if known is None else known[0]


def message_tree(message: bytes) -> Node:
    """Make the tree of a message. Never raises; see the rules in `kdc.explain.reader`."""
    reader = Reader(message[:MAX_MESSAGE_BYTES], SCHEMA)
    name = message_name(message) or "(no Kerberos message)"
    root = Node(name=name, value=count(len(message), "octet"), offset=0)
    reader.run(root, lambda node: _message(reader, node))
    return root


def _message(reader: Reader, root: Node) -> None:
    end = len(reader.message)
    if not end:
        root.fault = "empty"
        return
    got = reader.header(root, "(header)", 0, end)
    if got is None:
        return
    reader.blame(root, 0)
    tag, element = got
    known = _MESSAGES.get(tag)
    if known is None:
        reader.any(root, element, tag)
    else:
        reader.declared(root, known[1], element)
    if element.end != end:
        reader.fail(root, "(trailing)", element.end, "trailing data")


# -- what is inside --------------------------------------------------------------------------


def _inside(cls: type, name: str) -> Content:
    """What an OCTET STRING or ANY holds is one declared type."""

    def read(reader: Reader, node: Node, at: Element, _seen: Mapping[str, object]) -> None:
        start = at.start if reader.message[at.pos] != der.SEQUENCE else at.pos
        reader.nested(node, cls, name, start, at.end)

    return read


def _each(cls: type, name: str) -> Content:
    """A list of ANY holds elements of one declared type."""

    def one(reader: Reader, child: Node, got: Element) -> None:
        if reader.message[got.pos] == der.SEQUENCE:
            reader.declared(child, cls, got)
        else:
            child.fault = f"unexpected tag {reader.message[got.pos]:#04x}"
            reader.any(child, got)

    def read(reader: Reader, node: Node, at: Element, _seen: Mapping[str, object]) -> None:
        reader.each(node, at, lambda child, got: one(reader, child, got), name)

    return read


def _text_of(write: Callable[[bytes], str]) -> Content:
    """The content as one text; the function gets the element (ANY) or the octets."""

    def read(reader: Reader, node: Node, at: Element, _seen: Mapping[str, object]) -> None:
        whole = reader.message[at.pos] in (der.SEQUENCE, der.GENERALIZED_TIME, _UTC_TIME)
        data = reader.message[at.pos if whole else at.start : at.end]
        try:
            node.value = write(data)
        except (PkiError, IndexError) as error:
            node.fault = error.fault.value if isinstance(error, PkiError) else "truncated"
            node.value = octets(data)

    return read


def _list_at(reader: Reader, node: Node, start: int, end: int, cls: type, name: str) -> None:
    got = reader.header(node, name, start, end)
    if got is not None:
        _each(cls, name)(reader, node, got[1], {})


def _s4u_x509_user(reader: Reader, node: Node, at: Element) -> None:
    """In an AS-REQ it is the certificate itself, which begins with another SEQUENCE (MS-SFU)."""
    value = reader.message[at.start : at.end]
    header = 2 + (value[1] & 0x7F if len(value) > 1 and value[1] & 0x80 else 0)
    if value[header : header + 1] == bytes((der.SEQUENCE,)):
        reader.nested(node, CertificateSyntax, "Certificate", at.start, at.end)
    else:
        reader.nested(node, ms_sfu.PaS4UX509User, "PA-S4U-X509-USER", at.start, at.end)


def _padata_value(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    pa_type = seen.get("padata_type")
    if at.start == at.end:
        node.value = "(empty)"
    elif pa_type == PaType.PK_AS_REQ:
        reader.nested(node, rfc4556.PaPkAsReq, "PA-PK-AS-REQ", at.start, at.end)
    elif pa_type == PaType.PK_AS_REP:
        _pk_as_rep(reader, node, at)
    elif pa_type == PaType.TGS_REQ:
        reader.nested(node, rfc4120.ApReq, "AP-REQ", at.start, at.end)
    elif pa_type in (PaType.ENC_TIMESTAMP, PaType.ENCRYPTED_CHALLENGE):
        reader.nested(node, rfc4120.EncryptedData, "EncryptedData", at.start, at.end)
    elif pa_type == PaType.PAC_REQUEST:
        reader.nested(node, ms_kile.KerbPaPacRequest, "KERB-PA-PAC-REQUEST", at.start, at.end)
    elif pa_type == PaType.PAC_OPTIONS:
        reader.nested(node, ms_kile.PaPacOptions, "PA-PAC-OPTIONS", at.start, at.end)
    elif pa_type == PaType.FOR_USER:
        reader.nested(node, ms_sfu.PaForUser, "PA-FOR-USER-ENC", at.start, at.end)
    elif pa_type == PaType.S4U_X509_USER:
        _s4u_x509_user(reader, node, at)
    elif pa_type == PaType.ETYPE_INFO2:
        _list_at(reader, node, at.start, at.end, rfc4120.EtypeInfo2Entry, "ETYPE-INFO2-ENTRY")
    elif pa_type == PaType.AS_FRESHNESS:
        _freshness(reader, node, at, seen)
    elif pa_type == PaType.REQ_ENC_PA_REP:
        reader.nested(node, rfc4120.Checksum, "Checksum", at.start, at.end)
    elif pa_type == PaType.FX_FAST:
        _fx_fast(reader, node, at)
    elif pa_type == PaType.FX_ERROR:
        reader.nested(node, rfc4120.KrbError, "KRB-ERROR", at.start, at.end)
    elif reader.message[at.start] in (der.SEQUENCE, 0xA0):
        got = reader.header(node, "(element)", at.start, at.end)
        if got is not None:
            reader.any(node, got[1], got[0])
    else:
        node.value = octets(reader.message[at.start : at.end])


def _pk_as_rep(reader: Reader, node: Node, at: Element) -> None:
    got = reader.header(node, "PA-PK-AS-REP", at.start, at.end)
    if got is None:
        return
    tag, element = got
    child = reader.node(node, "PA-PK-AS-REP", at.start)
    if tag == 0xA0:
        reader.nested(child, rfc4556.DhRepInfo, "dhInfo", element.start, element.end)
    else:
        reader.any(child, element, tag)


def _fx_fast(reader: Reader, node: Node, at: Element) -> None:
    """Descend into PA-FX-FAST-REQUEST or -REPLY as far as can be seen without the armor key."""
    got = reader.header(node, "armored-data", at.start, at.end)
    if got is None:
        return
    tag, element = got
    child = reader.node(node, "armored-data", at.start)
    if tag != 0xA0:
        reader.any(child, element, tag)
        return
    request = reader.message[:1] in (_AS_REQ, _TGS_REQ)
    cls, name = (
        (rfc6113.KrbFastArmoredReq, "KrbFastArmoredReq")
        if request
        else (rfc6113.KrbFastArmoredRep, "KrbFastArmoredRep")
    )
    reader.nested(child, cls, name, element.start, element.end)
    child.value = "what is inside is sealed with the armor key, which is not kept"


def _armor_value(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    if seen.get("armor_type") == rfc6113.FX_FAST_ARMOR_AP_REQUEST:
        reader.nested(node, rfc4120.ApReq, "AP-REQ", at.start, at.end)
    else:
        node.value = octets(reader.message[at.start : at.end])


def _freshness(reader: Reader, node: Node, at: Element, _seen: Mapping[str, object]) -> None:
    # The form of our own tokens (and Samba's and Windows'): two zero octets, an EncryptedData.
    data = reader.message[at.start : at.end]
    if data[:3] == b"\0\0\x30":
        reader.nested(node, rfc4120.EncryptedData, "EncryptedData", at.start + 2, at.end)
    else:
        node.value = octets(data)


def _cms_content(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    if seen.get("content_type") == oids.ID_SIGNED_DATA:
        reader.nested(node, cms_syntax.SignedDataSyntax, "SignedData", at.pos, at.end)
    else:
        reader.any(node, at)


_E_CONTENTS: Mapping[object, tuple[type, str]] = {
    oids.ID_PKINIT_AUTH_DATA: (rfc4556.AuthPack, "AuthPack"),
    oids.ID_PKINIT_DH_KEY_DATA: (rfc4556.KdcDhKeyInfo, "KDCDHKeyInfo"),
}


def _e_content(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    known = _E_CONTENTS.get(seen.get("e_content_type"))
    if known is None:
        node.value = octets(reader.message[at.start : at.end])
    else:
        reader.nested(node, *known, at.start, at.end)


def _sid(reader: Reader, node: Node, at: Element, _seen: Mapping[str, object]) -> None:
    tag = reader.message[at.pos]
    if tag == der.SEQUENCE:
        child = reader.node(node, "issuerAndSerialNumber", at.pos)
        reader.declared(child, cms_syntax.IssuerAndSerialNumber, at)
        return
    child = reader.node(node, "subjectKeyIdentifier", at.pos)
    data = reader.message[at.start : at.end]
    # [0] EXPLICIT is Heimdal's form; the identifier then starts two octets later.
    child.value = octets(data[2:] if tag == 0xA0 else data)


def _attribute_values(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    kind = seen.get("attr_type")

    def one(child: Node, got: Element) -> None:
        data = reader.message[got.start : got.end]
        if reader.message[got.pos] == der.OCTET_STRING:
            child.value = data.hex() if len(data) <= 64 else octets(data)
        elif kind == oids.ID_SIGNING_TIME:
            _text_of(_time)(reader, child, got, seen)
        elif kind == oids.ID_CONTENT_TYPE:
            _text_of(_oid_octets)(reader, child, got, seen)
        else:
            reader.any(child, got)

    reader.each(node, at, one, "value")


def _parameters(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    algorithm = seen.get("algorithm")
    tag = reader.message[at.pos]
    if tag == der.OID:
        _text_of(_oid_octets)(reader, node, at, seen)
    elif algorithm == rfc4556.DH_PUBLIC_NUMBER and tag == der.SEQUENCE:
        reader.declared(node, rfc4556.DomainParameters, at)
        _name_group(reader, node, at)
    elif algorithm == oids.RSASSA_PSS and tag == der.SEQUENCE:
        reader.declared(node, cms_syntax.RsassaPssParams, at)
    else:
        reader.any(node, at)


def _name_group(reader: Reader, node: Node, at: Element) -> None:
    try:
        domain = asn1.decode(rfc4556.DomainParameters, reader.message[at.pos : at.end])
    except PkiError:
        return
    group = match_domain_parameters(domain.p, domain.g, domain.q)
    bits = count(domain.p.bit_length(), "bit")
    node.value = f"group {group.name}, {bits}" if group is not None else f"unknown group, {bits}"


def _extension_value(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    oid = str(seen.get("extn_id", ""))
    data = reader.message[at.start : at.end]
    write = _EXTENSIONS.get(oid)
    if write is not None:
        try:
            node.value = escape(write(data), 400)
            return
        except (PkiError, IndexError, ValueError):
            node.fault = "malformed"
    node.value = octets(data)


def _error_data(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    if seen.get("error_code") in (
        ErrorCode.KDC_ERR_PREAUTH_REQUIRED,
        ErrorCode.KDC_ERR_PREAUTH_FAILED,
        ErrorCode.KDC_ERR_MORE_PREAUTH_DATA_REQUIRED,
    ) or _is_method_data(reader.message, at):
        _list_at(reader, node, at.start, at.end, rfc4120.PaData, "PA-DATA")
    elif reader.message[at.start : at.start + 1] == b"\x30":
        _list_at(reader, node, at.start, at.end, rfc4120.TypedDataElement, "TYPED-DATA")
    else:
        node.value = octets(reader.message[at.start : at.end])


def _is_method_data(message: bytes, at: Element) -> bool:
    """Tell METHOD-DATA from TYPED-DATA by the first field: FAST brings it in any error."""
    try:
        start, end = der.read_tlv(message, at.start, at.end)[1:]
        start, end = der.read_tlv(message, start, end)[1:]
        return message[start] == _PADATA_TYPE and der.read_tlv(message, start, end)[2] <= end
    except (PkiError, IndexError):
        return False


def _typed_value(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    if seen.get("data_type") in (TypedData.DH_PARAMETERS, TypedData.CMS_DIGEST_ALGORITHMS):
        cls = rfc4556.AlgorithmIdentifier
        _list_at(reader, node, at.start, at.end, cls, "AlgorithmIdentifier")
    else:
        node.value = octets(reader.message[at.start : at.end])


# -- texts -----------------------------------------------------------------------------------


def _oid_octets(data: bytes) -> str:
    return names.oid_name(der.decode_oid(data, 0, len(data)))


def _time(element: bytes) -> str:
    tag, start, end = der.read_tlv(element)
    raw = element[start:end]
    if tag == _UTC_TIME:
        raw = (b"19" if raw[:1] >= b"5" else b"20") + raw
    return time_text(der.decode_generalized_time(raw, 0, len(raw)))


def _name(element: bytes) -> str:
    return escape(render_rfc4514(decode_name(element)), 200) or "(empty)"


def _spki(element: bytes) -> str:
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


def _key_usage(value: bytes) -> str:
    start, end = der.open_tlv(value, der.BIT_STRING)
    bits = int.from_bytes(value[start + 1 : end].ljust(2, b"\0")[:2], "big")
    named = [name for index, name in enumerate(_KEY_USAGES) if bits >> (15 - index) & 1]
    return ", ".join(named) or "(none)"


_OID_LIST: asn1.Spec[tuple[str, ...]] = asn1.sequence_of(asn1.OID)


def _ext_key_usage(value: bytes) -> str:
    purposes: tuple[str, ...] = asn1.decode_as(_OID_LIST, value)
    return ", ".join(map(names.oid_short, purposes))


def _basic_constraints(value: bytes) -> str:
    start, end = der.open_tlv(value, der.SEQUENCE)
    parts = der.children(value, start, end, 2)
    is_ca = any(t == der.BOOLEAN and value[s] != 0 for t, _, s, _ in parts)
    lengths = [der.decode_integer(value, s, e) for t, _, s, e in parts if t == der.INTEGER]
    return f"CA: {'TRUE' if is_ca else 'FALSE'}" + "".join(f", pathLen {n}" for n in lengths)


def _alt_name(value: bytes) -> str:
    found = decode_subject_alt_name(value)
    shown = [f"UPN {upn}" for upn in found.upns]
    shown += [f"principal {'/'.join(p.components)}@{p.realm}" for p in found.pkinit]
    shown += [f"DNS {dns}" for dns in found.dns]
    shown += [f"email {email}" for email in found.emails]
    shown += [f"URI {uri}" for uri in found.uris]
    return ", ".join(shown) or "(no name of a kind that a KDC reads)"


def _key_identifier(value: bytes) -> str:
    return asn1.decode_as(asn1.OCTET_STRING, value).hex()


_EXTENSIONS: Mapping[str, Callable[[bytes], str]] = {
    oids.ID_CE_SUBJECT_KEY_IDENTIFIER: _key_identifier,
    oids.ID_CE_KEY_USAGE: _key_usage,
    oids.ID_CE_EXT_KEY_USAGE: _ext_key_usage,
    oids.ID_CE_BASIC_CONSTRAINTS: _basic_constraints,
    oids.ID_CE_SUBJECT_ALT_NAME: _alt_name,
    oids.ID_MS_SID_EXTENSION: decode_sid_extension,
    **CA_EXTENSIONS,
}


def _armor_type(value: int) -> str:
    known = value == rfc6113.FX_FAST_ARMOR_AP_REQUEST
    return f"{value} FX_FAST_ARMOR_AP_REQUEST" if known else f"{value}"


def _address(value: bytes) -> str:
    if len(value) == 4:
        return ".".join(map(str, value))
    return quoted(value.decode("latin-1").strip()) if len(value) == 16 else octets(value)


# -- the tables ------------------------------------------------------------------------------


def _classes(*modules: ModuleType) -> dict[str, type]:
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, type) and "__asn1__" in vars(value):
                found[name] = value
    return found


_CONTENTS: Mapping[tuple[str, str], Content] = {
    ("PaData", "padata_value"): _padata_value,
    ("KrbFastArmor", "armor_value"): _armor_value,
    ("PaPkAsReq", "signed_auth_pack"): _inside(cms_syntax.ContentInfo, "ContentInfo"),
    ("PaPkAsReq", "kdc_pk_id"): _inside(cms_syntax.IssuerAndSerialNumber, "IssuerAndSerialNumber"),
    ("DhRepInfo", "dh_signed_data"): _inside(cms_syntax.ContentInfo, "ContentInfo"),
    ("ExternalPrincipalIdentifier", "subject_name"): _text_of(_name),
    ("ExternalPrincipalIdentifier", "issuer_and_serial_number"): _inside(
        cms_syntax.IssuerAndSerialNumber, "IssuerAndSerialNumber"
    ),
    ("PkAuthenticator", "freshness_token"): _freshness,
    ("ContentInfo", "content"): _cms_content,
    ("EncapsulatedContentInfo", "e_content"): _e_content,
    ("SignedDataSyntax", "digest_algorithms"): _each(
        cms_syntax.AlgorithmIdentifier, "AlgorithmIdentifier"
    ),
    ("SignedDataSyntax", "certificates"): _each(CertificateSyntax, "Certificate"),
    ("SignedDataSyntax", "signer_infos"): _each(cms_syntax.SignerInfoSyntax, "SignerInfo"),
    ("SignerInfoSyntax", "sid"): _sid,
    ("SignerInfoSyntax", "signed_attrs"): _each(cms_syntax.Attribute, "Attribute"),
    ("SignerInfoSyntax", "unsigned_attrs"): _each(cms_syntax.Attribute, "Attribute"),
    ("Attribute", "attr_values"): _attribute_values,
    ("AlgorithmIdentifier", "parameters"): _parameters,
    ("IssuerAndSerialNumber", "issuer"): _text_of(_name),
    ("CertificateSyntax", "signature_algorithm"): _inside(
        cms_syntax.AlgorithmIdentifier, "AlgorithmIdentifier"
    ),
    ("TbsCertificate", "signature"): _inside(cms_syntax.AlgorithmIdentifier, "AlgorithmIdentifier"),
    ("TbsCertificate", "issuer"): _text_of(_name),
    ("TbsCertificate", "subject"): _text_of(_name),
    ("TbsCertificate", "subject_public_key_info"): _text_of(_spki),
    ("TbsCertificate", "extensions"): _each(Extension, "Extension"),
    ("Extension", "extn_value"): _extension_value,
    ("Validity", "not_before"): _text_of(_time),
    ("Validity", "not_after"): _text_of(_time),
    ("KrbError", "e_data"): _error_data,
    ("TypedDataElement", "data_value"): _typed_value,
}

_TEXTS: Mapping[tuple[str, str], Text] = {
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


def _child_value(node: Node, name: str) -> str:
    return next((child.value for child in node.children if child.name == name), "")


def _principal(node: Node) -> str:
    parts = next((c.value for c in node.children if c.name == "name-string"), "")
    return parts.replace('", "', "/")


def _short_oid(text: str) -> str:
    return text.partition(" (")[0]


def _algorithm(node: Node) -> str:
    return _short_oid(_child_value(node, "algorithm"))


def _padata(node: Node) -> str:
    return _child_value(node, "padata-type").partition(" ")[2]


def _extension(node: Node) -> str:
    return _short_oid(_child_value(node, "extnID"))


def _attribute(node: Node) -> str:
    return _short_oid(_child_value(node, "attrType"))


SCHEMA = Schema(
    classes=_classes(rfc4120, rfc4556, rfc6113, ms_kile, ms_sfu, certificate, cms_syntax),
    contents=_CONTENTS,
    texts=_TEXTS,
    summaries={
        "PrincipalName": _principal,
        "AlgorithmIdentifier": _algorithm,
        "PaData": _padata,
        "Extension": _extension,
        "Attribute": _attribute,
    },
)
