"""CMS SignedData from clients: what is accepted, and each rule broken alone."""

from collections.abc import Callable
from functools import partial

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pki import ca, cms, der, oids
from pki.ca import IssuedCertificate, KeyType
from pki.certificate import Certificate
from pki.cms import CmsPolicy, SignerIdentifierForm, VerifiedSigner
from pki.errors import CmsFault, DerFault, Fault, KeyFault, PkiError
from pki.keys import KeyPolicy, PublicKey, check_key, public_key_from_cryptography
from pki.signatures import ECDSA_WITH, RSA_WITH, Digest
from pki.x500 import simple_name
from tests.pki import issued, messages
from tests.pki.messages import CONTENT, NULL

STRICT = CmsPolicy()
WITH_SHA1 = CmsPolicy(accept_sha1=True)
DEFAULT_KEY_POLICY = partial(check_key, policy=KeyPolicy())


def verify(
    data: bytes,
    policy: CmsPolicy = STRICT,
    key_policy: Callable[[PublicKey], tuple[str, ...]] = DEFAULT_KEY_POLICY,
) -> VerifiedSigner:
    """Parse and verify as the KDC does."""
    return cms.verify_signature(
        cms.parse_signed_data(data),
        expected_content_type=oids.ID_PKINIT_AUTH_DATA,
        policy=policy,
        check_key=key_policy,
    )


def refusal(data: bytes, policy: CmsPolicy = STRICT) -> tuple[Fault, str]:
    """Return fault and detail of the PkiError that verifying must raise."""
    with pytest.raises(PkiError) as caught:
        verify(data, policy)
    return caught.value.fault, caught.value.detail


# -- accepted --------------------------------------------------------------------------------


def test_signed_by_a_hello_key() -> None:
    """The control of every test below: what comes back is the signer's own."""
    alice = issued.hello()
    verified = verify(messages.signed_data())
    assert verified.content == CONTENT
    assert verified.content_type == oids.ID_PKINIT_AUTH_DATA
    assert verified.certificate.der == alice.certificate_der
    assert verified.public_key == public_key_from_cryptography(alice.private_key.public_key())
    assert verified.digest is Digest.SHA256
    assert verified.identifier.form is SignerIdentifierForm.ISSUER_AND_SERIAL
    assert verified.other_certificates == ()
    assert verified.key_warnings == ()


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("plain", [True, False])
def test_rsa_with_each_digest(name: str, plain: bool) -> None:
    """Wire facts 2.4: signatureAlgorithm may be rsaEncryption or shaNNNWithRSA."""
    oid = oids.RSA_ENCRYPTION if plain else RSA_WITH[Digest(name)]
    info = messages.signer_info(
        issued.hello(), name=name, signature_algorithm=messages.algorithm(oid, NULL)
    )
    assert verify(messages.signed_data(infos=(info,))).digest == name


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_ecdsa_with_each_digest(name: str) -> None:
    """RFC 5754 3.3; parameters absent."""
    alice = issued.hello("alice", KeyType.EC_P256)
    algorithm = messages.algorithm(ECDSA_WITH[Digest(name)])
    info = messages.signer_info(alice, name=name, signature_algorithm=algorithm)
    assert verify(messages.signed_data(signer=alice, infos=(info,))).digest == name


def test_digest_parameters_absent() -> None:
    """RFC 5754 2: absent is what SHOULD be sent, NULL must be taken too."""
    info = messages.signer_info(
        issued.hello(),
        digest_algorithm=messages.algorithm(oids.SHA256),
        signature_algorithm=messages.algorithm(oids.SHA256_WITH_RSA),
    )
    assert verify(messages.signed_data(infos=(info,))).content == CONTENT


@pytest.mark.parametrize("form", ["implicit", "heimdal"])
def test_key_identifier_of_the_extension(form: str) -> None:
    """RFC 5652 5.3 tags it IMPLICIT; Heimdal wraps an OCTET STRING. Both name the SKI extension."""
    alice = issued.leaf()
    ski = messages.key_identifier(alice)
    sid = (
        der.tlv(0x80, ski) if form == "implicit" else der.explicit(0, der.encode_octet_string(ski))
    )
    info = messages.signer_info(alice, sid=sid, version=3)
    verified = verify(messages.signed_data(signer=alice, infos=(info,)))
    assert verified.identifier.form is SignerIdentifierForm.SUBJECT_KEY_IDENTIFIER
    assert verified.identifier.key_identifier == ski


