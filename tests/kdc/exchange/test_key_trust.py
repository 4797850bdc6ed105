"""Key trust: whose key signed? Rows K01 to K20, as far as they concern a logon."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from math import lcm

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from directory.changes import AccountChanges
from directory.keycredential import KeySource, NewKeyCredential, encode_key_credential
from directory.keymaterial import MaterialForm, encode_key_material
from directory.model import Account, AccountKind
from directory.store import Store
from kdc.errors import KdcError
from kdc.outcome import Outcome
from kdc.trust import SignerEvidence
from kdc.trust.device import DevicePolicy
from kdc.trust.key_trust import judge_key_trust
from kdc.trust.verdict import judge
from kdc.wire.constants import ErrorCode
from pki import asn1, ca, names, oids
from pki.ca import IssuedCertificate, KeyType
from pki.certificate import CertificateSyntax, encode_time
from pki.keys import public_key_from_cryptography
from pki.x500 import simple_name
from tests.directory.builders import blob, value
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    PkinitRequest,
    add_hello_key,
    as_req,
    body_for,
    hello_key,
    issued_ticket,
    master_key,
    open_reply,
    password_keys,
    refused,
)
from tests.pki import issued, messages

NOBODYS = (
    ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
    "the signer's key is registered on no account",
)
ANOTHERS = (
    ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
    "the signer's key is registered on another account than the one named",
)
SEVERAL = (
    ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
    "the signer's key is registered on several accounts",
)


def log_on(kdc: Kdc, who: str, signer: IssuedCertificate | None = None) -> Outcome:
    """Log on as `who`, with their own Hello key unless another signer is given."""
    signer = signer or issued.hello(who.rstrip("$"))
    return kdc.ask(PkinitRequest(body=body_for(who), signer=signer).build().message)


def leaf(name: str) -> IssuedCertificate:
    """Return this name's Hello key in a certificate of an issuer that nobody knows."""
    key = issued.hello(name).private_key
    throwaway = ca.create_root("THROWAWAY", NOW, issued.hello("bob").private_key)
    subject = simple_name((oids.ID_AT_COMMON_NAME, name))
    der = ca.issue_client_leaf(throwaway, key.public_key(), subject, NOW)
    return IssuedCertificate(certificate_der=der, private_key=key)


# -- whose key -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["self-issued", "leaf"])
def test_key_of_nobody_is_not_trusted(kdc: Kdc, form: str) -> None:
    """Row K01: in a realm without logon CAs 62, whoever issued the certificate."""
    signer = issued.hello("stranger") if form == "self-issued" else leaf("stranger")
    outcome = log_on(kdc, "alice", signer)
    assert refused(outcome) == NOBODYS
    assert outcome.facts["key_digest"] == hello_key("stranger").digest.hex()


def test_account_without_keys_trusts_nobody(kdc: Kdc) -> None:
    """Row K02: the attribute is absent."""
    assert refused(log_on(kdc, "pat", issued.hello("stranger"))) == NOBODYS


@pytest.mark.parametrize("form", ["self-issued", "leaf"])
def test_key_of_another_account_is_a_name_mismatch(kdc: Kdc, form: str) -> None:
    """Row K03; MS-PKCA 3.1.5.2.1.4: the account is found by the key, then compared."""
    signer = issued.hello("bob") if form == "self-issued" else leaf("bob")
    assert refused(log_on(kdc, "alice", signer)) == ANOTHERS
    assert refused(log_on(kdc, "pat", signer)) == ANOTHERS


def test_key_on_two_accounts_is_not_trusted(kdc: Kdc) -> None:
    """Row K04: for neither of them; one alarm; bob's own key still works."""
    add_hello_key(kdc.store, "bob", hello_key("alice"))
    for who in ("alice", "bob"):
        outcome = log_on(kdc, who, issued.hello("alice"))
        assert refused(outcome) == SEVERAL
        assert outcome.facts["alarm"] == "duplicate key credential"
        ids = (kdc.account_id("alice"), kdc.account_id("bob"))
        assert outcome.facts["account_ids"] == ids
    issued_ticket(log_on(kdc, "bob"))


