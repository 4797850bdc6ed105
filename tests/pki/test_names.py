"""subjectAltName forms and SIDs: both ways, and broken one at a time."""

import pytest
from cryptography import x509

from pki import asn1, der, names, oids
from pki.errors import DerFault, PkiError
from pki.names import PkinitName

SID = "S-1-5-21-3623811015-3361044348-30300820-1013"


def fault_of(call: object, *args: object) -> tuple[str, str]:
    """Return (fault name, detail) of the PkiError that a call must raise."""
    assert callable(call)
    with pytest.raises(PkiError) as caught:
        call(*args)
    return caught.value.fault.name, caught.value.detail


def test_all_forms_come_back_in_the_order_of_the_certificate() -> None:
    """RFC 5280 4.2.1.6: GeneralNames is a sequence, and order is kept within each form."""
    krbtgt = names.krbtgt_name("LAB.TEST")
    alice = PkinitName(realm="LAB.TEST", name_type=1, components=("alice",))
    value = names.encode_subject_alt_name(
        names.upn_name("alice@lab.test"),
        names.dns_name("dc1.lab.test"),
        names.pkinit_name(krbtgt),
        names.email_name("alice@example.org"),
        names.upn_name("älice@lab.test"),
        names.uri_name(names.encode_sid_uri(SID)),
        names.pkinit_name(alice),
        names.dns_name("lab.test"),
    )
    assert names.decode_subject_alt_name(value) == names.SubjectAltNames(
        upns=("alice@lab.test", "älice@lab.test"),
        pkinit=(krbtgt, alice),
        dns=("dc1.lab.test", "lab.test"),
        emails=("alice@example.org",),
        uris=("tag:microsoft.com,2022-09-14:sid:" + SID,),
    )


def test_pkinit_san_is_what_openssl_writes_for_a_kdc() -> None:
    """RFC 4556 3.2.2: KRB5PrincipalName, byte for byte (EXP:0,GeneralString in openssl.cnf)."""
    expected = bytes.fromhex(
        "a02806062b0601050202a01e301ca00a1b084c41422e54455354a10e300ca003020102a10530031b0161"
    )
    built = names.pkinit_name(PkinitName(realm="LAB.TEST", name_type=2, components=("a",)))
    assert built == expected


def test_san_reads_as_the_library_reads_it() -> None:
    """The encoder's output is a GeneralNames to an independent reader."""
    value = names.encode_subject_alt_name(
        names.upn_name("alice@lab.test"), names.dns_name("lab.test"), names.uri_name("urn:x")
    )
    extension = x509.UnrecognizedExtension(x509.OID_SUBJECT_ALTERNATIVE_NAME, value)
    assert extension.value == value
    library = x509.SubjectAlternativeName(
        [
            x509.OtherName(
                x509.ObjectIdentifier(oids.ID_MS_SAN_UPN),
                asn1.encode_as(asn1.UTF8_STRING, "alice@lab.test"),
            ),
            x509.DNSName("lab.test"),
            x509.UniformResourceIdentifier("urn:x"),
        ]
    )
    assert library.public_bytes() == value


def test_forms_a_kdc_has_no_use_for_are_skipped() -> None:
    """An IP address, a directory name and a foreign otherName do not disturb the rest."""
    value = names.encode_subject_alt_name(
        der.tlv(0x87, b"\x7f\0\0\x01"),
        der.tlv(0xA4, der.sequence()),
        names.other_name("1.2.3.4", der.encode_integer(7)),
        names.dns_name("lab.test"),
    )
    assert names.decode_subject_alt_name(value) == names.SubjectAltNames(dns=("lab.test",))


def test_empty_san_is_refused() -> None:
    """RFC 5280 4.2.1.6: GeneralNames has at least one."""
    assert fault_of(names.decode_subject_alt_name, der.sequence())[0] == "MISSING_FIELD"


def test_too_many_general_names_are_over_the_limit() -> None:
    """A certificate is bounded in what it may make us read."""
    value = names.encode_subject_alt_name(*[names.dns_name("a")] * (names.MAX_GENERAL_NAMES + 1))
    assert fault_of(names.decode_subject_alt_name, value)[0] == "OVER_LIMIT"


def test_long_upn_is_over_the_limit() -> None:
    """Texts are bounded."""
    value = names.encode_subject_alt_name(names.upn_name("a" * names.MAX_TEXT_BYTES))
    assert fault_of(names.decode_subject_alt_name, value) == ("OVER_LIMIT", "UTF8String")


def test_upn_that_is_not_utf8_is_refused() -> None:
    """[MS-WCCE] 2.2.2.7.7: the UPN is a UTF8String."""
    raw = names.other_name(oids.ID_MS_SAN_UPN, der.tlv(der.UTF8_STRING, b"al\xffce"))
    assert fault_of(names.decode_subject_alt_name, der.sequence(raw))[0] == "BAD_VALUE"