def test_key_identifier_of_a_certificate_without_the_extension() -> None:
    """Windows Hello certificates have no SKI: SHA-1 of the key bits is meant."""
    alice = issued.hello()
    sid = der.tlv(0x80, messages.key_identifier(alice))
    info = messages.signer_info(alice, sid=sid, version=3)
    assert verify(messages.signed_data(signer=alice, infos=(info,))).content == CONTENT


def test_key_hash_does_not_stand_in_for_another_ski_extension() -> None:
    """A certificate that says what its key identifier is, is found by that one only."""
    leaf = issued.leaf()
    odd = leaf.certificate_der.replace(messages.key_identifier(leaf), b"\x07" * 20)
    sid = der.tlv(0x80, messages.key_identifier(leaf))
    info = messages.signer_info(leaf, sid=sid)
    data = messages.signed_data(signer=leaf, infos=(info,), certificates=(odd,))
    assert refusal(data) == (CmsFault.NO_SIGNER_CERTIFICATE, "none is the signer's")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_signer_is_found_among_several_certificates(position: int) -> None:
    """The signer identifier picks the certificate, wherever it stands."""
    alice = issued.leaf()
    bag = [issued.root().certificate_der, issued.kdc().certificate_der]
    bag.insert(position, alice.certificate_der)
    verified = verify(messages.signed_data(signer=alice, certificates=tuple(bag)))
    assert verified.certificate.der == alice.certificate_der
    bag.remove(alice.certificate_der)
    assert verified.other_certificates == tuple(bag)


def test_unreadable_certificate_does_not_hide_the_signers() -> None:
    """Only the signer's certificate has to be in order."""
    alice = issued.hello()
    bag = (der.sequence(der.encode_integer(1)), alice.certificate_der)
    assert verify(messages.signed_data(certificates=bag)).certificate.der == alice.certificate_der


def test_fault_of_an_unreadable_certificate_is_reported_when_none_is_found() -> None:
    """It says more than that the signer is missing."""
    data = messages.signed_data(certificates=(der.sequence(der.encode_integer(1)),))
    assert refusal(data)[0] is DerFault.BAD_TAG


def test_other_attributes_are_ignored() -> None:
    """Samba's test adds one; Windows sends a signing time."""
    extra = messages.attribute(oids.ID_SIGNING_TIME, der.encode_generalized_time(issued.NOW))
    attributes = (messages.content_type(), extra, messages.message_digest())
    info = messages.signer_info(issued.hello(), attributes=attributes)
    assert verify(messages.signed_data(infos=(info,))).content == CONTENT


def test_crls_and_unsigned_attributes_are_ignored() -> None:
    """Neither is read; neither is signed."""
    unsigned = der.tlv(0xA1, messages.attribute("1.2.3", NULL))
    info = messages.signer_info(issued.hello(), tail=unsigned)
    crl = ca.create_crl(issued.root(), 1, (), issued.NOW)
    data = messages.signed_data(infos=(info,), crls=der.tlv(0xA1, crl))
    assert verify(data).content == CONTENT


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("info_version", [1, 3])
def test_versions_1_and_3_in_any_pair(version: int, info_version: int) -> None:
    """Wire facts 2.4: version 3 with SignerInfo v1 or v3; Heimdal's versions vary."""
    info = messages.signer_info(issued.hello(), version=info_version)
    assert verify(messages.signed_data(infos=(info,), version=version)).content == CONTENT


def test_sha1_with_the_switch_on() -> None:
    """legacy_sha1_cms: Windows before 11 24H2."""
    info = messages.signer_info(issued.hello(), name="sha1")
    assert verify(messages.signed_data(infos=(info,)), WITH_SHA1).digest is Digest.SHA1


def test_key_warnings_come_back() -> None:
    """What the key policy says without refusing goes into the audit record."""
    assert verify(messages.signed_data(), key_policy=lambda _: ("odd",)).key_warnings == ("odd",)


def test_accepted_digests_are_listed_in_order() -> None:
    """TD-CMS-DIGEST-ALGORITHMS needs the list of what would have been accepted."""
    assert STRICT.accepted_digests == (Digest.SHA256, Digest.SHA384, Digest.SHA512)
    assert WITH_SHA1.accepted_digests[-1] is Digest.SHA1


