"""X.500 names: DER, RFC 4514 text, and the spelling of altSecurityIdentities."""

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pki import der, oids, x500
from pki.errors import PkiError
from pki.x500 import NameAttribute, simple_name

CA_NAME = simple_name(
    (oids.ID_DOMAIN_COMPONENT, "test"),
    (oids.ID_DOMAIN_COMPONENT, "lab"),
    (oids.ID_AT_STATE_OR_PROVINCE, "Bayern"),
    (oids.ID_AT_COMMON_NAME, "lab-CA, Root"),
    (oids.ID_EMAIL_ADDRESS, "ca@lab.test"),
)


def fault_of(call: object, *args: object) -> str:
    """Return the fault name of the PkiError that a call must raise."""
    assert callable(call)
    with pytest.raises(PkiError) as caught:
        call(*args)
    return caught.value.fault.name


def test_rfc4514_string_starts_with_the_last_relative_name() -> None:
    """RFC 4514 2.1."""
    assert x500.render_rfc4514(CA_NAME) == (
        "emailAddress=ca@lab.test,CN=lab-CA\\, Root,ST=Bayern,DC=lab,DC=test"
    )


def test_alt_security_identity_keeps_the_order_of_the_certificate() -> None:
    """As Windows writes and Samba reads it: reversed against RFC 4514, S= for a state."""
    assert x500.render_alt_security_identity(CA_NAME) == (
        "DC=test,DC=lab,S=Bayern,CN=lab-CA\\, Root,emailAddress=ca@lab.test"
    )


def test_both_spellings_parse_back() -> None:
    """Rendering and parsing are inverse, in both orders."""
    assert x500.parse_rfc4514(x500.render_rfc4514(CA_NAME)) == CA_NAME
    rendered = x500.render_alt_security_identity(CA_NAME)
    assert x500.parse_alt_security_identity(rendered) == CA_NAME


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The examples of RFC 4514 section 4.
        (
            "UID=jsmith,DC=example,DC=net",
            [[("UID", "jsmith")], [("DC", "example")], [("DC", "net")]],
        ),
        (
            "OU=Sales+CN=J.  Smith,DC=example,DC=net",
            [[("OU", "Sales"), ("CN", "J.  Smith")], [("DC", "example")], [("DC", "net")]],
        ),
        (
            'CN=James \\"Jim\\" Smith\\, III,DC=example,DC=net',
            [[("CN", 'James "Jim" Smith, III')], [("DC", "example")], [("DC", "net")]],
        ),
        ("CN=Before\\0dAfter,DC=net", [[("CN", "Before\rAfter")], [("DC", "net")]]),
        ("CN=Lu\\C4\\8Di\\C4\\87", [[("CN", "Lučić")]]),
    ],
)
def test_examples_of_rfc4514_parse(text: str, expected: list[list[tuple[str, str]]]) -> None:
    """RFC 4514 section 4, strings that its own grammar allows."""
    types = {
        "UID": oids.ID_UID,
        "DC": oids.ID_DOMAIN_COMPONENT,
        "OU": oids.ID_AT_ORGANIZATIONAL_UNIT,
        "CN": oids.ID_AT_COMMON_NAME,
    }
    rdns = [tuple(NameAttribute(types[t], v) for t, v in rdn) for rdn in reversed(expected)]
    assert x500.parse_rfc4514(text) == tuple(rdns)


def test_hexadecimal_value_of_an_unknown_type() -> None:
    """RFC 4514 section 4: 1.3.6.1.4.1.1466.0=#04024869."""
    name = x500.parse_rfc4514("1.3.6.1.4.1.1466.0=#04024869")
    assert name == ((NameAttribute("1.3.6.1.4.1.1466.0", b"\x04\x02Hi"),),)
    assert x500.render_rfc4514(name) == "1.3.6.1.4.1.1466.0=#04024869"
    assert x500.decode_name(x500.encode_name(name)) == name


def test_der_is_what_the_library_writes() -> None:
    """String types as RFC 5280 asks: IA5String for DC and email, PrintableString for C."""
    library = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(x509.NameOID.DOMAIN_COMPONENT, "lab"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "Zoë"),
            x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "z@lab.test"),
        ]
    )
    name = simple_name(
        (oids.ID_AT_COUNTRY, "DE"),
        (oids.ID_DOMAIN_COMPONENT, "lab"),
        (oids.ID_AT_COMMON_NAME, "Zoë"),
        (oids.ID_EMAIL_ADDRESS, "z@lab.test"),
    )
    assert x500.encode_name(name) == library.public_bytes()
    assert x500.decode_name(library.public_bytes()) == name