def test_key_removed_from_one_of_two_accounts_is_trusted_again(kdc: Kdc) -> None:
    """Row K04, control: the change counts at the next request."""
    add_hello_key(kdc.store, "bob", hello_key("alice"))
    key_id = sha256(encode_key_material(hello_key("alice"), MaterialForm.BCRYPT)).digest()
    kdc.store.remove_key_credential(kdc.account_id("bob"), key_id)
    issued_ticket(log_on(kdc, "alice"))


def test_key_removed_by_another_process_is_not_trusted_any_more(kdc: Kdc) -> None:
    """`kdc key remove alice --all` while serving: the next logon, on any worker, is 62."""
    issued_ticket(log_on(kdc, "alice"))
    administrator = Store.open(kdc.store.path, master_key())
    administrator.remove_key_credential(kdc.account_id("alice"))
    administrator.close()
    assert refused(log_on(kdc, "alice")) == NOBODYS


def test_computer_logs_on_with_its_key(kdc: Kdc) -> None:
    """MS-PKCA 3.1.5.2.1.4: users and computers have keys."""
    issued_ticket(log_on(kdc, "pc1$"))


def test_second_key_of_an_account_works_like_the_first(kdc: Kdc) -> None:
    """A user has one Hello key for each device."""
    add_hello_key(kdc.store, "alice", hello_key("carol"))
    for signer in ("alice", "carol"):
        issued_ticket(log_on(kdc, "alice", issued.hello(signer)))


def test_ec_key_logs_on(kdc: Kdc) -> None:
    """RFC 5349: a P-256 key registered as SubjectPublicKeyInfo."""
    kdc.add_user("carol")
    carol = issued.hello("carol", KeyType.EC_P256)
    add_hello_key(kdc.store, "carol", public_key_from_cryptography(carol.private_key.public_key()))
    issued_ticket(log_on(kdc, "carol", carol))


# -- what of a value decides -----------------------------------------------------------------

Entries = list[tuple[int, bytes]]


def material(form: MaterialForm = MaterialForm.BCRYPT) -> bytes:
    """Return carol's key as key material."""
    return encode_key_material(hello_key("carol"), form)


def good_entries(key: bytes | None = None) -> Entries:
    """Return the three entries that decide."""
    key = material() if key is None else key
    return [(1, sha256(key).digest()), (3, key), (4, b"\x01")]


def add_carol(kdc: Kdc, *texts: str) -> None:
    """Add carol with these values, good or bad."""
    kdc.add_user("carol", key_credentials=texts)


def carol_dn(kdc: Kdc) -> str:
    return kdc.store.new_dn("carol", AccountKind.USER)


def text_of(kdc: Kdc, entries: Entries, version: int = 0x200) -> str:
    return value(blob(entries, version), carol_dn(kdc))


def test_value_of_the_three_deciding_entries_is_enough(kdc: Kdc) -> None:
    """Row K20, control of all that follows: KeyID, KeyMaterial, KeyUsage."""
    add_carol(kdc, text_of(kdc, good_entries()))
    outcome = log_on(kdc, "carol")
    issued_ticket(outcome)
    assert outcome.facts["key_id"] == sha256(material()).hexdigest()
    assert outcome.facts["warnings"] == ("KeyHash absent",)


def test_wrong_key_id_is_not_used(kdc: Kdc) -> None:
    """Row K05: the value is not used, so the key is nobody's."""
    entries = [(1, bytes(32)), *good_entries()[1:]]
    add_carol(kdc, text_of(kdc, entries))
    assert refused(log_on(kdc, "carol")) == NOBODYS