# -- RSASSA-PSS ------------------------------------------------------------------------------


_SHA256 = messages.algorithm(oids.SHA256, NULL)


def _pss_of(*fields: bytes) -> bytes:
    return messages.algorithm(oids.RSASSA_PSS, der.sequence(*fields))


def _pss(
    name: str = "sha256",
    mask: str = "sha256",
    salt: int = 32,
    *,
    mask_oid: str = oids.ID_MGF1,
    tail: bytes = b"",
) -> bytes:
    digest = messages.algorithm(messages.HASHES[name][0], NULL)
    mask_digest = messages.algorithm(messages.HASHES[mask][0], NULL)
    return _pss_of(
        der.explicit(0, digest),
        der.explicit(1, messages.algorithm(mask_oid, mask_digest)),
        b"" if salt == 20 else der.explicit(2, der.encode_integer(salt)),
        tail,
    )


def _pss_message(algorithm: bytes, *, name: str = "sha256", salt: int = 32) -> bytes:
    made = padding.PSS(padding.MGF1(messages.HASHES[name][1]), salt)
    info = messages.signer_info(issued.hello(), name=name, signature_algorithm=algorithm, pss=made)
    return messages.signed_data(infos=(info,))


@pytest.mark.parametrize(("name", "salt"), [("sha256", 32), ("sha384", 48), ("sha512", 64)])
def test_pss_with_each_digest(name: str, salt: int) -> None:
    """RFC 4056: one hash throughout."""
    assert verify(_pss_message(_pss(name, name, salt), name=name, salt=salt)).digest == name


@pytest.mark.parametrize("salt", [0, 20, 222])
def test_pss_with_any_salt_length_the_key_has_room_for(salt: int) -> None:
    """20 is the DEFAULT, so absent; OpenSSL 3.0 fills the modulus."""
    assert verify(_pss_message(_pss(salt=salt), salt=salt)).content == CONTENT


@pytest.mark.parametrize(
    ("algorithm", "fault", "detail"),
    [
        (messages.algorithm(oids.RSASSA_PSS), CmsFault.MALFORMED, "RSASSA-PSS without parameters"),
        (_pss(mask="sha384"), CmsFault.ALGORITHM_MISMATCH, "hash of RSASSA-PSS"),
        (_pss(name="sha384"), CmsFault.ALGORITHM_MISMATCH, "hash of RSASSA-PSS"),
        (
            messages.algorithm(oids.RSASSA_PSS, der.sequence()),
            CmsFault.ALGORITHM_MISMATCH,
            "hash of RSASSA-PSS",
        ),
        (
            _pss(mask_oid="1.2.3"),
            CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED,
            "mask generation",
        ),
        (_pss(salt=513), CmsFault.MALFORMED, "RSASSA-PSS parameters"),
        (
            _pss(tail=der.explicit(3, der.encode_integer(2))),
            CmsFault.MALFORMED,
            "RSASSA-PSS parameters",
        ),
        (
            _pss_of(
                der.explicit(0, messages.algorithm(oids.SHA256, der.sequence())),
                der.explicit(1, messages.algorithm(oids.ID_MGF1, _SHA256)),
            ),
            CmsFault.MALFORMED,
            "hash parameters",
        ),
        (
            _pss_of(der.explicit(0, _SHA256), der.explicit(1, messages.algorithm(oids.ID_MGF1))),
            CmsFault.MALFORMED,
            "MGF1 parameters",
        ),
        (_pss(salt=31), CmsFault.BAD_SIGNATURE, "signature"),
        (_pss(salt=500), CmsFault.BAD_SIGNATURE, "signature"),
    ],
)
def test_pss_parameters_that_do_not_fit(algorithm: bytes, fault: CmsFault, detail: str) -> None:
    """RFC 8017 A.2.3 with SHA-256 in digestAlgorithm: one parameter wrong at a time."""
    assert refusal(_pss_message(algorithm)) == (fault, detail)


