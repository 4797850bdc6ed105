"""pki against any bytes: a value or a PkiError, within bounds; and no damaged message verifies."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki import asn1, ca, cms, cms_syntax, der, names, oids, x500
from pki.ca import IssuedCertificate, KeyType
from pki.certificate import Certificate
from pki.errors import DerFault, PkiError
from pki.kdc_certificate import check_kdc_certificate
from pki.keys import public_key_from_spki
from tests.pki import issued, messages

pytestmark = pytest.mark.slow

_EXAMPLES = settings(max_examples=300, deadline=None)


def _verify(data: bytes) -> cms.VerifiedSigner:
    return cms.verify_signature(
        cms.parse_signed_data(data),
        expected_content_type=oids.ID_PKINIT_AUTH_DATA,
        policy=cms.CmsPolicy(accept_sha1=True, require_content_type_attribute=False),
        check_key=lambda _: (),
    )


def _read_certificate(data: bytes) -> object:
    certificate = Certificate(data)
    certificate.subject_key_identifier()
    alternative = certificate.extension(oids.ID_CE_SUBJECT_ALT_NAME)
    if alternative is not None:
        names.decode_subject_alt_name(alternative)
    x500.render_rfc4514(x500.decode_name(certificate.issuer))
    certificate.public_key()
    return certificate.validity()


_SAN = names.encode_subject_alt_name(
    names.upn_name("alice@lab.test"),
    names.pkinit_name(names.krbtgt_name("LAB.TEST")),
    names.dns_name("dc1.lab.test"),
    names.uri_name(names.encode_sid_uri("S-1-5-21-1-2-3-500")),
)
_SID = names.encode_sid_extension("S-1-5-21-1-2-3-500")
_NAME = Certificate(issued.kdc().certificate_der).subject
_PSS = cms_syntax.RsassaPssParams(
    hash_algorithm=cms_syntax.AlgorithmIdentifier(algorithm=oids.SHA256), salt_length=32
)
_SPKI = Certificate(issued.hello().certificate_der).subject_public_key_info

_DECODERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "signed data": (_verify, messages.signed_data()),
    "certificate": (_read_certificate, issued.kdc().certificate_der),
    "subjectAltName": (names.decode_subject_alt_name, _SAN),
    "SID extension": (names.decode_sid_extension, _SID),
    "X.500 name": (x500.decode_name, _NAME),
    "RSASSA-PSS": (lambda d: asn1.decode(cms_syntax.RsassaPssParams, d), asn1.encode(_PSS)),
    "public key": (public_key_from_spki, _SPKI),
    "private key PEM": (ca.private_key_from_pem, ca.private_key_to_pem(issued.key("kdc"))),
    "certificate PEM": (
        ca.certificates_from_pem,
        ca.certificate_to_pem(issued.kdc().certificate_der),
    ),
    "headers": (der.walk, messages.signed_data()),
}


def _value_or_pki_error(decode: Callable[[bytes], object], data: bytes) -> None:
    try:
        decode(data)
    except PkiError as error:
        # The detail is fixed text: it goes into the audit log.
        assert len(error.detail) < 80
        assert error.detail.isascii()


@st.composite
def _mutants(draw: st.DrawFn, valid: bytes) -> bytes:
    """Cut, overwrite, insert, repeat and remove parts of a valid encoding."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        span = draw(st.integers(0, 40))
        match draw(st.sampled_from(["overwrite", "insert", "remove", "repeat", "cut"])):
            case "overwrite":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "remove":
                del data[at : at + span]
            case "repeat":
                data[at:at] = data[at : at + span]
            case _:
                del data[at:]
    return bytes(data)


@pytest.mark.parametrize("name", _DECODERS)
def test_any_bytes_are_a_value_or_a_pki_error(name: str) -> None:
    """Nothing else leaves a decoder, whatever it is fed."""
    decode, _ = _DECODERS[name]

    @_EXAMPLES
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        _value_or_pki_error(decode, data)

    check()


@pytest.mark.parametrize("name", _DECODERS)
def test_mutants_are_a_value_or_a_pki_error(name: str) -> None:
    """Damage that gets past the first lengths and tags."""
    decode, valid = _DECODERS[name]
    decode(valid)

    @_EXAMPLES
    @given(_mutants(valid))
    def check(data: bytes) -> None:
        _value_or_pki_error(decode, data)

    check()


@_EXAMPLES
@given(st.text(max_size=60) | st.from_regex(r"([A-Z]{1,2}=[ -~]{0,8}[,+]?){1,5}"))
def test_any_text_is_a_name_or_a_pki_error(text: str) -> None:
    """X.500 names typed by people; what parses renders and parses to the same."""
    for parse, render in (
        (x500.parse_rfc4514, x500.render_rfc4514),
        (x500.parse_alt_security_identity, x500.render_alt_security_identity),
    ):
        try:
            name = parse(text)
        except PkiError:
            continue
        assert parse(render(name)) == name


@_EXAMPLES
@given(_mutants(issued.kdc().certificate_der))
def test_check_of_a_kdc_certificate_never_raises(data: bytes) -> None:
    """`doctor` says in words what is wrong with whatever file it finds."""
    problems = check_kdc_certificate(data, issued.REALM, issued.HOST, issued.NOW)
    assert all(isinstance(problem, str) for problem in problems)


