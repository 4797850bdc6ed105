"""The AS exchange of our client: a fake KDC that is right, then wrong in one thing at a time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kdc.client.as_exchange import MAX_ROUNDS, AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError, ClientFault, RefusedError
from kdc.client.mechanism import Mechanism
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.crypto.pkinit_kdf import ID_PKINIT_KDF_AH_SHA1, ID_PKINIT_KDF_AH_SHA512
from kdc.wire.constants import ErrorCode, KdcOption, NameType, PaType, TypedData
from kdc.wire.rfc4120 import EtypeInfo2Entry, PrincipalName
from kdc.wire.rfc4556 import AlgorithmIdentifier
from pki import asn1, ca, oids
from pki.cms_sign import CmsSigner
from tests.kdc.client.fake_kdc import (
    ALICE,
    ETYPE,
    KRBTGT,
    NOW,
    PASSWORD,
    REALM,
    SESSION_KEY,
    TOKEN,
    FakeKdc,
    counting_entropy,
    error,
    group_identifier,
    hello,
    kdc_certificate,
    root,
    typed,
)

OPTIONS = PkinitOptions(anchors=(), domain="lab.test")


def pkinit(**changes: object) -> PkinitMechanism:
    options = replace(OPTIONS, anchors=(root().certificate_der,))
    return PkinitMechanism(hello(), replace(options, **changes))  # type: ignore[arg-type]  # by field name


def exchange(mechanism: Mechanism, **changes: object) -> AsExchange:
    options = AsOptions(client=ALICE, realm=REALM)
    return AsExchange(replace(options, **changes), mechanism, counting_entropy)  # type: ignore[arg-type]  # by field name


def log_on(state: AsExchange, kdc: FakeKdc) -> AsResult:
    message = state.start(NOW)
    while True:
        step = state.receive(kdc.handle(message), NOW)
        if isinstance(step, AsResult):
            return step
        message = step


def failure(mechanism: Mechanism, kdc: FakeKdc) -> tuple[ClientFault, str]:
    with pytest.raises(ClientError) as caught:
        log_on(exchange(mechanism), kdc)
    return caught.value.fault, caught.value.detail


# -- what works ------------------------------------------------------------------------------


def test_password_gets_a_ticket() -> None:
    """RFC 4120 3.1: hints, PA-ENC-TIMESTAMP, AS-REP."""
    result = log_on(exchange(PasswordMechanism(PASSWORD)), FakeKdc())
    credential = result.credential
    assert (str(credential.client), str(credential.server)) == (
        "alice@LAB.TEST",
        "krbtgt/LAB.TEST@LAB.TEST",
    )
    assert credential.session_key == SESSION_KEY
    assert (result.mechanism, result.pa_type, result.rounds) == ("password", 2, 2)
    assert result.facts == {"key_etype": int(ETYPE)}


def test_pkinit_gets_a_ticket_and_echoes_the_freshness_token() -> None:
    """RFC 4556 3.2, RFC 8070 2.3, RFC 8636."""
    kdc = FakeKdc()
    result = log_on(exchange(pkinit()), kdc)
    assert result.credential.session_key == SESSION_KEY
    assert (result.mechanism, result.rounds) == ("pkinit", 2)
    assert kdc.auth_packs[0].pk_authenticator.freshness_token == TOKEN
    assert kdc.auth_packs[0].pk_authenticator.pa_checksum2 is not None
    assert result.facts["kex"] == "p256"
    assert result.facts["kdc_key"] == "RSA 2048"


@pytest.mark.parametrize("group", ["modp14", "modp16", "p256", "p384", "p521"])
@pytest.mark.parametrize("kdfs", [(), (ID_PKINIT_KDF_AH_SHA512,)])
def test_every_group_with_either_kind_of_kdf(group: str, kdfs: tuple[str, ...]) -> None:
    """RFC 4556 3.2.3.1 and RFC 8636 6, over MODP and curves."""
    result = log_on(exchange(pkinit(group=group, kdfs=kdfs, freshness=False)), FakeKdc())
    assert result.rounds == 1
    assert result.facts["kex"] == group
    assert result.facts["kdf"] == (kdfs[0] if kdfs else "rfc4556")


@pytest.mark.parametrize("kdfs", [(), (ID_PKINIT_KDF_AH_SHA512,)])
def test_without_a_client_nonce_none_is_expected(kdfs: tuple[str, ...]) -> None:
    """Sending clientDHNonce is optional (RFC 4556 3.2.1)."""
    log_on(exchange(pkinit(dh_nonce=False, kdfs=kdfs)), FakeKdc())


def test_reused_key_with_nonce_zero_is_accepted_until_it_expires() -> None:
    """RFC 4556 3.2.3.1: a reused key is signed with nonce 0 and its expiration."""
    log_on(exchange(pkinit()), FakeKdc(key_info_nonce=0))


def test_enterprise_name_gets_the_account_name() -> None:
    """RFC 6806 5: the client asks for canonicalization and takes the KDC's name."""
    state = exchange(
        PasswordMechanism(PASSWORD), client=client_name("Alice@corp.example"), canonicalize=False
    )
    kdc = FakeKdc(cname=ALICE)
    assert str(log_on(state, kdc).credential.client) == "alice@LAB.TEST"
    body = kdc.requests[0].req_body
    assert body.cname is not None
    assert body.cname.name_type == NameType.ENTERPRISE
    assert body.kdc_options & KdcOption.CANONICALIZE