# -- structure -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "fault", "detail"),
    [
        (messages.content_info(b"\x04\x00", oids.ID_DATA), CmsFault.NOT_SIGNED_DATA, None),
        # P06: the bare form of MIT before 1.10.
        (
            messages.content_info(der.encode_octet_string(CONTENT), oids.ID_PKINIT_AUTH_DATA),
            CmsFault.NOT_SIGNED_DATA,
            "ContentInfo.contentType",
        ),
        (messages.signed_data(version=4), CmsFault.MALFORMED, "SignedData.version"),
        (messages.signed_data(version=0), CmsFault.MALFORMED, "SignedData.version"),
        (
            messages.signed_data(infos=(messages.signer_info(issued.hello(), version=2),)),
            CmsFault.MALFORMED,
            "SignerInfo.version",
        ),
        (messages.signed_data(e_content=b""), CmsFault.MALFORMED, "no eContent"),
        (
            messages.signed_data(e_content=der.explicit(0, der.tlv(0x24, b"\x04\x01x"))),
            DerFault.BAD_TAG,
            None,
        ),
        (
            messages.signed_data(certificates=(der.tlv(0xA1, b""),)),
            CmsFault.MALFORMED,
            "CertificateChoices other than certificate",
        ),
        (
            messages.signed_data(certificates=(issued.hello().certificate_der,) * 65),
            DerFault.OVER_LIMIT,
            None,
        ),
        (
            messages.signed_data(
                infos=(
                    messages.signer_info(
                        issued.hello(),
                        attributes=tuple(messages.attribute(f"1.2.3.{n}", NULL) for n in range(17)),
                    ),
                )
            ),
            DerFault.OVER_LIMIT,
            None,
        ),
        (
            messages.signed_data(infos=(messages.signer_info(issued.hello(), sid=b"\x82\x01x"),)),
            CmsFault.MALFORMED,
            "SignerIdentifier",
        ),
        (
            messages.signed_data(infos=(messages.signer_info(issued.hello(), sid=b"\x80\x00"),)),
            CmsFault.MALFORMED,
            "empty subjectKeyIdentifier",
        ),
        (
            messages.signed_data(
                infos=(messages.signer_info(issued.hello(), sid=b"\xa0\x04\x04\x01x\0"),)
            ),
            DerFault.TRAILING_DATA,
            None,
        ),
    ],
)
def test_structure_that_is_not_ours_to_read(data: bytes, fault: Fault, detail: str | None) -> None:
    """RFC 5652 3, 5.1, 5.3: one thing wrong at a time."""
    got = refusal(data)
    assert got[0] is fault
    assert detail is None or got[1] == detail


def test_bare_signed_data_is_refused() -> None:
    """No ContentInfo around it (Windows' inner form of RSA replies is not for requests)."""
    wrapped = messages.signed_data()
    outer = der.open_tlv(wrapped, der.SEQUENCE)
    oid_end = der.read_tlv(wrapped, outer[0])[2]
    start, end = der.open_tlv(wrapped, 0xA0, oid_end)
    assert refusal(wrapped[start:end])[0] is DerFault.BAD_TAG


@pytest.mark.parametrize("where", ["after ContentInfo", "in SignedData", "in SignerInfo"])
def test_trailing_bytes_are_refused(where: str) -> None:
    """Row P24."""
    if where == "after ContentInfo":
        data = messages.signed_data() + b"\0"
    elif where == "in SignedData":
        data = messages.signed_data(tail=NULL)
    else:
        info = messages.signer_info(issued.hello(), tail=NULL)
        data = messages.signed_data(infos=(info,))
    assert refusal(data)[0] is DerFault.TRAILING_DATA


def test_indefinite_length_is_refused() -> None:
    """BER is not DER (row E01)."""
    data = messages.signed_data()
    start, end = der.open_tlv(data, der.SEQUENCE)
    assert refusal(b"\x30\x80" + data[start:end] + b"\0\0")[0] is DerFault.BAD_LENGTH


# -- signers and certificates ----------------------------------------------------------------


def test_no_signer_is_parsed_but_not_verified() -> None:
    """Row P05: anonymous PKINIT has no SignerInfo; nobody signed anything."""
    data = messages.signed_data(infos=(), certificates=())
    assert cms.parse_signed_data(data).signer is None
    assert refusal(data) == (CmsFault.NO_SIGNER, "signerInfos")