def test_wrong_key_id_passes_when_it_is_not_checked(kdc: Kdc) -> None:
    """Row K05: keycredential_check_keyid = false; said in the audit record."""
    entries = [(1, bytes(32)), *good_entries()[1:]]
    add_carol(kdc, text_of(kdc, entries))
    lenient = Store.open(kdc.store.path, master_key(), check_keyid=False)
    kdc.core.realm = replace(kdc.realm, directory=lenient)
    outcome = log_on(kdc, "carol")
    issued_ticket(outcome)
    assert outcome.facts["warnings"] == (
        "KeyID is not the digest of KeyMaterial",
        "KeyHash absent",
    )
    lenient.close()


def test_wrong_key_hash_is_a_warning(kdc: Kdc) -> None:
    """Row K05: it is unkeyed and protects nothing; widely used tools write it wrong."""
    good = good_entries()
    add_carol(kdc, text_of(kdc, [good[0], (2, bytes(32)), *good[1:]]))
    outcome = log_on(kdc, "carol")
    issued_ticket(outcome)
    assert outcome.facts["warnings"] == ("KeyHash wrong",)


@pytest.mark.parametrize("usage", [b"\x00", b"\x02", b"\x03", b"\x07", b"\x08", b"", b"\x01\x00"])
def test_other_key_usage_is_not_used(kdc: Kdc, usage: bytes) -> None:
    """Row K06: only NGC keys log on."""
    add_carol(kdc, text_of(kdc, [*good_entries()[:2], (4, usage)]))
    assert refused(log_on(kdc, "carol")) == NOBODYS


@pytest.mark.parametrize("source", [b"\x00", b"\x01", b"\x09", b""])
def test_key_source_never_decides(kdc: Kdc, source: bytes) -> None:
    """Row K06, control: AD, Entra, unknown or odd."""
    add_carol(kdc, text_of(kdc, [*good_entries(), (5, source)]))
    issued_ticket(log_on(kdc, "carol"))


@pytest.mark.parametrize(
    "entries",
    [
        lambda g: [g[0], g[2], g[1]],
        lambda g: g[1:],
        lambda g: [g[0], g[2]],
        lambda g: g[:2],
        lambda g: [g[0], g[1], g[1], g[2]],
        lambda g: [],
    ],
    ids=["out of order", "no KeyID", "no KeyMaterial", "no KeyUsage", "entry twice", "empty"],
)
def test_badly_built_value_is_not_used(kdc: Kdc, entries: Callable[[Entries], Entries]) -> None:
    """Row K07; MS-ADTS 2.2.20.2: sorted, each once, the three present."""
    add_carol(kdc, text_of(kdc, entries(good_entries())))
    assert refused(log_on(kdc, "carol")) == NOBODYS


@pytest.mark.parametrize("version", [0, 0x100, 0x201])
def test_other_version_is_not_used(kdc: Kdc, version: int) -> None:
    """Row K07: version 0x200 only."""
    add_carol(kdc, text_of(kdc, good_entries(), version))
    assert refused(log_on(kdc, "carol")) == NOBODYS


BAD_VALUES: dict[str, Callable[[str], str]] = {
    "past the end": lambda dn: value(blob(good_entries())[:-1], dn),
    "odd hex": lambda dn: f"B:3:012:{dn}",
    "no DN-Binary": lambda dn: dn,
    "another object": lambda dn: value(blob(good_entries()), dn.replace("carol", "bob")),
}


@pytest.mark.parametrize("bad", BAD_VALUES)
def test_bad_value_alone_trusts_nobody(kdc: Kdc, bad: str) -> None:
    """Row K08."""
    add_carol(kdc, BAD_VALUES[bad](carol_dn(kdc)))
    assert refused(log_on(kdc, "carol")) == NOBODYS


