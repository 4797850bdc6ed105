"""The tree of a message: every field by its name, in human form, whatever is wrong with it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from directory.keycredential import NewKeyCredential, decode_key_credential, encode_key_credential
from kdc.explain.keys import credential_tree
from kdc.explain.names import field_name
from kdc.explain.node import Node
from kdc.explain.reader import MAX_NODES, rows_of
from kdc.explain.tree import SCHEMA, message_tree
from kdc.wire.constants import PaType
from kdc.wire.rfc4120 import EncryptedData, HostAddress
from pki import asn1, der, oids
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    PkinitRequest,
    as_req,
    enc_timestamp,
    hello_key,
    key_of,
    padata,
)

SIGNED_DATA = der.encode_oid(oids.ID_SIGNED_DATA)


@cache
def request() -> bytes:
    """Return a PKINIT request with nearly everything in it."""
    return (
        PkinitRequest(
            group="modp14",
            dh_nonce=bytes(32),
            kdfs=("1.3.6.1.5.2.3.6.2",),
            cms_types=("1.2.840.10045.4.3.2",),
            before=(padata(PaType.PAC_REQUEST, b"\x30\x05\xa0\x03\x01\x01\xff"),),
        )
        .build()
        .message
    )


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("pvno",), "5"),
        (("msg-type",), "10 AS-REQ"),
        (("padata-type",), "128 PA-PAC-REQUEST"),
        (("include-pac",), "TRUE"),
        (("PA-PK-AS-REQ", "contentType"), "id-signedData (1.2.840.113549.1.7.2)"),
        (("eContentType",), "id-pkinit-authData (1.3.6.1.5.2.3.1)"),
        (("AuthPack", "ctime"), "2026-05-04 12:00:00Z"),
        (("AuthPack", "nonce"), "1234567890"),
        (("clientPublicValue", "algorithm"), "dhpublicnumber"),
        (("clientPublicValue", "parameters"), "group modp14, 2,048 bits"),
        (("AuthPack", "clientDHNonce"), "0000000000000000... (32 octets)"),
        (("supportedCMSTypes", "algorithm"), "ecdsa-with-SHA256 (1.2.840.10045.4.3.2)"),
        (("supportedKDFs", "kdf-id"), "id-pkinit-kdf-ah-sha256 (1.3.6.1.5.2.3.6.2)"),
        (("Certificate", "version"), "v3"),
        (("Certificate", "issuer"), "CN=alice"),
        (("Certificate", "notAfter"), "2056-05-03 12:00:00Z"),
        (("SignerInfo", "issuerAndSerialNumber", "issuer"), "CN=alice"),
        (("SignerInfo", "digestAlgorithm"), "id-sha256"),
        (("SignerInfo", "attrType"), "id-contentType (1.2.840.113549.1.9.3)"),
        (("req-body", "kdc-options"), "0x40800000 forwardable, renewable"),
        (("req-body", "cname"), '"alice"'),
        (("req-body", "sname"), '"krbtgt/LAB.TEST"'),
        (("sname", "name-type"), "2 NT-SRV-INST"),
        (("req-body", "till"), "2026-05-04 20:00:00Z"),
    ],
)
def test_a_field_has_its_name_and_a_value_for_people(path: tuple[str, ...], value: str) -> None:
    """Names as in RFC 4120, RFC 4556 and RFC 5652; numbers with their names."""
    found = message_tree(request()).find(*path)
    assert found is not None
    assert found.value == value


def test_a_valid_request_has_no_fault_and_offsets_in_place() -> None:
    """Each offset is where the element starts in the message, also inside OCTET STRINGs."""
    tree = message_tree(request())
    assert tree.faults() == []
    pack = tree.find("AuthPack")
    assert pack is not None
    assert pack.offset is not None
    assert request()[pack.offset] == der.SEQUENCE
    key = tree.find("subjectPublicKeyInfo")
    assert key is not None
    assert key.value.startswith("RSA 2048 bits, exponent 65537, digest ")
    assert hello_key("alice").digest.hex()[:16] in key.value


_TYPE_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@pytest.mark.parametrize("cls", [*SCHEMA.classes.values()], ids=[*SCHEMA.classes])
def test_field_names_are_those_of_the_asn1_above_the_type(cls: type) -> None:
    """The declared types carry their ASN.1: the tree must spell every field as it does."""
    words = set(_TYPE_WORDS.findall(" ".join(base.__doc__ or "" for base in cls.__mro__)))
    unnamed = {"subjectPublicKey", "eContentType"}
    names = {field_name(cls.__module__, row.name) for row in rows_of(cls)}
    assert names - words - unnamed == set()


def test_no_part_of_a_cipher_is_shown() -> None:
    """A page of `kdc explain` ends in bug reports; a timestamp can be attacked offline."""
    pa = enc_timestamp(key_of(18))
    cipher = asn1.decode(EncryptedData, pa.padata_value).cipher
    tree = message_tree(as_req(BODY, pa))
    found = tree.find("cipher")
    assert found is not None
    assert found.value == f"({len(cipher)} octets, encrypted)"
    text = str(tree.as_json())
    assert cipher[:2].hex() not in text.replace(found.value, "")
    blank = message_tree(as_req(BODY, pa).replace(cipher, bytes(len(cipher)))).find("cipher")
    assert blank is not None
    assert "blanked before it was recorded" in blank.value


@pytest.mark.parametrize(
    ("change", "name", "fault"),
    [
        (lambda m: m[:-40], "AS-REQ", "truncated"),
        (lambda m: m + b"\x00\x00", "(trailing)", "trailing data"),
        (lambda m: b"", "(no Kerberos message)", "empty"),
        (lambda m: b"\x6a\x82" + m[2:4] + b"\x31" + m[5:], "SEQUENCE", "unexpected tag 0x31"),
        (
            lambda m: m.replace(b"\x18\x0f20260504200000Z", b"\x18\x0f20261304200000Z"),
            "till",
            "value not in its canonical form or out of range",
        ),
        (
            lambda m: m.replace(b"\xa1\x03\x02\x01\x05", b"\xa1\x03\x04\x01\x05"),
            "pvno",
            "unexpected tag 0x04",
        ),
        (
            lambda m: m.replace(b"\xa5\x11\x18\x0f", b"\xaf\x11\x18\x0f"),
            "till",
            "unexpected tag 0xaf",
        ),
        (
            lambda m: m.replace(
                b"\x06\x09*\x86H\x86\xf7\r\x01\x07\x02", b"\x06\x09*\x86H\x86\xf7\r\x01\x07\x80"
            ),
            "contentType",
            "value not in its canonical form or out of range",
        ),
    ],
    ids=["cut", "trailing", "empty", "no SEQUENCE", "month 13", "type", "tag", "oid"],
)
def test_what_does_not_decode_is_shown_with_fault_and_place(
    change: Callable[[bytes], bytes], name: str, fault: str
) -> None:
    """The fault is on the field it is in, with its offset; other fields are shown all the same."""
    message = change(request())
    tree = message_tree(message)
    faults = {(node.name, node.fault) for node in walk(tree) if node.fault}
    assert (name, fault) in faults
    assert all(0 <= (node.offset or 0) <= len(message) for node in walk(tree))
    if name not in ("SEQUENCE", "(no Kerberos message)"):
        assert tree.find("AuthPack", "ctime") is not None or name == "contentType"


def test_ber_is_read_and_marked() -> None:
    """Lengths that DER forbids are faults of their element, and its content is still shown."""
    good = as_req(BODY)
    assert good[1] == 0x81
    tree = message_tree(b"\x6a\x82\x00" + good[2:])
    assert tree.fault == "length not minimal or not definite"
    cname = tree.find("cname")
    assert cname is not None
    assert cname.value == '"alice"'
    indefinite = message_tree(b"\x6a\x80" + good[3:] + b"\x00\x00")
    assert indefinite.find("cname") is not None
    assert indefinite.fault


def test_strings_of_the_client_are_inert() -> None:
    """Row N02: controls, escapes, bidi overrides and octets that are no UTF-8."""
    hostile = "a\x1b[2J\r\n\u202e\udcff\\"
    tree = message_tree(as_req(replace(BODY, cname=replace(BODY.cname, name_string=(hostile,)))))  # type: ignore[type-var]  # never None
    cname = tree.find("cname")
    assert cname is not None
    assert cname.value == '"a\\x1b[2J\\x0d\\x0a\\u202e\\xff\\\\"'
    assert all(node.value.isprintable() for node in walk(tree))


def test_output_is_bounded() -> None:
    """A message of thousands of elements, or thousands deep, makes a tree of a bounded size."""
    wide = der.tlv(0x6A, der.sequence(*[der.explicit(9, der.encode_integer(1))] * 20_000))
    nodes = list(walk(message_tree(wide)))
    assert len(nodes) <= MAX_NODES + 2
    assert nodes[-1].fault == "only 1,500 fields are shown"
    deep = b"\x30\x80" * 50_000
    assert len(list(walk(message_tree(deep)))) < 100
    long = replace(BODY, realm="R" * 100_000, etype=tuple(range(64)))
    assert sum(len(node.value) for node in walk(message_tree(as_req(long)))) < 5000


@settings(max_examples=150)
@given(st.data())
def test_it_never_raises(data: st.DataObject) -> None:
    """Rule 1, for mutants of a real request and for anything else."""
    message = bytearray(request())
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    for some in (bytes(message), data.draw(st.binary(max_size=200))):
        tree = message_tree(some)
        assert tree.as_json()["name"]
        assert all(node.value.isprintable() for node in walk(tree))


def test_replies_are_shown_as_well(kdc: Kdc) -> None:
    """AS-REP down to KDCDHKeyInfo; KRB-ERROR with METHOD-DATA and with TYPED-DATA."""
    reply = kdc.ask(request()).reply
    assert reply is not None
    tree = message_tree(reply)
    assert tree.faults() == []
    assert tree.find("KDCDHKeyInfo", "nonce") is not None
    hints = kdc.ask(as_req(BODY)).reply
    assert hints is not None
    assert message_tree(hints).find("e-data", "ETYPE-INFO2-ENTRY", "salt") is not None
    groups = kdc.ask(PkinitRequest(group="modp2").build().message).reply
    assert groups is not None
    error = message_tree(groups)
    code = error.find("error-code")
    assert code is not None
    assert code.value == "65 KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED"
    assert error.find("TYPED-DATA", "AlgorithmIdentifier", "p") is not None


def test_addresses_are_written_as_people_do() -> None:
    """HostAddress: IPv4 in dots, NetBIOS as text."""
    tree = message_tree(
        as_req(
            replace(
                BODY,
                addresses=(
                    HostAddress(addr_type=2, address=b"\xc0\x00\x02\x07"),
                    HostAddress(addr_type=20, address=b"PC1".ljust(16)),
                ),
            )
        )
    )
    shown = [n.value for n in walk(tree) if n.name == "address"]
    assert shown == ["192.0.2.7", '"PC1"']


def test_key_credentials_say_whether_they_are_the_signers() -> None:
    """Each value with what decides (KeyID, KeyMaterial, KeyUsage) and what is odd about it."""
    dn = "CN=alice,CN=Users,DC=lab,DC=test"
    text = encode_key_credential(
        NewKeyCredential(public_key=hello_key("alice"), created=NOW - timedelta(days=1)), dn
    )
    tree = credential_tree(decode_key_credential(text, owner_dn=dn), hello_key("alice"))
    shown = {child.name: child.value for child in tree.children}
    assert tree.value == "usable"
    assert shown["(compared)"] == "the signer's key"
    assert shown["KeyUsage"] == "1 NGC"
    assert shown["KeySource"] == "0 AD"
    assert shown["KeyCreationTime"] == "2026-05-03 12:00:00Z"
    other = credential_tree(decode_key_credential(text, owner_dn="CN=bob"), hello_key("bob"))
    assert other.value == "NOT usable: DN part names another object"
    assert {c.name: c.value for c in other.children}["(compared)"] == "not the signer's key"