@pytest.mark.parametrize(
    ("tag", "raw", "text"),
    [
        (0x0C, "Zoë".encode(), "Zoë"),
        (0x13, b"Zoe", "Zoe"),
        (0x14, b"Zo\xeb", "Zoë"),
        (0x1C, "Zoë".encode("utf-32-be"), "Zoë"),
        (0x1E, "Zoë".encode("utf-16-be"), "Zoë"),
    ],
)
def test_every_directory_string_type_is_read(tag: int, raw: bytes, text: str) -> None:
    """RFC 5280 4.1.2.4: DirectoryString has five choices; old certificates use them all."""
    attribute = der.sequence(der.encode_oid(oids.ID_AT_COMMON_NAME), der.tlv(tag, raw))
    name = der.sequence(der.tlv(der.SET, attribute))
    assert x500.decode_name(name) == simple_name((oids.ID_AT_COMMON_NAME, text))


@pytest.mark.parametrize(
    "name",
    [
        der.sequence(der.tlv(der.SET, b"")),
        der.sequence(der.sequence()),
        der.sequence(der.tlv(der.SET, der.encode_integer(1))),
        der.sequence(der.tlv(der.SET, der.sequence(der.encode_oid("2.5.4.3")))),
        der.sequence(
            der.tlv(der.SET, der.sequence(der.encode_oid("2.5.4.3"), der.tlv(0x0C, b"\xff")))
        ),
        der.sequence(
            der.tlv(der.SET, der.sequence(der.encode_oid("2.5.4.3"), der.tlv(0x1E, b"\xd8\x00")))
        ),
    ],
)
def test_malformed_names_are_refused(name: bytes) -> None:
    """An empty RDN, a wrong container, a missing value, text that is not of its encoding."""
    assert fault_of(x500.decode_name, name) == "BAD_VALUE"


@pytest.mark.parametrize(
    "text",
    [
        "CN",
        "=x",
        "XX=y",
        "CN=a,",
        "CN=a;DC=b",
        'CN="a"',
        "CN=a\\",
        "CN=a\\g",
        "CN=\\ff",
        "CN=#",
        "CN=#0",
        "CN=#0402",
        "CN=a\0",
        "1.2.3.x=a",
        "9.1=a",
        "CN=\ud800",
    ],
)
def test_text_that_is_no_distinguished_name_is_refused(text: str) -> None:
    """RFC 4514 section 3, one defect each."""
    assert fault_of(x500.parse_rfc4514, text) in ("BAD_VALUE", "TRUNCATED")


def test_spaces_around_separators_are_no_part_of_values() -> None:
    """RFC 2253 section 4; an escaped space at the end stays, an escaped backslash is no escape."""
    assert x500.parse_rfc4514("CN = a , O= b") == x500.parse_rfc4514("CN=a,O=b")
    assert x500.parse_rfc4514("CN=a\\ ") == simple_name((oids.ID_AT_COMMON_NAME, "a "))
    assert x500.parse_rfc4514("CN=a\\\\ ") == simple_name((oids.ID_AT_COMMON_NAME, "a\\"))


def test_a_value_its_string_type_cannot_hold_is_refused() -> None:
    """A domain component is an IA5String, a country a PrintableString."""
    assert fault_of(x500.encode_name, simple_name((oids.ID_DOMAIN_COMPONENT, "ä"))) == "BAD_VALUE"
    assert fault_of(x500.encode_name, simple_name((oids.ID_AT_COUNTRY, "D_"))) == "BAD_VALUE"


def test_names_are_bounded() -> None:
    """The number of relative names and the length of a value."""
    long_value = simple_name((oids.ID_AT_COMMON_NAME, "x" * 2000))
    assert fault_of(x500.decode_name, x500.encode_name(long_value)) == "OVER_LIMIT"
    assert fault_of(x500.parse_rfc4514, ",".join(["CN=a"] * 65)) == "OVER_LIMIT"
    assert fault_of(x500.parse_rfc4514, "CN=" + "a" * 70000) == "OVER_LIMIT"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([oids.ID_AT_COMMON_NAME, oids.ID_AT_ORGANIZATION, "1.2.840.5"]),
            st.text(max_size=20),
        ),
        max_size=5,
    )
)
def test_any_text_survives_both_spellings_and_der(pairs: list[tuple[str, str]]) -> None:
    """Escaping loses nothing: spaces, commas, NUL, quotes, hashes."""
    name = simple_name(*pairs)
    assert x500.parse_rfc4514(x500.render_rfc4514(name)) == name
    assert x500.parse_alt_security_identity(x500.render_alt_security_identity(name)) == name
    assert x500.decode_name(x500.encode_name(name)) == name