def test_answer_tagged_as_a_tgs_reply_is_accepted() -> None:
    """RFC 4120 5.4.2: some KDCs use [APPLICATION 26] in AS replies, too."""
    log_on(exchange(PasswordMechanism(PASSWORD)), FakeKdc(enc_part_tag=b"\x7a"))


def test_salt_and_iterations_come_from_the_hints() -> None:
    """RFC 4120 5.2.7.5; without a salt it is the realm and the name."""
    info = EtypeInfo2Entry(etype=int(ETYPE), s2kparams=(4096).to_bytes(4, "big"))
    log_on(exchange(PasswordMechanism(PASSWORD)), FakeKdc(info=info))


# -- what is adapted -------------------------------------------------------------------------


def refuse_once(kdc: FakeKdc, refusal: bytes, state: AsExchange) -> AsResult:
    hints_or_proof = state.start(NOW)
    step = state.receive(kdc.handle(hints_or_proof), NOW)
    assert isinstance(step, bytes)
    step = state.receive(refusal, NOW)
    while isinstance(step, bytes):
        step = state.receive(kdc.handle(step), NOW)
    return step


def test_refused_group_is_replaced_by_the_first_listed_that_we_have() -> None:
    """RFC 4556 3.2.4: TD-DH-PARAMETERS; a 1024-bit group in it is passed over."""
    unknown = AlgorithmIdentifier(algorithm="1.2.3", parameters=b"\x05\x00")
    listed = (unknown, group_identifier("modp2"), group_identifier("modp14"))
    refusal = error(
        ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED, typed(TypedData.DH_PARAMETERS, listed)
    )
    result = refuse_once(FakeKdc(), refusal, exchange(pkinit()))
    assert (result.facts["kex"], result.rounds) == ("modp14", 3)


def test_refused_group_without_one_that_we_accept_is_final() -> None:
    """No downgrade to group 2, whatever the KDC says."""
    refusal = error(
        ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED,
        typed(TypedData.DH_PARAMETERS, (group_identifier("modp2"),)),
    )
    with pytest.raises(RefusedError) as caught:
        refuse_once(FakeKdc(), refusal, exchange(pkinit()))
    assert caught.value.code == ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED


def test_refused_digest_is_replaced_by_a_listed_one() -> None:
    """RFC 4556 3.2.3: TD-CMS-DIGEST-ALGORITHMS (row: 80)."""
    listed = (
        AlgorithmIdentifier(algorithm=oids.SHA1),
        AlgorithmIdentifier(algorithm=oids.SHA512),
    )
    refusal = error(
        ErrorCode.KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED,
        typed(TypedData.CMS_DIGEST_ALGORITHMS, listed),
    )
    result = refuse_once(FakeKdc(), refusal, exchange(pkinit()))
    assert result.facts["digest"] == "sha512"


