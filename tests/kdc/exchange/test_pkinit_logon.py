"""PKINIT logons that work, and what each reply must and must not contain (RFC 4556 3.2.3)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kdc.config import DhReuse
from kdc.crypto.key_agreement import GROUPS, KeyPair
from kdc.crypto.pkinit_kdf import KDFS
from kdc.exchange import pkinit_reply
from kdc.wire.constants import ErrorCode
from kdc.wire.rfc4556 import PkAuthenticator
from pki import asn1, cms_syntax, der, oids
from pki.ca import KeyType
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    PkinitRequest,
    ec_signer,
    error_of,
    issued_ticket,
    kdc_signers,
    open_reply,
    refused,
    sign_auth_pack,
    typed_data,
)
from tests.pki import issued

NONCE_32 = bytes(range(32))
STRONG_GROUPS = ("modp14", "modp16", "p256", "p384", "p521")


@pytest.mark.parametrize("dh_nonce", [None, NONCE_32], ids=["no nonce", "nonce"])
@pytest.mark.parametrize("kdf", [None, *KDFS])
@pytest.mark.parametrize("group", STRONG_GROUPS)
def test_reply_key_is_the_clients(
    kdc: Kdc, group: str, kdf: str | None, dh_nonce: bytes | None
) -> None:
    """RFC 4556 3.2.3.1, RFC 8636: every group, KDF and nonce lead both sides to one key."""
    kdfs = None if kdf is None else (kdf,)
    sent = PkinitRequest(group=group, kdfs=kdfs, dh_nonce=dh_nonce).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.info is not None
    assert (opened.info.kdf.kdf_id if opened.info.kdf else None) == kdf


@pytest.mark.parametrize("etype", [17, 18, 19, 20])
@pytest.mark.parametrize("kdfs", [None, KDFS], ids=["RFC 4556", "RFC 8636"])
def test_reply_key_has_the_requests_encryption_type(
    kdc: Kdc, etype: int, kdfs: tuple[str, ...] | None
) -> None:
    """RFC 4120 3.1.3: session and reply key are of a type that the client listed."""
    sent = PkinitRequest(body=replace(BODY, etype=(etype,)), kdfs=kdfs).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.reply_key.enctype == opened.part.key.keytype == etype


def test_sha256_is_chosen_among_kdfs(kdc: Kdc) -> None:
    """RFC 8636 section 4: the KDC picks one of supportedKDFs; ours is SHA-256 before SHA-1."""
    sent = PkinitRequest(kdfs=("1.2.3.4", *KDFS)).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.info is not None
    assert opened.info.kdf is not None
    assert opened.info.kdf.kdf_id == "1.3.6.1.5.2.3.6.2"


@pytest.mark.parametrize("kdfs", [(), ("1.2.3.4",)], ids=["empty", "unknown"])
def test_no_known_kdf_is_refused(kdc: Kdc, kdfs: tuple[str, ...]) -> None:
    """RFC 8636 section 4: KDC_ERR_NO_ACCEPTABLE_KDF, never the KDF of RFC 4556 instead."""
    sent = PkinitRequest(kdfs=kdfs).build()
    assert refused(kdc.ask(sent.message)) == (
        ErrorCode.KDC_ERR_NO_ACCEPTABLE_KDF,
        "no key derivation function of supportedKDFs is known",
    )


# -- nonces of the key agreement -------------------------------------------------------------


@pytest.mark.parametrize("reuse", ["off", "keys", "replies"])
def test_no_client_dh_nonce_gets_no_server_nonce_and_no_expiration(
    kdc: Kdc, reuse: DhReuse
) -> None:
    """Wire facts 2.4: Samba's tests want neither field when clientDHNonce is absent."""
    kdc.configure(dh_reuse=reuse)
    sent = PkinitRequest(dh_nonce=None).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.info is not None
    assert opened.key_info is not None
    assert opened.info.server_dh_nonce is None
    assert opened.key_info.dh_key_expiration is None


@pytest.mark.parametrize(
    ("reuse", "life"),
    [("off", timedelta(hours=2)), ("keys", timedelta(seconds=120))],
)
def test_client_dh_nonce_gets_server_nonce_and_expiration(
    kdc: Kdc, reuse: DhReuse, life: timedelta
) -> None:
    """Wire facts 2.4: Windows 11 with Credential Guard needs both, with or without reuse."""
    kdc.configure(dh_reuse=reuse)
    sent = PkinitRequest(dh_nonce=NONCE_32).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.info is not None
    assert opened.key_info is not None
    assert opened.info.server_dh_nonce is not None
    assert len(opened.info.server_dh_nonce) == 32
    assert opened.key_info.dh_key_expiration == NOW + life
    assert opened.key_info.nonce == BODY.nonce


