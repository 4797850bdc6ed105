"""Hypothesis strategies of canonical values: those that are written in one way."""

import inspect
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from functools import cache
from math import prod
from typing import Any

from hypothesis import strategies as st

from directory.keycredential import KeySource, NewKeyCredential
from directory.keymaterial import MaterialForm
from directory.keytab import KeytabEntry
from kdc.formats.ccache import Ccache, Credential, Principal, Setting
from kdc.wire import ms_kile, ms_sfu, rfc4120, rfc4556
from kdc.wire.rfc4120 import AuthorizationDataElement, HostAddress
from pki import asn1, certificate, cms_syntax, der, names, oids, x500
from pki.keys import PublicKey, rsa_key
from tests.fuzz.realm import public_key

MODULES = (rfc4120, rfc4556, ms_kile, ms_sfu, cms_syntax, certificate, names)
MAX_ITEMS = 3

# -- ASN.1 -----------------------------------------------------------------------------------


def declared_types() -> list[type]:
    """List every type that a module of the wire or of CMS declares."""
    return list(dict.fromkeys(cls for module in MODULES for cls in _classes(module)))


def _classes(module: types.ModuleType) -> Iterator[type]:
    for value in vars(module).values():
        if isinstance(value, type) and "__asn1__" in value.__dict__:
            yield value


@cache
def _by_spec() -> dict[int, type]:
    return {id(asn1.nested(cls)): cls for cls in declared_types()}


raw_text = st.binary(max_size=24).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
"""Text as Kerberos strings hold it: any octets."""
times = st.datetimes(
    min_value=datetime(1, 1, 1),
    max_value=datetime(9999, 12, 31),
    timezones=st.just(UTC),
).map(lambda value: value.replace(microsecond=0))
_arcs = st.lists(st.integers(0, 2**28), max_size=8)
dotted = st.one_of(
    st.builds(
        lambda root, second, rest: ".".join(map(str, (root, second, *rest))),
        st.integers(0, 1),
        st.integers(0, 39),
        _arcs,
    ),
    st.builds(
        lambda second, rest: ".".join(map(str, (2, second, *rest))), st.integers(0, 2**20), _arcs
    ),
)
elements = st.builds(
    der.tlv,
    st.sampled_from((2, 4, 5, 6, 0x0C, 0x30, 0x31, 0x80, 0xA0, 0xA3, 0x61)),
    st.binary(max_size=40),
)
"""ANY: one element whose content nobody looks at."""

_PRIMITIVE: dict[int, st.SearchStrategy[Any]] = {
    id(asn1.INTEGER): st.integers(-(2**130), 2**2100) | st.integers(-300, 300),
    id(asn1.INT32): st.integers(-(2**31), 2**31 - 1),
    id(asn1.UINT32): st.integers(0, 2**32 - 1),
    id(asn1.MICROSECONDS): st.integers(0, 999_999),
    id(asn1.NONCE): st.integers(-(2**31), 2**32 - 1),
    id(asn1.BOOLEAN): st.booleans(),
    id(asn1.OCTET_STRING): st.binary(max_size=300),
    id(asn1.BIT_STRING): st.binary(max_size=140),
    id(asn1.FLAGS32): st.integers(0, 2**32 - 1),
    id(asn1.OID): dotted,
    id(asn1.GENERAL_STRING): raw_text,
    id(asn1.UTF8_STRING): st.text(max_size=20),
    id(asn1.IA5_STRING): st.text(st.characters(max_codepoint=127), max_size=20),
    id(asn1.GENERALIZED_TIME): times,
    id(asn1.NULL): st.none(),
    id(asn1.ANY): elements,
}


def of_spec(spec: asn1.Spec[Any]) -> st.SearchStrategy[Any]:
    """Make the values that a spec writes."""
    known = _PRIMITIVE.get(id(spec))
    if known is not None:
        return known
    cls = _by_spec().get(id(spec))
    if cls is not None:
        return of_type(cls)
    # A list: what it is a list of is known to its writer only.
    item = inspect.getclosurevars(spec.write).nonlocals["item"]
    return st.lists(of_spec(item), max_size=MAX_ITEMS).map(tuple)


@cache
def of_type(cls: type) -> st.SearchStrategy[Any]:
    """Make the values of a declared type."""
    defaults = {field.name: field.default for field in fields(cls)}
    parts: dict[str, st.SearchStrategy[Any]] = {}
    for name, _, spec in asn1.declared_fields(cls):
        value = of_spec(spec)
        if defaults[name] is not MISSING:
            value = st.just(defaults[name]) | value
        parts[name] = value
    return st.builds(cls, **parts)


# -- names -----------------------------------------------------------------------------------