def test_two_valid_signers_are_refused() -> None:
    """Row P07: alice and bob, both valid; RFC 4556 3.2.1 wants a single SignerInfo."""
    alice, bob = issued.hello("alice"), issued.hello("bob")
    data = messages.signed_data(
        infos=(messages.signer_info(alice), messages.signer_info(bob)),
        certificates=(alice.certificate_der, bob.certificate_der),
    )
    assert refusal(data) == (CmsFault.SEVERAL_SIGNERS, "signerInfos")


def test_signer_certificate_absent_from_the_bag() -> None:
    """Row P09."""
    data = messages.signed_data(certificates=(issued.hello("bob").certificate_der,))
    assert refusal(data) == (CmsFault.NO_SIGNER_CERTIFICATE, "none is the signer's")


def test_empty_bag() -> None:
    """Row P09: what MIT sends for a self-signed certificate."""
    assert refusal(messages.signed_data(certificates=())) == (
        CmsFault.NO_SIGNER_CERTIFICATE,
        "none sent",
    )


@pytest.mark.parametrize("part", ["issuer", "serial"])
def test_issuer_and_serial_must_both_match(part: str) -> None:
    """RFC 5652 10.2.4: the pair names a certificate, neither alone."""
    alice, bob = issued.leaf("alice"), issued.leaf("bob")
    wanted = Certificate(alice.certificate_der)
    other = Certificate(bob.certificate_der)
    hello = Certificate(issued.hello().certificate_der)
    issuer = hello.issuer if part == "issuer" else wanted.issuer
    serial = other.serial_number if part == "serial" else wanted.serial_number
    info = messages.signer_info(alice, sid=der.sequence(issuer, der.encode_integer(serial)))
    data = messages.signed_data(signer=alice, infos=(info,))
    assert refusal(data) == (CmsFault.NO_SIGNER_CERTIFICATE, "none is the signer's")


def test_certificate_named_by_the_signer_but_signed_with_another_key() -> None:
    """Row P08: bob names alice's certificate; the identity is that certificate, so bob fails."""
    alice, bob = issued.hello("alice"), issued.hello("bob")
    info = messages.signer_info(bob, sid=messages.issuer_and_serial(alice))
    data = messages.signed_data(
        infos=(info,), certificates=(bob.certificate_der, alice.certificate_der)
    )
    assert refusal(data) == (CmsFault.BAD_SIGNATURE, "signature")


# -- digests and algorithms ------------------------------------------------------------------


@pytest.mark.parametrize(("oid", "policy"), [(oids.SHA1, STRICT), (oids.MD5, WITH_SHA1)])
def test_digest_not_accepted(oid: str, policy: CmsPolicy) -> None:
    """Row P10: SHA-1 while the switch is off, MD5 whatever is switched."""
    name = {oids.SHA1: "sha1", oids.MD5: "md5"}[oid]
    info = messages.signer_info(issued.hello(), name=name)
    data = messages.signed_data(infos=(info,))
    assert refusal(data, policy) == (CmsFault.DIGEST_NOT_ACCEPTED, "digestAlgorithm")


@pytest.mark.parametrize(
    "oid", [oids.SHA384_WITH_RSA, oids.SHA1_WITH_RSA, oids.MD5_WITH_RSA, oids.ECDSA_WITH_SHA384]
)
def test_signature_algorithm_names_another_hash(oid: str) -> None:
    """Row P11: SHA-256 in digestAlgorithm."""
    info = messages.signer_info(issued.hello(), signature_algorithm=messages.algorithm(oid, NULL))
    assert refusal(messages.signed_data(infos=(info,)), WITH_SHA1) == (
        CmsFault.ALGORITHM_MISMATCH,
        "hash of signatureAlgorithm",
    )


def test_unknown_signature_algorithm() -> None:
    """Ed25519, for one."""
    info = messages.signer_info(
        issued.hello(), signature_algorithm=messages.algorithm("1.3.101.112")
    )
    assert refusal(messages.signed_data(infos=(info,))) == (
        CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED,
        "unknown",
    )