def test_reused_signature_has_nonce_zero(kdc: Kdc) -> None:
    """RFC 4556 3.2.3.1: a KDCDHKeyInfo signed once for many has nonce 0 and an expiration."""
    kdc.configure(dh_reuse="replies")
    for _ in range(2):
        sent = PkinitRequest(dh_nonce=NONCE_32).build()
        opened = open_reply(kdc.ask(sent.message), sent, kdc)
        assert opened.key_info is not None
        assert opened.key_info.nonce == 0
        assert opened.key_info.dh_key_expiration == NOW + timedelta(seconds=120)


def _server_values(
    kdc: Kdc, dh_nonce: bytes | None, group: str = "p256"
) -> tuple[bytes, bytes | None, bytes]:
    sent = PkinitRequest(dh_nonce=dh_nonce, group=group).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.info is not None
    assert opened.key_info is not None
    return (
        opened.key_info.subject_public_key,
        opened.info.server_dh_nonce,
        opened.info.dh_signed_data,
    )


@pytest.mark.parametrize("group", ["modp14", "p256"])
@pytest.mark.parametrize("reuse", ["off", "keys", "replies"])
def test_public_value_is_never_the_same_without_server_nonce(
    kdc: Kdc, reuse: DhReuse, group: str
) -> None:
    """Row D09: without serverDHNonce a reused key would make the same reply key twice."""
    kdc.configure(dh_reuse=reuse)
    seen = [_server_values(kdc, nonce, group)[0] for nonce in (None, NONCE_32, None)]
    assert len(set(seen)) == 3