# -- hostile shapes (row E04) ----------------------------------------------------------------


def _nested(tag: int, depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = der.tlv(tag, data)
    return data


@pytest.mark.parametrize("tag", [0x30, 0x31, 0xA0, 0x24])
def test_deep_nesting_ends_in_a_fault_and_not_in_recursion(tag: int) -> None:
    """20,000 levels, in every decoder and within a certificate's name."""
    deep = _nested(tag, 20_000)
    for decode, _ in _DECODERS.values():
        with pytest.raises(PkiError):
            decode(deep)
    with pytest.raises(PkiError):
        x500.decode_name(der.sequence(der.tlv(der.SET, deep[-60_000:])))


@pytest.mark.parametrize(
    ("element", "fault"),
    [
        (der.tlv(der.OID, b"\xff" * 100_000 + b"\x01"), DerFault.OVER_LIMIT),
        (der.tlv(der.INTEGER, b"\x7f" * 1_000_000), DerFault.OVER_LIMIT),
    ],
)
def test_huge_primitives_are_refused_by_their_length(element: bytes, fault: DerFault) -> None:
    """A 100 KB OID costs asn1crypto 6 s; here its length is enough to refuse it."""
    with pytest.raises(PkiError) as caught:
        if element[0] == der.OID:
            asn1.decode_as(asn1.OID, element)
        else:
            asn1.decode_as(asn1.INTEGER, element)
    assert caught.value.fault is fault


# -- no damaged message verifies -------------------------------------------------------------


def _rsa() -> bytes:
    return messages.signed_data()


def _ec() -> bytes:
    return messages.signed_data(signer=issued.hello("alice", KeyType.EC_P256))


def _key_id() -> bytes:
    alice = issued.leaf()
    sid = der.tlv(0x80, messages.key_identifier(alice))
    info = messages.signer_info(alice, sid=sid, version=3)
    return messages.signed_data(signer=alice, infos=(info,))


_MESSAGES: dict[str, tuple[Callable[[], bytes], IssuedCertificate]] = {
    "RSA": (_rsa, issued.hello()),
    "P-256": (_ec, issued.hello("alice", KeyType.EC_P256)),
    "key identifier": (_key_id, issued.leaf()),
}


def _unsigned_octets(data: bytes, signer: IssuedCertificate, *, by_key_id: bool) -> set[int]:
    """List the positions that the signature does not cover and nothing else protects.

    SignedData.version and SignerInfo.version (1 and 3 are both good), digestAlgorithms (a hint,
    RFC 5652 5.1), and the certificate apart from its key and from what the signer identifier
    names: issuer and serial number, or the key identifier.
    """
    # ContentInfo, [0], SignedData: its first elements are version and digestAlgorithms.
    outer = der.open_tlv(data, der.SEQUENCE)
    wrapped = der.open_tlv(data, 0xA0, der.read_tlv(data, outer[0])[2])
    start, end = der.open_tlv(data, der.SEQUENCE, *wrapped)
    version, digests, _, _, infos = der.children(data, start, end)
    info = der.read_tlv(data, infos[2])[1]
    free = {version[2], der.read_tlv(data, info)[1]}
    free.update(range(digests[2], digests[3]))
    certificate = Certificate(signer.certificate_der)
    at = data.index(signer.certificate_der)
    free.update(range(at, at + len(signer.certificate_der)))
    bound = [certificate.subject_public_key_info]
    if by_key_id:
        bound.append(messages.key_identifier(signer))
    else:
        bound += [der.encode_integer(certificate.serial_number), certificate.issuer]
    for part in bound:
        begin = at + signer.certificate_der.index(part)
        free.difference_update(range(begin, begin + len(part)))
    return free


@pytest.mark.parametrize("name", _MESSAGES)
def test_no_bit_flip_verifies_outside_what_is_unsigned(name: str) -> None:
    """Every bit of the message, one at a time (row P01 in full).

    Where a flip does verify, it proves the same key for the same content.
    """
    make, signer = _MESSAGES[name]
    data = make()
    original = _verify(data)
    free = _unsigned_octets(data, signer, by_key_id=name == "key identifier")
    verified: set[int] = set()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        try:
            result = _verify(bytes(changed))
        except PkiError:
            continue
        assert bit // 8 in free, f"octet {bit // 8}, bit {bit % 8}"
        assert result.content == original.content
        assert result.public_key == original.public_key
        verified.add(bit // 8)
    # The list of unsigned octets is not an excuse: the certificate's dates, for one, are in it.
    assert len(verified) > len(free) // 2


@pytest.mark.parametrize("name", _MESSAGES)
def test_no_truncation_verifies(name: str) -> None:
    """Cut after every octet (row E03)."""
    data = _MESSAGES[name][0]()
    for cut in range(len(data)):
        with pytest.raises(PkiError):
            _verify(data[:cut])


@_EXAMPLES
@given(_mutants(messages.signed_data()))
def test_whatever_verifies_is_what_alice_signed(data: bytes) -> None:
    """Content never changes under a signature, however the message is mangled."""
    try:
        result = _verify(data)
    except PkiError:
        return
    assert result.content == messages.CONTENT
    assert result.content_type == oids.ID_PKINIT_AUTH_DATA
