"""Our DER layer against pyasn1, an independent reader and writer (with impacket's Kerberos types).

pyasn1 writes DER, but reads more than DER. So: what we write it reads, and writes again byte for
byte; what it writes we read; and whatever mutant we accept, it reads and writes back unchanged,
which is to say that what we accept is DER.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from impacket.krb5 import asn1 as impacket  # type: ignore[import-untyped]  # no stubs
from pyasn1.codec.der import decoder, encoder  # type: ignore[import-untyped]  # no stubs
from pyasn1.error import PyAsn1UnicodeDecodeError  # type: ignore[import-untyped]  # no stubs
from pyasn1.type import univ, useful  # type: ignore[import-untyped]  # no stubs
from pyasn1.type.error import ValueConstraintError  # type: ignore[import-untyped]  # no stubs
from pyasn1_modules import rfc4055, rfc5280, rfc5652  # type: ignore[import-untyped]  # no stubs

from kdc.wire import rfc4120
from pki import asn1, cms, cms_syntax, der, oids
from pki.certificate import Certificate, CertificateSyntax
from pki.errors import PkiError
from tests.pki import issued, messages


def _read(data: bytes, spec: object) -> Any:  # untyped library
    """Let pyasn1 decode all of data; it must leave nothing over."""
    value, rest = decoder.decode(data, asn1Spec=spec)
    assert rest == b""
    return value


def _rewritten(data: bytes, spec: object) -> bytes:
    written = encoder.encode(_read(data, spec))
    assert isinstance(written, bytes)
    return written


# -- primitives ------------------------------------------------------------------------------

_ARCS = st.integers(0, 2**64)
_DOTTED = st.one_of(
    st.tuples(st.integers(0, 1), st.integers(0, 39), st.lists(_ARCS, max_size=6)),
    st.tuples(st.just(2), st.integers(0, 2**32), st.lists(_ARCS, max_size=6)),
).map(lambda t: ".".join(map(str, (t[0], t[1], *t[2]))))
_TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)).map(
    lambda t: t.replace(microsecond=0)
)


def _written_well(value: int) -> bool:
    """Tell whether pyasn1 writes an INTEGER minimally: -128, -32768 ... get an octet too many."""
    return value >= 0 or (-value) & (-value - 1) != 0 or value.bit_length() % 8 != 0


@pytest.mark.parametrize("value", [-128, -32768, -(2**31)])
def test_integers_that_pyasn1_writes_too_long(value: int) -> None:
    """X.690 8.3.2 by hand, and pyasn1 at least reads ours."""
    data = der.encode_integer(value)
    octets = (value.bit_length() + 7) // 8
    assert data == bytes((2, octets, 0x80)) + b"\0" * (octets - 1)
    assert int(_read(data, univ.Integer())) == value
    assert asn1.decode_as(asn1.INTEGER, data) == value


@given(st.integers(-(2**2100), 2**2100).filter(_written_well))
def test_integers(value: int) -> None:
    """Written alike, and read back."""
    data = der.encode_integer(value)
    assert data == encoder.encode(univ.Integer(value))
    assert asn1.decode_as(asn1.INTEGER, data) == value


@given(_DOTTED)
def test_object_identifiers(dotted: str) -> None:
    """Written alike; read back unless over our limit."""
    data = der.encode_oid(dotted)
    assert data == encoder.encode(univ.ObjectIdentifier(dotted))
    if len(data) <= der.MAX_OID_BYTES:
        assert asn1.decode_as(asn1.OID, data) == dotted


@given(st.binary(max_size=300))
def test_octet_and_bit_strings(value: bytes) -> None:
    """Lengths on both sides of 128 and 256."""
    assert der.encode_octet_string(value) == encoder.encode(univ.OctetString(value))
    bits = univ.BitString.fromOctetString(value)
    assert der.encode_bit_string(value) == encoder.encode(bits)


@given(_TIMES)
def test_generalized_times(moment: datetime) -> None:
    """Whole seconds, Z."""
    data = der.encode_generalized_time(moment)
    assert data == encoder.encode(useful.GeneralizedTime(f"{moment:%Y%m%d%H%M%S}Z".zfill(15)))
    assert asn1.decode_as(asn1.GENERALIZED_TIME, data) == moment


@given(st.sets(st.binary(max_size=20), max_size=8))
def test_set_of_is_sorted(values: set[bytes]) -> None:
    """X.690 11.6, shorter encodings first where one is the beginning of the other."""
    spec = univ.SetOf(componentType=univ.OctetString())
    spec.extend(values)
    ours = asn1.encode_as(asn1.set_of(asn1.OCTET_STRING), tuple(values))
    assert ours == encoder.encode(spec)


# -- Kerberos --------------------------------------------------------------------------------

_INT32 = st.integers(-(2**31), 2**31 - 1).filter(_written_well)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAMES = st.builds(
    lambda t, parts: rfc4120.PrincipalName(name_type=t, name_string=tuple(parts)),
    _INT32,
    st.lists(_TEXT, min_size=1, max_size=3),
)
_PADATA = st.builds(
    lambda t, v: rfc4120.PaData(padata_type=t, padata_value=v), _INT32, st.binary(max_size=150)
)
_BODIES = st.builds(
    rfc4120.KdcReqBody,
    kdc_options=st.integers(0, 2**32 - 1),
    cname=st.none() | _NAMES,
    realm=_TEXT,
    sname=st.none() | _NAMES,
    from_=st.none() | _TIMES,
    till=_TIMES,
    rtime=st.none() | _TIMES,
    nonce=st.integers(0, 2**32 - 1),
    etype=st.lists(_INT32, min_size=1, max_size=5).map(tuple),
)
_REQUESTS = st.builds(
    rfc4120.AsReq,
    pvno=st.just(5),
    msg_type=st.just(10),
    padata=st.none() | st.lists(_PADATA, min_size=1, max_size=3).map(tuple),
    req_body=_BODIES,
)


@settings(max_examples=60, deadline=None)
@given(_REQUESTS)
def test_as_requests(request: rfc4120.AsReq) -> None:
    """An AS-REQ of ours is impacket's AS-REQ, and comes back to us equal."""
    data = asn1.encode(request)
    theirs = _read(data, impacket.AS_REQ())
    assert int(theirs["req-body"]["nonce"]) == request.req_body.nonce
    assert str(theirs["req-body"]["realm"]) == request.req_body.realm
    assert [int(e) for e in theirs["req-body"]["etype"]] == list(request.req_body.etype)
    assert encoder.encode(theirs) == data
    again = asn1.decode(rfc4120.AsReq, data)
    assert again == request
    assert data.endswith(again.req_body.raw)