@pytest.fixture
def any_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the KDC keep its key for shared secrets with leading zeros too: one in 256 has them."""
    monkeypatch.setattr(pkinit_reply, "MAX_SHORT_SECRETS", 0)


@pytest.mark.usefixtures("any_secret")
@pytest.mark.parametrize(
    ("reuse", "same_key", "same_signature"),
    [("off", False, False), ("keys", True, False), ("replies", True, True)],
)
def test_what_is_reused_for_clients_with_a_nonce(
    kdc: Kdc, reuse: DhReuse, same_key: bool, same_signature: bool
) -> None:
    """dh_reuse: nothing, the key, or the key with its signature; serverDHNonce is always new."""
    kdc.configure(dh_reuse=reuse)
    one = PkinitRequest(dh_nonce=NONCE_32, body=replace(BODY, nonce=1)).build()
    other = PkinitRequest(dh_nonce=NONCE_32, body=replace(BODY, nonce=2)).build()
    first = open_reply(kdc.ask(one.message), one, kdc)
    second = open_reply(kdc.ask(other.message), other, kdc)
    assert first.info and second.info and first.key_info and second.key_info
    keys = {first.key_info.subject_public_key, second.key_info.subject_public_key}
    assert (len(keys) == 1) is same_key
    assert (first.info.dh_signed_data == second.info.dh_signed_data) is same_signature
    assert first.info.server_dh_nonce != second.info.server_dh_nonce
    assert first.reply_key != second.reply_key


@pytest.mark.usefixtures("any_secret")
def test_reused_key_is_replaced_when_its_life_ends(kdc: Kdc) -> None:
    """dh_key_life: the key is given up at its dhKeyExpiration, not later."""
    kdc.configure(dh_reuse="keys", dh_key_life_s=60)
    values = []
    for seconds in (0, 59, 60):
        at = NOW + timedelta(seconds=seconds)
        sent = PkinitRequest(dh_nonce=NONCE_32, ctime=at).build()
        opened = open_reply(kdc.ask(sent.message, at=at), sent, kdc)
        assert opened.key_info is not None
        values.append(opened.key_info.subject_public_key)
    assert values[0] == values[1] != values[2]


def test_reused_key_does_not_outlive_a_clock_set_back(kdc: Kdc) -> None:
    """A key made in what is now the future is not kept for longer than its life."""
    kdc.configure(dh_reuse="keys", dh_key_life_s=60)
    later = NOW + timedelta(seconds=200)
    values = []
    for at in (later, NOW):
        sent = PkinitRequest(dh_nonce=NONCE_32, ctime=at).build()
        opened = open_reply(kdc.ask(sent.message, at=at), sent, kdc)
        assert opened.key_info is not None
        values.append(opened.key_info.subject_public_key)
    assert values[0] != values[1]


@pytest.mark.parametrize("size", [16, 40, 512])
def test_client_dh_nonce_of_any_sensible_size_is_used(kdc: Kdc, size: int) -> None:
    """RFC 4556 3.1.2: as long as the longest key; 40 octets are seen."""
    sent = PkinitRequest(dh_nonce=bytes(size)).build()
    open_reply(kdc.ask(sent.message), sent, kdc)


# -- the KDC's certificate -------------------------------------------------------------------

ECDSA = oids.ECDSA_WITH_SHA256
RSA = oids.SHA256_WITH_RSA


@pytest.mark.parametrize(
    ("installed", "cms_types", "used"),
    [
        ("rsa", None, "rsa"),
        ("rsa", (ECDSA,), "rsa"),
        ("ec", None, "ec"),
        ("ec", (RSA,), "ec"),
        ("both", None, "rsa"),
        ("both", (), "rsa"),
        ("both", (RSA, "1.2.3"), "rsa"),
        ("both", (RSA, ECDSA), "ec"),
        ("both", (oids.ECDSA_WITH_SHA512,), "ec"),
    ],
)
def test_kdc_certificate_follows_supported_cms_types(
    kdc: Kdc, installed: str, cms_types: tuple[str, ...] | None, used: str
) -> None:
    """RFC 4556 3.1.4: the EC certificate for clients that say they verify ECDSA, else RSA."""
    kdc.use_signers(
        rsa=kdc_signers().rsa if installed != "ec" else None,
        ec=ec_signer() if installed != "rsa" else None,
    )
    sent = PkinitRequest(cms_types=cms_types).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    key_type = KeyType.RSA_2048 if used == "rsa" else KeyType.EC_P256
    assert opened.kdc_certificate == issued.kdc(key_type).certificate_der


def test_reused_signatures_are_kept_for_each_certificate(kdc: Kdc) -> None:
    """dh_reuse = replies: a client that verifies RSA never gets the signature made with EC."""
    kdc.configure(dh_reuse="replies")
    kdc.use_signers(rsa=kdc_signers().rsa, ec=ec_signer())
    for cms_types, key_type in (((ECDSA,), KeyType.EC_P256), (None, KeyType.RSA_2048)):
        sent = PkinitRequest(dh_nonce=NONCE_32, cms_types=cms_types).build()
        opened = open_reply(kdc.ask(sent.message), sent, kdc)
        assert opened.kdc_certificate == issued.kdc(key_type).certificate_der


def test_kdc_without_certificate_does_not_do_pkinit(kdc: Kdc) -> None:
    """Wire facts 2.4: KDC_ERR_PADATA_TYPE_NOSUPP, the most reported PKINIT error."""
    kdc.use_signers()
    sent = PkinitRequest().build()
    assert refused(kdc.ask(sent.message)) == (
        ErrorCode.KDC_ERR_PADATA_TYPE_NOSUPP,
        "this KDC has no certificate",
    )


def test_reply_cms_has_the_shape_of_windows(kdc: Kdc) -> None:
    """Wire facts 2.4: version 3, one digest, one certificate, no CRLs, two signed attributes."""
    sent = PkinitRequest().build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.info is not None
    outer = asn1.decode(cms_syntax.ContentInfo, opened.info.dh_signed_data)
    signed = asn1.decode(cms_syntax.SignedDataSyntax, outer.content)
    assert (signed.version, signed.crls) == (3, None)
    assert len(signed.digest_algorithms) == len(signed.certificates or ()) == 1
    (info,) = (asn1.decode(cms_syntax.SignerInfoSyntax, raw) for raw in signed.signer_infos)
    attributes = [
        asn1.decode(cms_syntax.Attribute, raw).attr_type for raw in info.signed_attrs or ()
    ]
    assert (info.version, info.unsigned_attrs) == (1, None)
    assert attributes == [oids.ID_CONTENT_TYPE, oids.ID_MESSAGE_DIGEST]
    assert signed.encap_content_info.e_content_type == oids.ID_PKINIT_DH_KEY_DATA


# -- what is accepted though it looks odd ----------------------------------------------------


@pytest.mark.parametrize("nonce", [0, 1, 2**31, 2**32 - 1, -1, -(2**31)])
def test_nonce_is_echoed_as_received(kdc: Kdc, nonce: int) -> None:
    """Row E07, heimdal PR 1419: UInt32 or Int32, the value that came goes back."""
    sent = PkinitRequest(body=replace(BODY, nonce=nonce)).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.key_info is not None
    assert opened.part.nonce == opened.key_info.nonce == nonce


def test_authenticator_nonce_other_than_the_bodys_is_accepted(kdc: Kdc) -> None:
    """Row P19: tools send different ones; both parts of the reply echo the authenticator's."""

    def other_nonce(auth: PkAuthenticator) -> PkAuthenticator:
        return replace(auth, nonce=42)

    sent = PkinitRequest(change_authenticator=other_nonce).build()
    opened = open_reply(kdc.ask(sent.message), sent, kdc)
    assert opened.key_info is not None
    assert opened.part.nonce == opened.key_info.nonce == 42