@pytest.mark.parametrize(
    ("key_type", "algorithm"),
    [
        (KeyType.RSA_2048, messages.algorithm(oids.ECDSA_WITH_SHA256)),
        (KeyType.EC_P256, messages.algorithm(oids.RSA_ENCRYPTION, NULL)),
    ],
)
def test_signature_algorithm_for_another_kind_of_key(key_type: KeyType, algorithm: bytes) -> None:
    """ECDSA named with an RSA key, plain RSA with an EC key."""
    alice = issued.hello("alice", key_type)
    info = messages.signer_info(alice, signature_algorithm=algorithm)
    assert refusal(messages.signed_data(signer=alice, infos=(info,))) == (
        CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED,
        "not for this kind of key",
    )


def test_ecdsa_under_the_name_of_rsa_as_mit_sends_it() -> None:
    """MIT 1.20 names sha256WithRSAEncryption whatever its key; what was made is ECDSA."""
    alice = issued.hello("alice", KeyType.EC_P256)
    algorithm = messages.algorithm(oids.SHA256_WITH_RSA, NULL)
    info = messages.signer_info(alice, signature_algorithm=algorithm)
    assert verify(messages.signed_data(signer=alice, infos=(info,))).content == CONTENT
    info = messages.signer_info(alice, signature_algorithm=algorithm, change_signature=_flip(-1))
    data = messages.signed_data(signer=alice, infos=(info,))
    assert refusal(data) == (CmsFault.BAD_SIGNATURE, "signature")


@pytest.mark.parametrize(
    ("digest", "algorithm", "detail"),
    [
        (
            messages.algorithm(oids.SHA256, der.sequence()),
            None,
            "digestAlgorithm parameters",
        ),
        (
            None,
            messages.algorithm(oids.SHA256_WITH_RSA, der.sequence()),
            "signatureAlgorithm parameters",
        ),
        (
            None,
            messages.algorithm(oids.ECDSA_WITH_SHA256, NULL),
            "signatureAlgorithm parameters",
        ),
    ],
)
def test_parameters_that_the_algorithm_does_not_have(
    digest: bytes | None, algorithm: bytes | None, detail: str
) -> None:
    """RFC 5754 2, 3.2, 3.3."""
    info = messages.signer_info(
        issued.hello(), digest_algorithm=digest, signature_algorithm=algorithm
    )
    assert refusal(messages.signed_data(infos=(info,))) == (CmsFault.MALFORMED, detail)


# -- signed attributes -----------------------------------------------------------------------

_DIGEST_TWICE = messages.attribute(
    oids.ID_MESSAGE_DIGEST, *[der.encode_octet_string(b"x" * 32)] * 2
)


@pytest.mark.parametrize(
    ("attributes", "detail"),
    [
        # P03, both ways.
        ((messages.message_digest(),), "no contentType"),
        (
            (messages.content_type(oids.ID_DATA), messages.message_digest()),
            "contentType is not eContentType",
        ),
        ((messages.content_type(),), "no messageDigest"),
        # E06.
        ((messages.message_digest(), messages.content_type()), "not in DER order"),
        ((messages.content_type(),) * 2, "not in DER order"),
        (
            tuple(sorted((messages.message_digest(), messages.message_digest(b"x")))),
            "repeated",
        ),
        ((messages.content_type(), _DIGEST_TWICE), "not exactly one value"),
        (
            (messages.attribute(oids.ID_MESSAGE_DIGEST), messages.content_type()),
            "not exactly one value",
        ),
    ],
)
def test_signed_attributes_that_break_a_rule(attributes: tuple[bytes, ...], detail: str) -> None:
    """RFC 5652 5.3, 5.4, 11.1, 11.2; the signature over them is right each time."""
    info = messages.signer_info(issued.hello(), attributes=attributes)
    assert refusal(messages.signed_data(infos=(info,))) == (
        CmsFault.BAD_SIGNED_ATTRIBUTES,
        detail,
    )


def test_content_type_may_be_missing_when_the_policy_says_so() -> None:
    """Row P03: Samba's own client leaves it out. A wrong one stays wrong."""
    loose = CmsPolicy(require_content_type_attribute=False)
    info = messages.signer_info(issued.hello(), attributes=(messages.message_digest(),))
    assert verify(messages.signed_data(infos=(info,)), loose).content == CONTENT
    wrong = (messages.content_type(oids.ID_DATA), messages.message_digest())
    info = messages.signer_info(issued.hello(), attributes=wrong)
    assert refusal(messages.signed_data(infos=(info,)), loose)[0] is CmsFault.BAD_SIGNED_ATTRIBUTES