_SAMPLE = asn1.encode(
    rfc4120.AsReq(
        pvno=5,
        msg_type=10,
        padata=(rfc4120.PaData(padata_type=2, padata_value=b"x" * 130),),
        req_body=rfc4120.KdcReqBody(
            kdc_options=0x40800010,
            cname=rfc4120.PrincipalName(name_type=1, name_string=("alice",)),
            realm="LAB.TEST",
            sname=rfc4120.PrincipalName(name_type=2, name_string=("krbtgt", "LAB.TEST")),
            till=issued.NOW,
            nonce=0x7FFF1234,
            etype=(18, 17, -133),
        ),
    )
)
_UNUSED_BITS = _SAMPLE.index(b"\x03\x05\x00\x40\x80\x00\x10") + 2


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(_SAMPLE) - 1), st.integers(0, 255))
def test_a_mutant_that_we_accept_is_der(position: int, octet: int) -> None:
    """One octet changed: if our reader takes it, pyasn1 reads it and writes the same bytes.

    Apart: strings that are not UTF-8 (we keep their bytes), other numbers than 5 and 10 at the
    start (the exchange refuses those, not the type), and set bits that KerberosFlags calls unused.
    """
    assume(position != _UNUSED_BITS)
    assume(octet != 0x80)  # the INTEGER -128, which pyasn1 writes too long
    data = _SAMPLE[:position] + bytes((octet,)) + _SAMPLE[position + 1 :]
    try:
        asn1.decode(rfc4120.AsReq, data)
        rewritten = _rewritten(data, impacket.AS_REQ())
    except (PkiError, PyAsn1UnicodeDecodeError, ValueConstraintError):
        return
    assert rewritten == data