def test_unknown_kdc_pk_id_is_ignored(kdc: Kdc) -> None:
    """Row P20; RFC 4556 3.2.2: a kdcPkId of another KDC MUST be ignored."""
    sent = PkinitRequest(
        change_pa=lambda pa: replace(pa, kdc_pk_id=b"another KDC's certificate")
    ).build()
    open_reply(kdc.ask(sent.message), sent, kdc)


def test_trusted_certifiers_are_ignored(kdc: Kdc) -> None:
    """RFC 4556 3.2.2: trustedCertifiers we do not have change nothing."""
    sent = PkinitRequest(change_pa=lambda pa: replace(pa, trusted_certifiers=())).build()
    open_reply(kdc.ask(sent.message), sent, kdc)


def test_unknown_extension_fields_are_skipped(kdc: Kdc) -> None:
    """RFC 4556's `...`: a later field [9] in AuthPack does not spoil the logon."""

    def add_field(content: bytes) -> bytes:
        start, end = der.open_tlv(content, der.SEQUENCE)
        return der.sequence(content[start:end], der.explicit(9, der.encode_integer(1)))

    sent = PkinitRequest(change_content=add_field).build()
    open_reply(kdc.ask(sent.message), sent, kdc)


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_every_sha2_signature_is_accepted(kdc: Kdc, digest: str) -> None:
    """Wire facts 2.4: SHA-256 and up in the AuthPack's signature, by default."""
    sent = PkinitRequest(sign=lambda content, signer: sign_auth_pack(content, signer, digest))
    issued_ticket(kdc.ask(sent.build().message))


def test_pkinit_reply_has_no_kvno(kdc: Kdc) -> None:
    """RFC 4556 3.2.3: a Diffie-Hellman reply key is no long-term key and has no version."""
    sent = PkinitRequest().build()
    assert open_reply(kdc.ask(sent.message), sent, kdc).as_rep.enc_part.kvno is None


def test_audit_facts_of_a_logon(kdc: Kdc) -> None:
    """The audit record names account, trust model, key, group and encryption type."""
    sent = PkinitRequest(group="p384").build()
    facts = kdc.ask(sent.message).facts
    account = kdc.store.account_by_name("alice")
    assert account is not None
    assert facts == {
        "client": "alice",
        "realm": "LAB.TEST",
        "service": "krbtgt/LAB.TEST",
        "kdc_options": "0x40800000",
        "account": "alice",
        "preauth": 16,
        "trust": "key",
        "key_id": account.key_credentials[0].key_id.hex(),
        "fresh": False,
        "kex": "p384",
        "etype": 18,
    }


# -- what the switches allow -----------------------------------------------------------------


def test_group_2_under_its_switch_gets_a_ticket(kdc: Kdc) -> None:
    """Row D02, control: legacy_dh_group2 lets tools that know only 1024 bits log on."""
    kdc.configure(legacy_dh_group2=True)
    sent = PkinitRequest(group="modp2").build()
    open_reply(kdc.ask(sent.message), sent, kdc)


def test_group_2_is_listed_last_under_its_switch(kdc: Kdc) -> None:
    """Row D01: TD-DH-PARAMETERS lists group 2 only with its switch, and least preferred."""
    kdc.configure(legacy_dh_group2=True, pkinit_dh_min_bits=4096)
    sent = PkinitRequest(group="modp14").build()
    outcome = kdc.ask(sent.message)
    assert refused(outcome) == (
        ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED,
        "the Diffie-Hellman group is smaller than pkinit_dh_min_bits",
    )
    (element,) = typed_data(outcome)
    names = ("modp16", "p256", "p384", "p521", "modp2")
    assert element.data_value == der.sequence(*(GROUPS[n].algorithm_identifier for n in names))


def test_e_text_of_a_refusal_is_its_name_and_reference(kdc: Kdc) -> None:
    """Style guide, errors: nothing but the code's name and the reference goes to the peer."""
    outcome = kdc.ask(PkinitRequest(kdfs=()).build().message)
    assert error_of(outcome).e_text == f"KDC_ERR_NO_ACCEPTABLE_KDF [ref {outcome.reference}]"


def test_a_shared_secret_with_leading_zeros_is_avoided(
    kdc: Kdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heimdal cuts such a secret short, so that one logon in 256 would fail."""
    secrets: list[bytes] = []
    agree = KeyPair.agree

    def short_at_first(pair: KeyPair, peer: bytes) -> bytes:
        secrets.append(agree(pair, peer))
        return b"\x00" + secrets[-1][1:] if len(secrets) <= 2 else secrets[-1]

    monkeypatch.setattr(KeyPair, "agree", short_at_first)
    sent = PkinitRequest(group="modp14").build()
    outcome = kdc.ask(sent.message)
    monkeypatch.undo()
    assert len(secrets) == 3
    open_reply(outcome, sent, kdc)