@pytest.mark.parametrize("bad", BAD_VALUES)
@pytest.mark.parametrize("first", [True, False])
def test_bad_value_does_not_harm_its_neighbours(kdc: Kdc, bad: str, first: bool) -> None:
    """Row K08: the account's good keys still work."""
    texts = [BAD_VALUES[bad](carol_dn(kdc)), text_of(kdc, good_entries())]
    add_carol(kdc, *(texts if first else texts[::-1]))
    issued_ticket(log_on(kdc, "carol"))


@pytest.mark.parametrize(
    "change", [str.upper, str.lower, lambda dn: dn.replace(",", ", "), lambda dn: "\\43" + dn[1:]]
)
def test_dn_in_another_spelling_is_the_same(kdc: Kdc, change: Callable[[str], str]) -> None:
    """Row K08, control; RFC 4514: case, spaces and escapes do not matter."""
    dn = carol_dn(kdc)
    spelled = dn.replace("carol", change("carol")) if "\\" in change("xx") else change(dn)
    add_carol(kdc, value(blob(good_entries()), spelled))
    issued_ticket(log_on(kdc, "carol"))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: b"RSA9" + m[4:],
        lambda m: m[:8] + b"\x00\x00\x00\x00" + m[12:],
        lambda m: m[:12] + b"\xff\x00\x00\x00" + m[16:],
        lambda m: m[:24] + bytes(3) + m[27:],
        lambda m: m[:-1],
        lambda m: b"",
    ],
    ids=["magic", "no exponent", "cbModulus", "exponent 0", "cut", "empty"],
)
def test_bad_key_material_is_not_used(kdc: Kdc, change: Callable[[bytes], bytes]) -> None:
    """Row K12: BCRYPT blobs that are none."""
    add_carol(kdc, text_of(kdc, good_entries(change(material()))))
    assert refused(log_on(kdc, "carol")) == NOBODYS


@pytest.mark.parametrize(
    "form",
    [MaterialForm.BCRYPT, MaterialForm.RSA_PUBLIC_KEY, MaterialForm.SPKI, MaterialForm.TPM],
)
def test_every_form_of_key_material_is_the_same_key(kdc: Kdc, form: MaterialForm) -> None:
    """Wire facts 2.2: keys are compared as numbers."""
    add_carol(kdc, text_of(kdc, good_entries(material(form))))
    issued_ticket(log_on(kdc, "carol"))


@pytest.mark.parametrize(
    "more",
    [
        [(7, bytes(size))] if size else []  # CustomKeyInformation
        for size in (0, 1, 2, 4, 5, 6, 15, 40)
    ]
    + [
        [(6, bytes(16))],
        [(6, bytes(5))],
        [(8, bytes(8)), (9, b"\xff" * 8)],
        [(8, b"\x01"), (9, b"")],
        [(99, b"of a later version")],
    ],
)
def test_genuine_odd_shapes_log_on(kdc: Kdc, more: Entries) -> None:
    """Row K20: only entries 01, 03 and 04 decide."""
    add_carol(kdc, text_of(kdc, [*good_entries(), *more]))
    issued_ticket(log_on(kdc, "carol"))


@pytest.mark.parametrize("source", [KeySource.AD, KeySource.AZURE_AD, None])
def test_times_of_either_kind_log_on(kdc: Kdc, source: KeySource | None) -> None:
    """Row K20: FILETIME or .NET ticks, as KeySource says."""
    new = NewKeyCredential(
        public_key=hello_key("carol"), created=NOW, last_logon=NOW, source=source
    )
    add_carol(kdc, encode_key_credential(new, carol_dn(kdc)))
    issued_ticket(log_on(kdc, "carol"))


# -- ROCA ------------------------------------------------------------------------------------

_ROCA_PRIMES = (
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89,
    97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
)  # fmt: skip