def test_no_signed_attributes_at_all() -> None:
    """RFC 5652 5.3: they MUST be there when the content is not id-data."""
    info = messages.signer_info(issued.hello(), attributes=(), signed=CONTENT)
    assert refusal(messages.signed_data(infos=(info,))) == (
        CmsFault.BAD_SIGNED_ATTRIBUTES,
        "no signedAttrs",
    )


def test_attributes_passed_off_as_content() -> None:
    """The SET of a captured signature as eContent, without signedAttrs: never verifies."""
    attributes = der.tlv(der.SET, messages.content_type() + messages.message_digest())
    info = messages.signer_info(issued.hello(), attributes=(), signed=attributes)
    content = der.explicit(0, der.encode_octet_string(attributes))
    assert refusal(messages.signed_data(infos=(info,), e_content=content)) == (
        CmsFault.BAD_SIGNED_ATTRIBUTES,
        "no signedAttrs",
    )


def test_message_digest_of_other_content() -> None:
    """Row P02: the signature is right, over attributes that speak of something else."""
    attributes = (messages.content_type(), messages.message_digest(b"another content"))
    info = messages.signer_info(issued.hello(), attributes=attributes)
    assert refusal(messages.signed_data(infos=(info,))) == (
        CmsFault.DIGEST_MISMATCH,
        "messageDigest",
    )


def test_message_digest_of_another_length() -> None:
    """A SHA-384 value under SHA-256."""
    attributes = (messages.content_type(), messages.message_digest(name="sha384"))
    info = messages.signer_info(issued.hello(), attributes=attributes)
    assert refusal(messages.signed_data(infos=(info,))) == (
        CmsFault.DIGEST_MISMATCH,
        "length of messageDigest",
    )


@pytest.mark.parametrize("oid", [oids.ID_DATA, oids.ID_PKINIT_RKEY_DATA])
def test_content_of_another_type(oid: str) -> None:
    """Row P04: rightly signed, but not an AuthPack."""
    attributes = (messages.content_type(oid), messages.message_digest())
    info = messages.signer_info(issued.hello(), attributes=attributes)
    data = messages.signed_data(infos=(info,), e_content_type=oid)
    assert refusal(data) == (CmsFault.WRONG_CONTENT_TYPE, "eContentType")


# -- signatures ------------------------------------------------------------------------------


def _flip(position: int) -> Callable[[bytes], bytes]:
    def flip(value: bytes) -> bytes:
        changed = bytearray(value)
        changed[position] ^= 1
        return bytes(changed)

    return flip


@pytest.mark.parametrize("key_type", list(KeyType))
@pytest.mark.parametrize("position", [-1, 20])
def test_one_bit_flipped_in_the_signature(key_type: KeyType, position: int) -> None:
    """Row P01."""
    alice = issued.hello("alice", key_type)
    info = messages.signer_info(alice, change_signature=_flip(position))
    assert refusal(messages.signed_data(signer=alice, infos=(info,))) == (
        CmsFault.BAD_SIGNATURE,
        "signature",
    )


@pytest.mark.parametrize(
    "change", [lambda _: b"", lambda s: s[:-1], lambda s: s + b"\0", lambda s: b"\0" + s]
)
@pytest.mark.parametrize("key_type", list(KeyType))
def test_signature_of_another_length(key_type: KeyType, change: Callable[[bytes], bytes]) -> None:
    """RFC 8017 8.2.2 step 1; RFC 3279 2.2.3."""
    alice = issued.hello("alice", key_type)
    info = messages.signer_info(alice, change_signature=change)
    assert refusal(messages.signed_data(signer=alice, infos=(info,)))[0] is CmsFault.BAD_SIGNATURE


