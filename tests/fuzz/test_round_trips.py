"""What decodes, encodes to the same bytes: every declared type, names, blobs and key files."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from directory.distinguished_name import escape_value, parse_dn
from directory.keycredential import (
    KeySource,
    NewKeyCredential,
    decode_blob,
    encode_blob,
    format_dn_binary,
    parse_dn_binary,
)
from directory.keymaterial import MaterialForm, decode_key_material, encode_key_material
from directory.keytab import KeytabEntry, decode_keytab, encode_keytab
from kdc.formats.ccache import Ccache, Principal, decode_ccache, encode_ccache, parse_principal
from kdc.server.framing import TcpFramer, frame
from kdc.wire.rfc4556 import DhRepInfo, decode_pa_pk_as_rep, encode_pa_pk_as_rep
from pki import asn1, der, names, x500
from pki.cms_syntax import SignedDataSyntax
from pki.errors import PkiError
from pki.keys import PublicKey
from tests.fuzz import strategies

pytestmark = pytest.mark.slow

_TYPES = strategies.declared_types()
_FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_SOME = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_every_type_of_the_wire_and_of_cms_is_among_them() -> None:
    """The list is made by looking, so a new type joins by itself."""
    found = {cls.__name__ for cls in _TYPES}
    assert found >= {"AsReq", "AsRep", "KrbError", "AuthPack", "PaPkAsReq", "SignedDataSyntax"}
    assert len(found) >= 45


@pytest.mark.parametrize("cls", _TYPES, ids=lambda cls: cls.__name__)
def test_declared_type_encodes_to_the_bytes_it_was_decoded_from(cls: type) -> None:
    """Bytes in, bytes out; and a decoded value decodes again to an equal one."""

    @_FEW
    @given(strategies.of_type(cls))
    def check(value: Any) -> None:
        data = asn1.encode(value)
        decoded: object = asn1.decode(cls, data)
        assert asn1.encode(decoded) == data
        assert asn1.decode(cls, data) == decoded
        assert der.read_tlv(data)[2] == len(data)

    check()


@_SOME
@given(strategies.of_type(SignedDataSyntax))
def test_a_set_is_read_in_any_order_and_written_in_ders(value: SignedDataSyntax) -> None:
    """X.690 10.3 and 11.6."""
    decoded = asn1.decode(SignedDataSyntax, asn1.encode(value))
    assert list(decoded.digest_algorithms) == sorted(value.digest_algorithms)


@_SOME
@given(strategies.of_type(DhRepInfo))
def test_pa_pk_as_rep_survives(value: DhRepInfo) -> None:
    """The one CHOICE of RFC 4556 that we write."""
    data = encode_pa_pk_as_rep(value)
    assert decode_pa_pk_as_rep(data) == value
    assert encode_pa_pk_as_rep(decode_pa_pk_as_rep(data)) == data


@_SOME
@given(st.binary(max_size=30))
def test_any_octets_of_a_kerberos_string_survive(raw: bytes) -> None:
    """GeneralString that is not UTF-8, lone surrogates written as UTF-8 among it."""
    data = der.tlv(der.GENERAL_STRING, raw)
    text = asn1.decode_as(asn1.GENERAL_STRING, data)
    assert asn1.encode_as(asn1.GENERAL_STRING, text) == data


@_SOME
@given(st.integers(-(2**16400), 2**16400))
def test_an_integer_has_one_encoding(value: int) -> None:
    """And it is minimal, or it would not decode."""
    data = der.encode_integer(value)
    assert asn1.decode_as(asn1.INTEGER, data) == value
    assert asn1.encode_as(asn1.INTEGER, value) == data


@_SOME
@given(st.binary(max_size=20))
def test_an_oid_that_decodes_encodes_to_the_same_octets(raw: bytes) -> None:
    """Any octets: arcs of any size, every root."""
    try:
        value = der.decode_oid(raw, 0, len(raw))
    except PkiError:
        return
    assert der.oid_content(value) == raw


# -- names -----------------------------------------------------------------------------------


@_SOME
@given(strategies.x500_names)
def test_x500_name_survives_der_and_both_text_forms(name: x500.Name) -> None:
    """RFC 4514, and altSecurityIdentities' own spelling."""
    data = x500.encode_name(name)
    decoded = x500.decode_name(data)
    assert x500.encode_name(decoded) == data
    assert x500.parse_rfc4514(x500.render_rfc4514(decoded)) == decoded
    assert x500.parse_alt_security_identity(x500.render_alt_security_identity(decoded)) == decoded


@_SOME
@given(strategies.alternative_names)
def test_subject_alt_name_survives(found: names.SubjectAltNames) -> None:
    """Every form that a KDC reads."""
    data = _alternative_name(found)
    assert names.decode_subject_alt_name(data) == found
    assert _alternative_name(names.decode_subject_alt_name(data)) == data