# -- CMS and certificates --------------------------------------------------------------------


def test_signed_data() -> None:
    """Every field of a SignedData, read by both, from bytes that pyasn1 writes back unchanged."""
    data = messages.signed_data()
    outer = _read(data, rfc5652.ContentInfo())
    assert encoder.encode(outer) == data
    theirs = _read(bytes(outer["content"]), rfc5652.SignedData())
    ours = cms.parse_signed_data(data)
    assert str(theirs["encapContentInfo"]["eContentType"]) == ours.content_type
    assert bytes(theirs["encapContentInfo"]["eContent"]) == ours.content
    assert tuple(encoder.encode(c) for c in theirs["certificates"]) == ours.certificates
    (info,) = theirs["signerInfos"]
    assert ours.signer is not None
    assert bytes(info["signature"]) == ours.signer.signature
    assert str(info["digestAlgorithm"]["algorithm"]) == ours.signer.digest_algorithm.algorithm
    assert str(info["signatureAlgorithm"]["algorithm"]) == ours.signer.signature_algorithm.algorithm
    attributes = tuple(encoder.encode(a) for a in info["signedAttrs"])
    assert attributes == ours.signer.signed_attributes
    named = info["sid"]["issuerAndSerialNumber"]
    assert int(named["serialNumber"]) == ours.signer.identifier.serial_number
    assert encoder.encode(named["issuer"]) == ours.signer.identifier.issuer


def test_rsassa_pss_parameters() -> None:
    """RFC 4055 3.1, with and without its defaults."""
    sha256 = cms_syntax.AlgorithmIdentifier(algorithm=oids.SHA256, parameters=messages.NULL)
    mgf = cms_syntax.AlgorithmIdentifier(algorithm=oids.ID_MGF1, parameters=asn1.encode(sha256))
    full = cms_syntax.RsassaPssParams(hash_algorithm=sha256, mask_gen_algorithm=mgf, salt_length=32)
    theirs = _read(asn1.encode(full), rfc4055.RSASSA_PSS_params())
    assert int(theirs["saltLength"]) == 32
    assert str(theirs["hashAlgorithm"]["algorithm"]) == oids.SHA256
    assert encoder.encode(theirs) == asn1.encode(full)
    assert asn1.encode(cms_syntax.RsassaPssParams()) == b"\x30\x00"
    assert int(_read(b"\x30\x00", rfc4055.RSASSA_PSS_params())["saltLength"]) == 20


@pytest.mark.parametrize("make", [issued.root, issued.kdc, issued.hello, issued.leaf])
def test_certificates(make: Any) -> None:  # four functions of different defaults
    """Fields alike, and our declared type encodes what it decoded."""
    data = make().certificate_der
    ours = Certificate(data)
    theirs = _read(data, rfc5280.Certificate())["tbsCertificate"]
    assert int(theirs["serialNumber"]) == ours.serial_number
    assert encoder.encode(theirs["issuer"]) == ours.issuer
    assert encoder.encode(theirs["subject"]) == ours.subject
    assert encoder.encode(theirs["subjectPublicKeyInfo"]) == ours.subject_public_key_info
    for extension in theirs["extensions"]:
        assert ours.extension(str(extension["extnID"])) == bytes(extension["extnValue"])
    assert asn1.encode(asn1.decode(CertificateSyntax, data)) == data
    assert _rewritten(data, rfc5280.Certificate()) == data


_HELLO = issued.hello().certificate_der


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(_HELLO) - 1), st.integers(0, 255))
def test_a_certificate_mutant_that_both_accept_reads_alike(position: int, octet: int) -> None:
    """Serial number and raw names, whenever pyasn1 can read the mutant at all."""
    data = _HELLO[:position] + bytes((octet,)) + _HELLO[position + 1 :]
    try:
        ours = Certificate(data)
        theirs = decoder.decode(data, asn1Spec=rfc5280.Certificate())[0]["tbsCertificate"]
    except Exception:  # noqa: BLE001  # pyasn1 raises more than its own errors
        return
    assert int(theirs["serialNumber"]) == ours.serial_number
    assert encoder.encode(theirs["subject"]) == ours.subject