def test_expired_token_is_asked_for_again_once() -> None:
    """RFC 8070 2.4: KDC_ERR_PREAUTH_EXPIRED, then a request for a new token."""
    kdc = FakeKdc()
    refusal = error(ErrorCode.KDC_ERR_PREAUTH_EXPIRED)
    result = refuse_once(kdc, refusal, exchange(pkinit()))
    assert result.rounds == 4
    state = exchange(pkinit())
    state.receive(kdc.handle(state.start(NOW)), NOW)
    state.receive(refusal, NOW)
    with pytest.raises(RefusedError):
        state.receive(refusal, NOW)


def test_kdc_that_refuses_every_group_is_left() -> None:
    """The number of rounds is bounded."""
    state = exchange(pkinit(freshness=False))
    names = ("modp14", "p256")
    state.start(NOW)
    with pytest.raises(ClientError) as caught:
        for turn in range(MAX_ROUNDS + 1):
            listed = typed(TypedData.DH_PARAMETERS, (group_identifier(names[turn % 2]),))
            state.receive(error(ErrorCode.KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED, listed), NOW)
    assert caught.value.fault is ClientFault.TOO_MANY_ROUNDS


# -- what is refused -------------------------------------------------------------------------


def test_mechanism_that_is_not_offered() -> None:
    """A KDC without a certificate, an account without a password."""
    assert failure(pkinit(), FakeKdc(offered=(PaType.ENC_TIMESTAMP,))) == (
        ClientFault.NOT_OFFERED,
        "pkinit",
    )
    kdc = FakeKdc(offered=(PaType.PK_AS_REQ,))
    assert failure(PasswordMechanism(PASSWORD), kdc) == (ClientFault.NOT_OFFERED, "password")


def test_final_error_keeps_code_and_text() -> None:
    """The e-text holds the reference of the refusal."""
    state = exchange(PasswordMechanism(PASSWORD))
    state.start(NOW)
    with pytest.raises(RefusedError) as caught:
        state.receive(error(ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN, e_text="[ref 7K3M]"), NOW)
    assert caught.value.code == 6
    assert caught.value.e_text == "[ref 7K3M]"
    assert caught.value.detail == "KDC_ERR_C_PRINCIPAL_UNKNOWN"


@pytest.mark.parametrize(
    ("kdc", "fault", "detail"),
    [
        (FakeKdc(crealm="EVIL.TEST"), ClientFault.WRONG_ANSWER, "crealm"),
        (FakeKdc(nonce=1), ClientFault.WRONG_ANSWER, "nonce"),
        (FakeKdc(srealm="EVIL.TEST"), ClientFault.WRONG_ANSWER, "srealm"),
        (FakeKdc(sname=ALICE), ClientFault.WRONG_ANSWER, "sname"),
        (FakeKdc(ticket_sname=ALICE), ClientFault.WRONG_ANSWER, "sname"),
        (
            FakeKdc(session_etype=23),
            ClientFault.BAD_PARAMETERS,
            "session key of a type not asked for",
        ),
        (FakeKdc(starttime=NOW + timedelta(minutes=6)), ClientFault.CLOCK_SKEW, ""),
        (FakeKdc(endtime=NOW.replace(microsecond=0)), ClientFault.WRONG_ANSWER, "endtime"),
        (
            FakeKdc(endtime=NOW.replace(microsecond=0) + timedelta(days=1)),
            ClientFault.WRONG_ANSWER,
            "endtime",
        ),
        (FakeKdc(request_checksum=bytes(12)), ClientFault.WRONG_ANSWER, "checksum of the request"),
        (FakeKdc(enc_part_tag=b"\x7b"), ClientFault.MALFORMED, "unexpected tag: EncAsRepPart"),
    ],
)
def test_answer_that_is_not_for_this_request(kdc: FakeKdc, fault: ClientFault, detail: str) -> None:
    """RFC 4120 3.1.5: what a client checks in an AS-REP."""
    assert failure(PasswordMechanism(PASSWORD), replace(kdc, requests=[])) == (fault, detail)