def test_upn_as_another_string_type_is_refused() -> None:
    """A PrintableString is not the UTF8String that the type says."""
    raw = names.other_name(oids.ID_MS_SAN_UPN, der.tlv(der.PRINTABLE_STRING, b"alice"))
    assert fault_of(names.decode_subject_alt_name, der.sequence(raw))[0] == "BAD_TAG"


def test_dns_name_with_octets_over_127_is_refused() -> None:
    """RFC 5280: dNSName is an IA5String."""
    value = der.sequence(der.tlv(0x82, b"l\xe4b.test"))
    assert fault_of(names.decode_subject_alt_name, value)[0] == "BAD_VALUE"


def test_unknown_general_name_form_is_refused() -> None:
    """GeneralName has the choices 0 to 8."""
    assert fault_of(names.decode_subject_alt_name, der.sequence(der.tlv(0x89, b"x"))) == (
        "BAD_TAG",
        "GeneralName",
    )


def test_bytes_after_the_principal_in_a_pkinit_san_are_refused() -> None:
    """The otherName value is exactly one KRB5PrincipalName."""
    good = names.pkinit_name(names.krbtgt_name("LAB.TEST"))
    inner = der.open_tlv(good, 0xA0)
    content = good[inner[0] : inner[1]]
    oid_end = der.read_tlv(content)[2]
    start, end = der.open_tlv(content, 0xA0, oid_end)
    bad = der.sequence(
        der.tlv(0xA0, content[:oid_end] + der.tlv(0xA0, content[start:end] + b"\x05\x00"))
    )
    assert fault_of(names.decode_subject_alt_name, bad)[0] == "TRAILING_DATA"


# -- SIDs ------------------------------------------------------------------------------------


def test_sid_extension_is_what_microsofts_ca_writes() -> None:
    """[MS-WCCE] 2.2.2.7.7.4 and KB5014754: the bytes of a published example's shape."""
    expected = der.sequence(
        der.tlv(
            0xA0,
            bytes.fromhex("060a2b060104018237190201")
            + der.tlv(0xA0, der.encode_octet_string(SID.encode())),
        )
    )
    assert names.encode_sid_extension(SID) == expected
    assert names.decode_sid_extension(expected) == SID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "S-1-5",
        "s-1-5-21-1",
        "S-2-5-21-1",
        "S-1-5-21-4294967296",
        "S-1-5-021",
        "S-1-5-21-",
        "S-1-5-21-1 ",
        "S-1-5-21-1\n",
        "S-1-5-21-٣",
        "S-1-5" + "-1" * 16,
    ],
)
def test_text_that_is_no_sid_is_refused(text: str) -> None:
    """[MS-DTYP] 2.4.2.1, one defect each."""
    value = der.sequence(
        names.other_name(oids.ID_MS_SID_VALUE, der.encode_octet_string(text.encode()))
    )
    assert fault_of(names.decode_sid_extension, value)[0] == "BAD_VALUE"
    assert fault_of(names.encode_sid_extension, text) == ("BAD_VALUE", "SID")


def test_sid_authority_over_32_bits_is_hexadecimal() -> None:
    """[MS-DTYP] 2.4.2.1: an identifier authority from 2^32 up is written in hex."""
    assert names.check_sid_text("S-1-0x0100000000AB-5") == "S-1-0x0100000000AB-5"


def test_two_sids_in_one_extension_are_refused() -> None:
    """One certificate is one account."""
    one = names.other_name(oids.ID_MS_SID_VALUE, der.encode_octet_string(SID.encode()))
    assert fault_of(names.decode_sid_extension, der.sequence(one, one)) == (
        "BAD_VALUE",
        "SID extension",
    )


def test_sid_under_another_type_is_refused() -> None:
    """Only szOID_NTDS_OBJECTSID carries the SID."""
    value = der.sequence(
        names.other_name(oids.ID_MS_SAN_UPN, der.encode_octet_string(SID.encode()))
    )
    assert fault_of(names.decode_sid_extension, value) == ("BAD_VALUE", "SID extension")


def test_sid_uri_both_ways() -> None:
    """[MS-PKCA] 3.1.5.2.1.6: the SAN URI form."""
    assert names.decode_sid_uri(names.encode_sid_uri(SID)) == SID
    assert names.decode_sid_uri("urn:other") is None
    assert fault_of(names.decode_sid_uri, names.SID_URI_PREFIX + "x") == ("BAD_VALUE", "SID")


def test_faults_are_of_the_der_family() -> None:
    """No other exception leaves the decoder for bytes cut anywhere."""
    value = names.encode_subject_alt_name(
        names.upn_name("alice@lab.test"), names.pkinit_name(names.krbtgt_name("LAB.TEST"))
    )
    for cut in range(len(value)):
        with pytest.raises(PkiError) as caught:
            names.decode_subject_alt_name(value[:cut])
        assert isinstance(caught.value.fault, DerFault)
