"""What is inside an OCTET STRING or an ANY: one function for each kind of place, and a table."""

from collections.abc import Callable, Mapping

from kdc.crypto.key_agreement import match_domain_parameters
from kdc.explain.extension_text import EXTENSIONS
from kdc.explain.field_text import UTC_TIME, element_time_text, name_text, oid_text, spki_text
from kdc.explain.node import Node
from kdc.explain.reader import Content, Element, Reader
from kdc.explain.text import count, escape
from kdc.explain.values import octets
from kdc.wire import ms_kile, ms_sfu, rfc4120, rfc4556, rfc6113
from kdc.wire.constants import ErrorCode, MessageType, PaType, TypedData
from pki import asn1, cms_syntax, der, oids
from pki.certificate import CertificateSyntax
from pki.errors import PkiError

_PADATA_TYPE = 0xA1  # the first field of PA-DATA; that of TYPED-DATA is [0]
_AS_REQ, _TGS_REQ = (bytes((0x60 | kind,)) for kind in (MessageType.AS_REQ, MessageType.TGS_REQ))


@asn1.sequence
class Extension:
    """Extension ::= SEQUENCE { extnID OID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }

    As pki.certificate reads it: an explicit FALSE is no DER, but old issuers wrote it.
    """

    extn_id: str = asn1.plain(asn1.OID)
    critical: bool | None = asn1.plain(asn1.BOOLEAN, default=None)
    extn_value: bytes = asn1.plain(asn1.OCTET_STRING)


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
        whole = reader.message[at.pos] in (der.SEQUENCE, der.GENERALIZED_TIME, UTC_TIME)
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
            _text_of(element_time_text)(reader, child, got, seen)
        elif kind == oids.ID_CONTENT_TYPE:
            _text_of(oid_text)(reader, child, got, seen)
        else:
            reader.any(child, got)

    reader.each(node, at, one, "value")


def _parameters(reader: Reader, node: Node, at: Element, seen: Mapping[str, object]) -> None:
    algorithm = seen.get("algorithm")
    tag = reader.message[at.pos]
    if tag == der.OID:
        _text_of(oid_text)(reader, node, at, seen)
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
    write = EXTENSIONS.get(oid)
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


CONTENTS: Mapping[tuple[str, str], Content] = {
    ("PaData", "padata_value"): _padata_value,
    ("KrbFastArmor", "armor_value"): _armor_value,
    ("PaPkAsReq", "signed_auth_pack"): _inside(cms_syntax.ContentInfo, "ContentInfo"),
    ("PaPkAsReq", "kdc_pk_id"): _inside(cms_syntax.IssuerAndSerialNumber, "IssuerAndSerialNumber"),
    ("DhRepInfo", "dh_signed_data"): _inside(cms_syntax.ContentInfo, "ContentInfo"),
    ("ExternalPrincipalIdentifier", "subject_name"): _text_of(name_text),
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
    ("IssuerAndSerialNumber", "issuer"): _text_of(name_text),
    ("CertificateSyntax", "signature_algorithm"): _inside(
        cms_syntax.AlgorithmIdentifier, "AlgorithmIdentifier"
    ),
    ("TbsCertificate", "signature"): _inside(cms_syntax.AlgorithmIdentifier, "AlgorithmIdentifier"),
    ("TbsCertificate", "issuer"): _text_of(name_text),
    ("TbsCertificate", "subject"): _text_of(name_text),
    ("TbsCertificate", "subject_public_key_info"): _text_of(spki_text),
    ("TbsCertificate", "extensions"): _each(Extension, "Extension"),
    ("Extension", "extn_value"): _extension_value,
    ("Validity", "not_before"): _text_of(element_time_text),
    ("Validity", "not_after"): _text_of(element_time_text),
    ("KrbError", "e_data"): _error_data,
    ("TypedDataElement", "data_value"): _typed_value,
}
"""(type, field) -> what is inside; see `Schema.contents`."""