@cache
def roca_key() -> IssuedCertificate:
    """Make a key as the flawed generator does: primes k * M + (65537 ** a mod M)."""
    m = 1
    for p in _ROCA_PRIMES:
        m *= p

    def prime(a: int) -> int:
        k = (1 << 1023 | 1 << 1022) // m
        while True:
            k += 1
            candidate = k * m + pow(65537, a, m)
            if pow(2, candidate - 1, candidate) == 1:
                return candidate

    p, q = prime(5), prime(1234)
    d = pow(65537, -1, lcm(p - 1, q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=d % (p - 1),
        dmq1=d % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(65537, p * q),
    )
    key = numbers.private_key()
    subject = simple_name((oids.ID_AT_COMMON_NAME, "carol"))
    certificate = ca.self_signed_hello_certificate(key, subject, NOW)
    return IssuedCertificate(certificate_der=certificate, private_key=key)


ROCA = "ROCA fingerprint (CVE-2017-15361)"


def _roca_carol(kdc: Kdc) -> None:
    kdc.add_user("carol")
    key = public_key_from_cryptography(roca_key().private_key.public_key())
    add_hello_key(kdc.store, "carol", key)


def test_roca_key_is_blocked(kdc: Kdc) -> None:
    """Row K10, the default; ADV190026."""
    _roca_carol(kdc)
    outcome = log_on(kdc, "carol", roca_key())
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
        f"SignedData: {ROCA}",
    )


def test_roca_key_is_audited(kdc: Kdc) -> None:
    """Row K10: roca_policy = audit lets it in and says so."""
    kdc.configure(roca_policy="audit")
    _roca_carol(kdc)
    outcome = log_on(kdc, "carol", roca_key())
    issued_ticket(outcome)
    warnings = outcome.facts["warnings"]
    assert isinstance(warnings, tuple)
    assert ROCA in warnings


def test_roca_key_is_ignored(kdc: Kdc) -> None:
    """Row K10: roca_policy = ignore, as Windows has it by choice."""
    kdc.configure(roca_policy="ignore")
    _roca_carol(kdc)
    issued_ticket(log_on(kdc, "carol", roca_key()))


# -- what the certificate says does not matter -----------------------------------------------


def _changed(**fields: bytes | int | None) -> IssuedCertificate:
    """Return alice's Hello certificate with fields of its TBSCertificate replaced."""
    alice = issued.hello("alice")
    syntax = asn1.decode(CertificateSyntax, alice.certificate_der)
    tbs = syntax.tbs_certificate
    for field_name, changed in fields.items():
        setattr(tbs, field_name, changed)
    return IssuedCertificate(certificate_der=asn1.encode(syntax), private_key=alice.private_key)


def _valid(start: datetime, end: datetime) -> IssuedCertificate:
    alice = issued.hello("alice")
    syntax = asn1.decode(CertificateSyntax, alice.certificate_der)
    validity = syntax.tbs_certificate.validity
    validity.not_before, validity.not_after = encode_time(start), encode_time(end)
    return IssuedCertificate(certificate_der=asn1.encode(syntax), private_key=alice.private_key)


def _sha1_signed() -> IssuedCertificate:
    alice = issued.hello("alice")
    syntax = asn1.decode(CertificateSyntax, alice.certificate_der)
    sha1 = messages.algorithm(oids.SHA1_WITH_RSA, messages.NULL)
    syntax.signature_algorithm = syntax.tbs_certificate.signature = sha1
    return IssuedCertificate(certificate_der=asn1.encode(syntax), private_key=alice.private_key)


def _leaf_that_names(*alternative: bytes, sid: str | None = None) -> IssuedCertificate:
    key = issued.hello("alice").private_key
    throwaway = ca.create_root("THROWAWAY", NOW, issued.hello("bob").private_key)
    subject = simple_name((oids.ID_AT_COMMON_NAME, "Administrator"))
    der = ca.issue_client_leaf(
        throwaway, key.public_key(), subject, NOW, alternative_names=alternative, sid=sid
    )
    return IssuedCertificate(certificate_der=der, private_key=key)