def test_other_client_name_is_refused_unless_canonicalization_was_asked_for() -> None:
    """RFC 4120 3.1.5, RFC 6806 5."""
    kdc = FakeKdc(cname=PrincipalName(name_type=1, name_string=("bob",)))
    with pytest.raises(ClientError) as caught:
        log_on(exchange(PasswordMechanism(PASSWORD), canonicalize=False), kdc)
    assert (caught.value.fault, caught.value.detail) == (ClientFault.WRONG_ANSWER, "cname")


def test_wrong_password_cannot_open_an_unproven_answer() -> None:
    """A KDC that asks for no proof still answers under the key."""
    state = exchange(PasswordMechanism("wrong"))
    proven = exchange(PasswordMechanism(PASSWORD))
    kdc = FakeKdc()
    request = proven.receive(kdc.handle(proven.start(NOW)), NOW)
    assert isinstance(request, bytes)
    state.start(NOW)
    with pytest.raises(ClientError) as caught:
        state.receive(kdc.handle(request), NOW)
    assert caught.value.fault is ClientFault.WRONG_KEY


def test_cheap_string_to_key_is_refused() -> None:
    """Unauthenticated hints must not make the password cheaper to guess."""
    info = EtypeInfo2Entry(etype=int(ETYPE), salt="x", s2kparams=(1).to_bytes(4, "big"))
    assert failure(PasswordMechanism(PASSWORD), FakeKdc(info=info)) == (
        ClientFault.BAD_PARAMETERS,
        "too few iterations for a password",
    )


def test_hints_without_a_common_encryption_type() -> None:
    """Never RC4."""
    info = EtypeInfo2Entry(etype=23)
    assert failure(PasswordMechanism(PASSWORD), FakeKdc(info=info)) == (
        ClientFault.BAD_PARAMETERS,
        "no encryption type in common",
    )


@pytest.mark.parametrize("message", [b"", b"\x6b", b"\x7e\x02\x30\x00", b"HTTP/1.1 400"])
def test_answer_that_is_no_kerberos_message(message: bytes) -> None:
    """Whatever answers on that port."""
    state = exchange(PasswordMechanism(PASSWORD))
    state.start(NOW)
    with pytest.raises(ClientError) as caught:
        state.receive(message, NOW)
    assert caught.value.fault is ClientFault.MALFORMED


# -- PKINIT: the KDC must prove itself -------------------------------------------------------


def test_kdc_certificate_of_another_ca() -> None:
    """MS-PKCA 3.1.5.1: the chain ends at the realm's anchor."""
    other = ca.create_root(REALM, NOW)
    mechanism = pkinit(anchors=(other.certificate_der,))
    assert failure(mechanism, FakeKdc()) == (
        ClientFault.KDC_NOT_TRUSTED,
        "its certificate does not chain to the anchor",
    )


def test_no_anchor_is_no_trust() -> None:
    """PKINIT without an anchor would be a logon to anybody."""
    assert failure(pkinit(anchors=()), FakeKdc())[0] is ClientFault.KDC_NOT_TRUSTED


def signer_of(issued: ca.IssuedCertificate) -> CmsSigner:
    return CmsSigner(issued.private_key, issued.certificate_der)


def test_kdc_certificate_of_another_realm() -> None:
    """The same CA may serve several realms."""
    signer = signer_of(kdc_certificate("OTHER.TEST"))
    assert failure(pkinit(), FakeKdc(signer=signer)) == (
        ClientFault.KDC_NOT_TRUSTED,
        "its certificate names another realm",
    )


def test_expired_kdc_certificate() -> None:
    """Dates matter for the KDC, though not for the client's key."""
    issued = ca.issue_kdc_certificate(
        root(), REALM, (), None, ca.KeyType.EC_P256, NOW - timedelta(days=9), 8
    )
    assert failure(pkinit(), FakeKdc(signer=signer_of(issued))) == (
        ClientFault.KDC_NOT_TRUSTED,
        "its certificate, or one above it, is not valid now",
    )


