"""Attestations: believed when every step holds, and refused with the step that does not (R08)."""

from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.ca import create_root
from pki.chain import TrustPool
from pki.keys import public_key_from_cryptography
from pki.templates import DEVICE
from tenant.keys.attestation import Attestation, AttestationError, judge_attestation
from tenant.keys.tpm import TpmError, decode_attest, decode_public, split_statement
from tests.kdc.builders import NOW
from tests.tenant import soft_tpm
from tests.tenant.soft_tpm import Claim


@cache
def hello() -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, 2048).public_key()


@cache
def other() -> rsa.RSAPublicKey:
    return rsa.generate_private_key(65537, 2048).public_key()


def judge(
    claim: Claim,
    *,
    certificate: bytes | None = None,
    roots: TrustPool | None = None,
    statement: bytes | None = None,
) -> Attestation:
    return judge_attestation(
        claim.build() if statement is None else statement,
        soft_tpm.aik_certificate() if certificate is None else certificate,
        key=public_key_from_cryptography(hello()),
        nonce="a nonce",
        roots=soft_tpm.pool() if roots is None else roots,
        now=NOW,
    )


def refused(claim: Claim, **given: object) -> str:
    with pytest.raises(AttestationError) as caught:
        judge(claim, **given)  # type: ignore[arg-type]  # the parameters of judge
    return caught.value.why


@pytest.mark.parametrize(
    "claim",
    [
        Claim(key=hello()),
        Claim(key=hello(), bare_signature=True),
        Claim(key=hello(), bare_public=True),
        Claim(key=hello(), pss=True),
        Claim(key=hello(), safe=0),
    ],
    ids=["TPMT_SIGNATURE", "bare signature", "TPM2B_PUBLIC", "RSAPSS", "clock not safe"],
)
def test_an_attestation_of_the_key_by_a_known_tpm_is_believed(claim: Claim) -> None:
    """In each form that a TPM and its tools write (TPM 2.0 part 2, 10.12 and 11.3)."""
    found = judge(claim)
    assert found.key == public_key_from_cryptography(hello())
    assert found.firmware_version == 0x0001000200030004
    assert len(found.aik_thumbprint) == 64


def test_an_elliptic_curve_aik_is_believed() -> None:
    """ECDSA over P-256 is what newer TPMs certify with (part 2, 11.2.2)."""
    key = ec.generate_private_key(ec.SECP256R1())
    found = judge(Claim(key=hello(), signer=key), certificate=soft_tpm.aik_certificate(key))
    assert found.key.bits == 2048


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        (Claim(key=hello(), magic=0xFF544348), "the attestation was not made by a TPM (magic)"),
        (Claim(key=hello(), kind=0x8018), "the attestation does not certify a key"),
        (
            Claim(key=hello(), nonce="another"),
            "the attestation's qualifying data is not of the nonce",
        ),
        (Claim(key=hello(), extra=b""), "the attestation's qualifying data is not of the nonce"),
        (
            Claim(key=hello(), name=b"\x00\x0b" + bytes(32)),
            "the attestation certifies another key than the one it contains",
        ),
        (
            Claim(key=hello(), certified_key=other()),
            "the attestation certifies another key than the one to register",
        ),
        (Claim(key=hello(), attributes=0x00040070), "the certified key can leave its TPM"),
        (Claim(key=hello(), attributes=0x00040062), "the certified key can leave its TPM"),
        (Claim(key=hello(), attributes=0x00040052), "the certified key can leave its TPM"),
        (Claim(key=hello(), attributes=0x00020072), "the certified key is no key for signing"),
        (Claim(key=hello(), attributes=0x00050072), "the certified key is no key for signing"),
        (Claim(key=hello(), attributes=0x80040072), "reserved object attributes are set"),
        (Claim(key=hello(), safe=2), "a TPMI_YES_NO is neither"),
        (
            Claim(key=hello(), signer=rsa.generate_private_key(65537, 2048)),
            "the attestation's signature does not verify",
        ),
        (
            Claim(key=hello(), signer=ec.generate_private_key(ec.SECP256R1())),
            "the attestation's signature is of another kind than its key",
        ),
    ],
    ids=[
        "magic",
        "a quote",
        "another nonce",
        "no qualifying data",
        "name of another object",
        "another key",
        "not fixedTPM",
        "not fixedParent",
        "imported",
        "a decryption key",
        "a restricted key",
        "reserved bits",
        "safe",
        "another signer",
        "another kind of key",
    ],
)
def test_an_attestation_with_one_thing_wrong_is_not_believed(claim: Claim, why: str) -> None:
    """Row R08; TPM 2.0 part 2, 8.3, 10.12."""
    assert refused(claim) == why