def _ca_certificate() -> IssuedCertificate:
    return ca.create_root("THROWAWAY", NOW, issued.hello("alice").private_key)


ODD_CERTIFICATES: dict[str, Callable[[], IssuedCertificate]] = {
    "expired": lambda: _valid(datetime(2000, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC)),
    "not yet valid": lambda: _valid(NOW + timedelta(days=1), NOW + timedelta(days=2)),
    "CA": _ca_certificate,
    "v1 without extensions": lambda: _changed(version=0, extensions=None),
    "no extensions": lambda: _changed(extensions=None),
    "SHA-1": _sha1_signed,
    "leaf of a throwaway issuer": lambda: leaf("alice"),
    "serial number 0": lambda: _changed(serial_number=0),
    "foreign UPN": lambda: _leaf_that_names(names.upn_name("mallory@other.test")),
    "administrator's UPN": lambda: _leaf_that_names(names.upn_name("Administrator@lab.test")),
    "administrator's SID": lambda: _leaf_that_names(sid="S-1-5-21-1-2-3-500"),
    "bob's UPN": lambda: _leaf_that_names(names.upn_name("robert@lab.test")),
}


@pytest.mark.parametrize("odd", ODD_CERTIFICATES)
def test_certificate_of_a_registered_key_does_not_matter(kdc: Kdc, odd: str) -> None:
    """Rows K13 and K14; MS-PKCA 3.1.5.2.1.4: alice's ticket, of full life, and nobody else's."""
    sent = PkinitRequest(signer=ODD_CERTIFICATES[odd]()).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.ticket.cname.name_string == ("alice",)
    assert opened.ticket.endtime == BODY.till


@pytest.mark.parametrize("odd", ["administrator's UPN", "administrator's SID", "bob's UPN"])
def test_names_in_a_certificate_make_nobody_else(kdc: Kdc, odd: str) -> None:
    """Row K13: the names of bob and of the administrator do not open their accounts."""
    kdc.add_user("Administrator")
    for who in ("bob", "Administrator"):
        assert refused(log_on(kdc, who, ODD_CERTIFICATES[odd]())) == ANOTHERS


# -- account state ---------------------------------------------------------------------------

REVOKED = ErrorCode.KDC_ERR_CLIENT_REVOKED
KEY_EXPIRED = ErrorCode.KDC_ERR_KEY_EXPIRED


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (AccountChanges(disabled=True), (REVOKED, "the account is disabled")),
        (AccountChanges(expires_at=NOW), (REVOKED, "the account has expired")),
        (
            AccountChanges(logon_hours=bytes(21)),
            (ErrorCode.KDC_ERR_POLICY, "outside the account's logon hours"),
        ),
        (
            AccountChanges(must_change_password=True),
            (KEY_EXPIRED, "the password must be changed first"),
        ),
        (
            AccountChanges(password_expires_at=NOW),
            (KEY_EXPIRED, "the password has expired"),
        ),
    ],
    ids=["disabled", "expired", "hours", "must change", "password expired"],
)
def test_good_key_does_not_help_a_bad_account(
    kdc: Kdc, changes: AccountChanges, refusal: tuple[int, str]
) -> None:
    """Row K15."""
    kdc.store.update_account(kdc.account_id("alice"), changes)
    assert refused(log_on(kdc, "alice")) == refusal


@pytest.mark.parametrize(
    "changes",
    [
        AccountChanges(must_change_password=True, smartcard_required=True),
        AccountChanges(password_expires_at=NOW, smartcard_required=True),
        AccountChanges(smartcard_required=True),
        AccountChanges(expires_at=NOW + timedelta(seconds=1)),
        AccountChanges(password_expires_at=NOW + timedelta(seconds=1)),
        AccountChanges(logon_hours=b"\xff" * 21),
    ],
)
def test_good_key_logs_on_to_a_good_account(kdc: Kdc, changes: AccountChanges) -> None:
    """Row K15, control: an account that must use a smart card has no password to expire."""
    kdc.store.update_account(kdc.account_id("alice"), changes)
    issued_ticket(log_on(kdc, "alice"))