_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_ascii = st.text(st.characters(max_codepoint=127), max_size=12)
_attributes = st.one_of(
    st.builds(
        x500.NameAttribute,
        st.sampled_from((oids.ID_AT_COMMON_NAME, oids.ID_AT_ORGANIZATION, "1.2.3.4")),
        _words,
    ),
    st.builds(
        x500.NameAttribute,
        st.sampled_from((oids.ID_DOMAIN_COMPONENT, oids.ID_EMAIL_ADDRESS)),
        _ascii,
    ),
    st.builds(
        x500.NameAttribute, st.just(oids.ID_AT_COUNTRY), st.from_regex(r"[A-Z]{2}", fullmatch=True)
    ),
    st.builds(
        x500.NameAttribute,
        st.just("1.2.3.5"),
        st.binary(max_size=9).map(lambda value: der.tlv(der.OCTET_STRING, value)),
    ),
)
x500_names = st.lists(st.lists(_attributes, min_size=1, max_size=3).map(tuple), max_size=5).map(
    tuple
)
sids = st.builds(
    lambda authority, rest: "-".join(("S", "1", str(authority), *map(str, rest))),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=15),
)
_host = st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True)
alternative_names = st.builds(
    names.SubjectAltNames,
    upns=st.lists(_words, max_size=2).map(tuple),
    pkinit=st.lists(
        st.builds(
            names.PkinitName,
            realm=raw_text,
            name_type=st.integers(-(2**31), 2**31 - 1),
            components=st.lists(raw_text, max_size=3).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    dns=st.lists(_host, min_size=1, max_size=2).map(tuple),
    emails=st.lists(_ascii, max_size=2).map(tuple),
    uris=st.lists(_ascii, max_size=2).map(tuple),
)

# -- key credentials -------------------------------------------------------------------------

_STEP = 2 * prod(p for p in range(3, 168) if all(p % q for q in range(2, p)))
# 2 more than a multiple of every small prime: none divides it, and ROCA's moduli look different.
_moduli = st.integers(2**2047 // _STEP + 1, 2**2048 // _STEP - 1).map(
    lambda times: times * _STEP + _STEP // 2 + 2
)
rsa_keys = st.builds(rsa_key, _moduli, st.sampled_from((65537, 65539, 2**32 - 1)))


@st.composite
def new_key_credentials(draw: st.DrawFn) -> NewKeyCredential:
    """Make a key credential in any of its forms."""
    key: PublicKey = draw(rsa_keys | st.sampled_from((public_key("alice"), public_key("bob"))))
    forms = [form for form in MaterialForm if form is not MaterialForm.FIDO]
    moments = st.datetimes(
        min_value=datetime(1601, 1, 1),
        timezones=st.just(UTC),
    )
    return NewKeyCredential(
        public_key=key,
        material=draw(st.sampled_from(forms)) if key.n else MaterialForm.SPKI,
        created=draw(moments),
        source=draw(st.none() | st.sampled_from(KeySource)),
        device_id=draw(st.none() | st.uuids().filter(lambda u: u.int != 0)),
        custom_key_information=draw(st.none() | st.binary(max_size=20)),
        last_logon=draw(st.none() | moments),
    )


# -- key files -------------------------------------------------------------------------------

keytab_entries = st.builds(
    KeytabEntry,
    realm=raw_text,
    components=st.lists(raw_text, max_size=16).map(tuple),
    name_type=st.integers(0, 2**32 - 1),
    timestamp=st.integers(0, 2**32 - 1),
    kvno=st.integers(0, 2**32 - 1),
    etype=st.integers(0, 2**16 - 1),
    key=st.binary(max_size=64),
)
principals = st.builds(
    Principal,
    realm=raw_text.filter(lambda realm: realm != "X-CACHECONF:"),
    components=st.lists(raw_text, max_size=4).map(tuple),
    name_type=st.integers(-(2**31), 2**31 - 1),
)
# The text of a setting's principal has no name type, and does not escape the realm.
_named_in_settings = st.builds(
    Principal,
    realm=st.from_regex(r"[A-Z.]{1,12}", fullmatch=True),
    components=st.lists(raw_text, min_size=1, max_size=3).map(tuple),
)
_moments = st.integers(1, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
_sixteen_bits = st.integers(-(2**15), 2**15 - 1)
credentials = st.builds(
    Credential,
    client=principals,
    server=principals,
    etype=_sixteen_bits,
    session_key=st.binary(max_size=32),
    authtime=st.none() | _moments,
    starttime=_moments,
    endtime=st.none() | _moments,
    renew_till=st.none() | _moments,
    flags=st.integers(0, 2**32 - 1),
    ticket=st.binary(max_size=60),
    second_ticket=st.binary(max_size=9),
    is_session_key=st.booleans(),
    addresses=st.lists(
        st.builds(HostAddress, addr_type=_sixteen_bits, address=st.binary(max_size=16)), max_size=3
    ).map(tuple),
    authorization_data=st.lists(
        st.builds(AuthorizationDataElement, ad_type=_sixteen_bits, ad_data=st.binary(max_size=9)),
        max_size=3,
    ).map(tuple),
)
ccaches = st.builds(
    Ccache,
    default_principal=principals,
    credentials=st.lists(credentials, max_size=3).map(tuple),
    settings=st.lists(
        st.builds(
            Setting,
            name=raw_text,
            principal=st.none() | _named_in_settings,
            value=st.binary(max_size=20),
        ),
        max_size=2,
    ).map(tuple),
    clock_offset_us=st.integers(-(2**31) * 1_000_000, 2**31 * 1_000_000 - 1),
)