@pytest.mark.parametrize(("r", "s"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_ecdsa_signature_of_zeros(r: int, s: int) -> None:
    """Row P14: CVE-2022-21449's class."""
    alice = issued.hello("alice", KeyType.EC_P256)
    info = messages.signer_info(alice, change_signature=lambda _: encode_dss_signature(r, s))
    assert refusal(messages.signed_data(signer=alice, infos=(info,))) == (
        CmsFault.BAD_SIGNATURE,
        "signature",
    )


def test_ecdsa_signature_that_is_not_der() -> None:
    """Row P14: r with a needless zero before it."""
    alice = issued.hello("alice", KeyType.EC_P256)
    bad = bytes.fromhex("300702020001020101")
    info = messages.signer_info(alice, change_signature=lambda _: bad)
    assert refusal(messages.signed_data(signer=alice, infos=(info,)))[0] is CmsFault.BAD_SIGNATURE


def _icbrt(value: int) -> int:
    """Return the integer cube root, rounded down, by bisection."""
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**3 <= value:
            low = middle
        else:
            high = middle - 1
    return low


def _exponent_three(name: str) -> IssuedCertificate:
    """A Hello certificate whose key has e=3: its signature is worthless, the key is what counts."""
    # Primes with p mod 3 = 2, so that 3 has an inverse.
    while True:
        numbers = rsa.generate_private_key(65537, 2048).private_numbers()
        if numbers.p % 3 == 2 and numbers.q % 3 == 2:
            break
    d = pow(3, -1, (numbers.p - 1) * (numbers.q - 1))
    key = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=d,
        dmp1=d % (numbers.p - 1),
        dmq1=d % (numbers.q - 1),
        iqmp=numbers.iqmp,
        public_numbers=rsa.RSAPublicNumbers(3, numbers.public_numbers.n),
    ).private_key()
    subject = simple_name((oids.ID_AT_COMMON_NAME, name))
    made = ca.self_signed_hello_certificate(key, subject, issued.NOW)
    return IssuedCertificate(certificate_der=made, private_key=key)


def test_bleichenbacher_forgery_with_exponent_three() -> None:
    """Row P14: garbage after the DigestInfo. Policy refuses e=3, the library the padding."""
    victim = _exponent_three("victim")
    attributes = der.tlv(der.SET, messages.content_type() + messages.message_digest())
    digest = hashes.Hash(hashes.SHA256())
    digest.update(attributes)
    info = der.sequence(
        messages.algorithm(oids.SHA256, NULL), der.encode_octet_string(digest.finalize())
    )
    block = b"\x00\x01" + b"\xff" * 8 + b"\x00" + info
    target = int.from_bytes(block + b"\0" * (256 - len(block)), "big")
    forged = _icbrt(target) + 1
    assert (forged**3).to_bytes(256, "big").startswith(block)
    made = messages.signer_info(victim, change_signature=lambda _: forged.to_bytes(256, "big"))
    data = messages.signed_data(signer=victim, infos=(made,))
    assert refusal(data)[0] is KeyFault.BAD_EXPONENT
    with pytest.raises(PkiError) as caught:
        verify(data, key_policy=lambda _: ())
    assert caught.value.fault is CmsFault.BAD_SIGNATURE


def test_key_policy_runs_before_any_signature_work() -> None:
    """A refused key costs no cryptography: the bad signature behind it is not even seen."""
    alice = issued.hello()
    seen: list[PublicKey] = []

    def refuse(key: PublicKey) -> tuple[str, ...]:
        seen.append(key)
        raise PkiError(KeyFault.TOO_SMALL, "policy")

    info = messages.signer_info(alice, change_signature=_flip(-1))
    with pytest.raises(PkiError) as caught:
        verify(messages.signed_data(infos=(info,)), key_policy=refuse)
    assert caught.value.fault is KeyFault.TOO_SMALL
    assert seen == [public_key_from_cryptography(alice.private_key.public_key())]


def test_small_key_is_refused_by_policy() -> None:
    """Row P13: 1024 bits."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505  # what must be refused
    subject = simple_name((oids.ID_AT_COMMON_NAME, "small"))
    made = ca.self_signed_hello_certificate(key, subject, issued.NOW)
    small = IssuedCertificate(certificate_der=made, private_key=key)
    assert refusal(messages.signed_data(signer=small))[0] is KeyFault.TOO_SMALL


def test_curve_outside_the_list_is_unsupported() -> None:
    """secp256k1: a key we cannot read at all."""
    key = ec.generate_private_key(ec.SECP256K1())
    subject = simple_name((oids.ID_AT_COMMON_NAME, "coin"))
    made = ca.self_signed_hello_certificate(key, subject, issued.NOW)
    coin = IssuedCertificate(certificate_der=made, private_key=key)
    assert refusal(messages.signed_data(signer=coin)) == (KeyFault.UNSUPPORTED, "curve")