def test_disabled_account_is_refused_without_proof(kdc: Kdc) -> None:
    """MS-KILE 3.3.5.7.1, the default: its state is told before pre-authentication."""
    kdc.store.update_account(kdc.account_id("alice"), AccountChanges(disabled=True))
    assert refused(kdc.ask(as_req())) == (REVOKED, "the account is disabled")


# -- the verdict itself ----------------------------------------------------------------------


def evidence(name: str) -> SignerEvidence:
    return SignerEvidence(
        public_key=hello_key(name), certificate=issued.hello(name).certificate_der
    )


def account(kdc: Kdc, name: str) -> Account:
    found = kdc.store.account_by_name(name)
    assert found is not None
    return found


def test_verdict_names_account_and_key(kdc: Kdc) -> None:
    """MS-PKCA 3.1.5.2.1.5: key trust is a strong mapping."""
    alice = account(kdc, "alice")
    verdict = judge(evidence("alice"), alice, kdc.store, None, DevicePolicy(), NOW)
    assert (verdict.model, verdict.account_id, verdict.strong) == ("key", alice.account_id, True)
    assert verdict.key_id == alice.key_credentials[0].key_id.hex()


def test_unregistered_key_is_left_to_the_next_trust_model(kdc: Kdc) -> None:
    """Architecture 3: key trust has no opinion on a key that is registered nowhere."""
    assert (
        judge_key_trust(evidence("stranger"), account(kdc, "alice"), kdc.store, DevicePolicy())
        is None
    )


class _Index:
    """A directory whose key index says what it is told."""

    def __init__(self, *owners: int) -> None:
        self._owners = owners

    def accounts_by_key(self, key_digest: bytes) -> tuple[int, ...]:
        """Answer the same for every key."""
        del key_digest
        return self._owners


def test_index_without_the_credential_is_no_ticket(kdc: Kdc) -> None:
    """A damaged store must not become a ticket: the account's own values are looked at too."""
    pat = account(kdc, "pat")
    with pytest.raises(KdcError) as caught:
        index = _Index(pat.account_id)
        judge(evidence("alice"), pat, index, None, DevicePolicy(), NOW)  # type: ignore[arg-type]  # enough of a Directory
    assert (caught.value.code, caught.value.why) == (
        ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
        "the key index and the account's key credentials disagree",
    )
    assert caught.value.facts == {"alarm": "key index inconsistent"}


def test_unusable_credential_of_the_same_key_is_no_ticket(kdc: Kdc) -> None:
    """The value that decides must be usable itself, not only indexed."""
    alice = account(kdc, "alice")
    spoiled = replace(alice.key_credentials[0], usable=False)
    with pytest.raises(KdcError) as caught:
        judge(
            evidence("alice"),
            replace(alice, key_credentials=(spoiled,)),
            _Index(alice.account_id),  # type: ignore[arg-type]  # enough of a Directory
            None,
            DevicePolicy(),
            NOW,
        )
    assert caught.value.why == "the key index and the account's key credentials disagree"


def test_service_account_never_logs_on_by_key(kdc: Kdc) -> None:
    """MS-PKCA 3.1.5.2.1.4 speaks of users and computers."""
    service = replace(account(kdc, "alice"), kind=AccountKind.SERVICE)
    with pytest.raises(KdcError) as caught:
        judge(evidence("alice"), service, kdc.store, None, DevicePolicy(), NOW)
    assert (caught.value.code, caught.value.why) == ANOTHERS


def test_password_beside_the_key_changes_nothing(kdc: Kdc) -> None:
    """An account may have both; the key logs on without the password."""
    kdc.store.set_keys(kdc.account_id("alice"), password_keys("alice"))
    issued_ticket(log_on(kdc, "alice"))