def _alternative_name(found: names.SubjectAltNames) -> bytes:
    return names.encode_subject_alt_name(
        *map(names.upn_name, found.upns),
        *map(names.pkinit_name, found.pkinit),
        *map(names.dns_name, found.dns),
        *map(names.email_name, found.emails),
        *map(names.uri_name, found.uris),
    )


@_SOME
@given(strategies.sids)
def test_sid_survives_extension_and_uri(sid: str) -> None:
    """[MS-WCCE] 2.2.2.7.7.4 and [MS-PKCA] 3.1.5.2.1.6."""
    data = names.encode_sid_extension(sid)
    assert names.decode_sid_extension(data) == sid
    assert names.decode_sid_uri(names.encode_sid_uri(sid)) == sid


@_SOME
@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_escaped_values_of_a_dn_are_read_back(values: list[str]) -> None:
    """In the normal form: ASCII letters lowered, white space squeezed."""
    text = ",".join(f"CN={escape_value(value)}" for value in values)
    rdns = parse_dn(text)
    assert len(rdns) == len(values)
    rewritten = ",".join(f"CN={escape_value(value)}" for ((_, value),) in rdns)
    assert parse_dn(rewritten) == rdns


# -- key credentials -------------------------------------------------------------------------


@_SOME
@given(strategies.new_key_credentials())
def test_key_credential_blob_encodes_to_the_bytes_it_was_decoded_from(
    new: NewKeyCredential,
) -> None:
    """MS-ADTS 2.2.20: entries in order, KeyID and KeyHash right, both ways of counting time."""
    blob = encode_blob(new)
    read = decode_blob(blob, text="")
    assert read.usable, read.reason
    assert not [w for w in read.warnings if "ROCA" not in w]
    assert read.public_key is not None
    assert read.created is not None
    again = NewKeyCredential(
        public_key=read.public_key,
        material=MaterialForm(read.material),
        created=read.created,
        source=None if read.source is None else KeySource(read.source),
        device_id=read.device_id,
        custom_key_information=read.custom_key_information,
        last_logon=read.last_logon,
    )
    assert encode_blob(again) == blob


@_SOME
@given(strategies.rsa_keys, st.sampled_from(MaterialForm))
def test_key_material_survives_in_every_form(key: PublicKey, form: MaterialForm) -> None:
    """BCRYPT, RSAPublicKey, SubjectPublicKeyInfo and TPM."""
    if form is MaterialForm.FIDO:
        return
    data = encode_key_material(key, form)
    assert decode_key_material(data) == (form, key)
    assert encode_key_material(*reversed(decode_key_material(data))) == data  # type: ignore[arg-type]  # swapped


@_SOME
@given(st.binary(max_size=60), st.text(max_size=30))
def test_dn_binary_survives(blob: bytes, dn: str) -> None:
    """Whatever the DN part is, colons in it included."""
    text = format_dn_binary(blob, dn)
    assert parse_dn_binary(text) == (blob, dn)
    assert format_dn_binary(*parse_dn_binary(text)) == text


# -- key files and framing -------------------------------------------------------------------


@_SOME
@given(st.lists(strategies.keytab_entries, max_size=4).map(tuple))
def test_keytab_encodes_to_the_bytes_it_was_decoded_from(entries: tuple[KeytabEntry, ...]) -> None:
    """MIT's format 2."""
    data = encode_keytab(entries)
    assert decode_keytab(data) == entries
    assert encode_keytab(decode_keytab(data)) == data


@_SOME
@given(strategies.ccaches)
def test_ccache_encodes_to_the_bytes_it_was_decoded_from(cache: Ccache) -> None:
    """MIT's format 4, with settings and a clock offset."""
    data = encode_ccache(cache)
    decoded = decode_ccache(data)
    assert decoded == cache
    assert encode_ccache(decoded) == data


@_SOME
@given(st.lists(strategies.raw_text, min_size=1, max_size=4), st.from_regex(r"[A-Z.]{1,9}\Z"))
def test_principal_survives_its_text_form(components: list[str], realm: str) -> None:
    """Slashes, at signs and backslashes in components are escaped."""
    principal = Principal(realm=realm, components=tuple(components))
    assert parse_principal(str(principal)) == principal


@_SOME
@given(st.lists(st.binary(max_size=400), max_size=6), st.lists(st.integers(1, 50), min_size=1))
def test_framed_messages_come_out_however_they_were_cut(
    messages: list[bytes], sizes: list[int]
) -> None:
    """RFC 4120 7.2.2."""
    stream = b"".join(map(frame, messages))
    framer, got, at, turn = TcpFramer(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        framer.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
        while (message := framer.next_message()) is not None:
            got.append(message)
    assert got == messages
    assert framer.buffered_bytes == 0