def test_user_certificate_of_the_realm_is_no_kdc() -> None:
    """Only id-pkinit-KPKdc makes a KDC: a user of the same CA is none (RFC 4556 3.2.4)."""
    key = ca.generate_key(ca.KeyType.EC_P256)
    leaf = ca.issue_client_leaf(root(), key.public_key(), (), NOW)
    assert failure(pkinit(), FakeKdc(signer=CmsSigner(key, leaf))) == (
        ClientFault.KDC_NOT_TRUSTED,
        "its certificate is not for a KDC (id-pkinit-KPKdc)",
    )


def test_kdc_certificate_named_by_its_domain_alone() -> None:
    """A Windows domain controller's has no krbtgt name (wire facts 2.5)."""
    other = kdc_certificate("OTHER.TEST")
    mechanism = pkinit(domain="other.test")
    log_on(exchange(mechanism), FakeKdc(signer=signer_of(other)))


@pytest.mark.parametrize(
    ("kdc", "detail"),
    [
        (FakeKdc(key_info_nonce=7), "nonce of KDCDHKeyInfo"),
        (FakeKdc(key_info_nonce=0, expiration=None), "reused key without dhKeyExpiration"),
        (
            FakeKdc(key_info_nonce=0, expiration=NOW.replace(microsecond=0) - timedelta(1)),
            "the KDC's key agreement key expired",
        ),
        (FakeKdc(key_info_nonce=0, server_nonce=None), "nonce of KDCDHKeyInfo"),
    ],
)
def test_signed_key_of_another_exchange(kdc: FakeKdc, detail: str) -> None:
    """RFC 4556 3.2.4: nonce, or 0 with an expiration in the future."""
    assert failure(pkinit(), replace(kdc, requests=[], auth_packs=[])) == (
        ClientFault.WRONG_ANSWER,
        detail,
    )


def test_server_nonce_that_was_not_asked_for() -> None:
    """RFC 4556 3.2.3.1: serverDHNonce only answers a clientDHNonce."""
    assert failure(pkinit(dh_nonce=False), FakeKdc(unasked_nonce=True)) == (
        ClientFault.WRONG_ANSWER,
        "serverDHNonce without clientDHNonce",
    )


def test_kdf_that_was_not_offered() -> None:
    """RFC 8636 4: the KDC picks among supportedKDFs."""
    assert failure(pkinit(), FakeKdc(kdf=ID_PKINIT_KDF_AH_SHA1)) == (
        ClientFault.BAD_PARAMETERS,
        "KDF that was not offered",
    )


def test_reply_without_pk_as_rep() -> None:
    """An answer to another request, under no key of ours."""
    kdc = FakeKdc()
    other = exchange(PasswordMechanism(PASSWORD))
    request = other.receive(kdc.handle(other.start(NOW)), NOW)
    assert isinstance(request, bytes)
    state = exchange(pkinit())
    state.receive(kdc.handle(state.start(NOW)), NOW)
    with pytest.raises(ClientError) as caught:
        state.receive(kdc.handle(request), NOW)
    assert caught.value.detail == "no PA-PK-AS-REP in the reply"


def test_flipped_bit_in_the_signature() -> None:
    """Row P01, seen from the client."""
    state = exchange(pkinit(freshness=False))
    answer = bytearray(FakeKdc().handle(state.start(NOW)))
    # The enc-part is the last field; the signature lies before the ticket.
    answer[answer.index(asn1.encode(KRBTGT)) - 60] ^= 1
    with pytest.raises(ClientError) as caught:
        state.receive(bytes(answer), NOW)
    assert caught.value.fault in (ClientFault.KDC_NOT_TRUSTED, ClientFault.MALFORMED)


def test_no_password_in_the_repr() -> None:
    """Mechanisms end up in logs and tracebacks."""
    assert PASSWORD not in repr(PasswordMechanism(PASSWORD))