def test_an_aik_that_no_known_root_certified_is_not_believed() -> None:
    """Row R08: an AIK without a chain proves that somebody can make a key."""
    stranger = create_root("TPM", NOW, common_name="Somebody's root")
    why = "the attestation key's certificate does not lead to a configured root"
    assert refused(Claim(key=hello()), certificate=soft_tpm.aik_certificate(ca=stranger)) == why


def test_an_aik_certificate_for_another_use_is_not_believed() -> None:
    """A certificate of the same CA without the AIK purpose says nothing of a TPM."""
    certificate = soft_tpm.aik_certificate(template=replace(DEVICE, subject="realm"))
    why = "the attestation key's certificate does not lead to a configured root"
    assert refused(Claim(key=hello()), certificate=certificate) == why


def test_an_expired_aik_certificate_is_not_believed() -> None:
    """RFC 5280 6.1.3."""
    certificate = soft_tpm.aik_certificate(now=NOW - timedelta(days=400))
    why = "the attestation key's certificate does not lead to a configured root"
    assert refused(Claim(key=hello()), certificate=certificate) == why


def test_an_aik_certificate_that_is_none_is_not_believed() -> None:
    """Octets that are no certificate."""
    why = "the attestation key's certificate cannot be read"
    assert refused(Claim(key=hello()), certificate=b"0\x03\x02\x01\x01") == why


def test_without_configured_roots_nothing_is_believed() -> None:
    """A tenant that was given no roots has no reason to believe any TPM."""
    why = "no roots of attestation are configured"
    assert refused(Claim(key=hello()), roots=TrustPool(())) == why


def test_a_statement_in_another_frame_is_refused() -> None:
    """MS-WCCE 2.2.2.5: the magic number, the platform, lengths that add up."""
    good = Claim(key=hello()).build()
    cases = {
        b"XXXX" + good[4:]: "the attestation is no KeyAttestation structure",
        good[:4] + b"\x01" + good[5:]: "the attestation is not of a TPM 2.0",
        good[:-1]: "the attestation's lengths do not add up",
        good + b"\0": "the attestation's lengths do not add up",
        good[:20]: "the attestation is cut short",
        bytes(9000): "the attestation is too long",
    }
    for statement, why in cases.items():
        assert refused(Claim(key=hello()), statement=statement) == why


def test_no_prefix_and_no_flipped_bit_of_a_statement_is_believed() -> None:
    """Strictness as a whole: each octet of a statement is either signed or its frame."""
    good = Claim(key=hello(), bare_public=True).build()
    key = public_key_from_cryptography(hello())
    certificate = soft_tpm.aik_certificate()
    broken = [good[:end] for end in range(0, len(good), 7)]
    broken += [good[:i] + bytes((good[i] ^ 1,)) + good[i + 1 :] for i in range(len(good))]
    for statement in broken:
        with pytest.raises(AttestationError):
            judge_attestation(
                statement,
                certificate,
                key=key,
                nonce="a nonce",
                roots=soft_tpm.pool(),
                now=NOW,
            )


def test_structures_with_octets_left_over_or_missing_are_refused() -> None:
    """Each structure ends where its last field does."""
    parts = split_statement(Claim(key=hello()).build())
    for decode, data in ((decode_attest, parts.attest), (decode_public, parts.public_area)):
        for wrong in (data + b"\0", data[:-1]):
            with pytest.raises(TpmError):
                decode(wrong)
