"""Numbers of the registries, each against a table that somebody else has written."""

import pytest
from impacket.krb5 import constants as judge  # type: ignore[import-untyped]  # it ships no types

from kdc.wire.constants import ErrorCode, KdcOption, MessageType, NameType, PaType, TicketFlag

DOCUMENTS = """
0 NONE 1 NAME_EXP 2 SERVICE_EXP 3 BAD_PVNO 4 C_OLD_MAST_KVNO 5 S_OLD_MAST_KVNO 6 C_PRINCIPAL_UNKNOWN
7 S_PRINCIPAL_UNKNOWN 8 PRINCIPAL_NOT_UNIQUE 9 NULL_KEY 10 CANNOT_POSTDATE 11 NEVER_VALID 12 POLICY
13 BADOPTION 14 ETYPE_NOSUPP 15 SUMTYPE_NOSUPP 16 PADATA_TYPE_NOSUPP 17 TRTYPE_NOSUPP
18 CLIENT_REVOKED 19 SERVICE_REVOKED 20 TGT_REVOKED 21 CLIENT_NOTYET 22 SERVICE_NOTYET
23 KEY_EXPIRED 24 PREAUTH_FAILED 25 PREAUTH_REQUIRED 26 SERVER_NOMATCH 27 MUST_USE_USER2USER
28 PATH_NOT_ACCEPTED 29 SVC_UNAVAILABLE 31 BAD_INTEGRITY 32 TKT_EXPIRED 33 TKT_NYV 34 REPEAT
35 NOT_US 36 BADMATCH 37 SKEW 38 BADADDR 39 BADVERSION 40 MSG_TYPE 41 MODIFIED 42 BADORDER
44 BADKEYVER 45 NOKEY 46 MUT_FAIL 47 BADDIRECTION 48 METHOD 49 BADSEQ 50 INAPP_CKSUM
51 PATH_NOT_ACCEPTED 52 RESPONSE_TOO_BIG 60 GENERIC 61 FIELD_TOOLONG 62 CLIENT_NOT_TRUSTED
63 KDC_NOT_TRUSTED 64 INVALID_SIG 65 DH_KEY_PARAMETERS_NOT_ACCEPTED 66 CERTIFICATE_MISMATCH
67 NO_TGT 68 WRONG_REALM 69 USER_TO_USER_REQUIRED 70 CANT_VERIFY_CERTIFICATE 71 INVALID_CERTIFICATE
72 REVOKED_CERTIFICATE 73 REVOCATION_STATUS_UNKNOWN 74 REVOCATION_STATUS_UNAVAILABLE
75 CLIENT_NAME_MISMATCH 76 KDC_NAME_MISMATCH 77 INCONSISTENT_KEY_PURPOSE
78 DIGEST_IN_CERT_NOT_ACCEPTED 79 PA_CHECKSUM_MUST_BE_INCLUDED
80 DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED 81 PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED 90 PREAUTH_EXPIRED
91 MORE_PREAUTH_DATA_REQUIRED 93 UNKNOWN_CRITICAL_FAST_OPTIONS 100 NO_ACCEPTABLE_KDF
"""
"""RFC 4120 7.5.9 without PREFIXES, RFC 4556 3.1.3, RFC 6113 5.1, RFC 8070 2.4, RFC 8636 4."""

# impacket abbreviates otherwise, keeps a name of a draft, or does not have it.
ITS_OWN_NAMES = {
    "KDC_ERROR_CLIENT_NOT_TRUSTED": "KDC_ERR_CLIENT_NOT_TRUSTED",
    "KDC_ERROR_KDC_NOT_TRUSTED": "KDC_ERR_KDC_NOT_TRUSTED",
    "KDC_ERROR_INVALID_SIG": "KDC_ERR_INVALID_SIG",
    "KDC_ERR_KEY_TOO_WEAK": "KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED",
}


def test_error_codes_are_those_of_the_documents() -> None:
    """Every code of ours, by its name without the prefix."""
    words = DOCUMENTS.split()
    table = {int(number): text for number, text in zip(words[::2], words[1::2], strict=True)}
    ours = {
        code.value: code.name.removeprefix("KDC_")
        .removeprefix("KRB_")
        .removeprefix("AP_")
        .removeprefix("ERR_")
        for code in ErrorCode
    }
    assert ours == table


def test_error_codes_are_those_of_impacket() -> None:
    """Every name that both have means the same number."""
    theirs = {ITS_OWN_NAMES.get(e.name, e.name): e.value for e in judge.ErrorCodes}
    both = set(theirs) & set(ErrorCode.__members__)
    assert {name: ErrorCode[name].value for name in both} == {name: theirs[name] for name in both}
    assert set(ErrorCode.__members__) - both == {"KDC_ERR_NO_ACCEPTABLE_KDF"}


@pytest.mark.parametrize("pa_type", list(PaType))
def test_padata_types_are_those_of_impacket(pa_type: PaType) -> None:
    """The registry of pre-authentication data, as far as impacket knows it."""
    theirs = {e.name.removeprefix("PA_"): e.value for e in judge.PreAuthenticationDataTypes}
    unknown_to_it = ("SVR_REFERRAL_INFO", "AS_CHECKSUM", "PKINIT_KX", "REQ_ENC_PA_REP")
    if pa_type.name in (*unknown_to_it, "AS_FRESHNESS"):
        assert pa_type.name not in theirs
        # RFC 6806, [MS-KILE] 2.2.3 with Heimdal, RFC 8062, RFC 6806, RFC 8070.
        known = dict(zip((*unknown_to_it, "AS_FRESHNESS"), (20, 132, 147, 149, 150), strict=True))
        assert pa_type == known[pa_type.name]
    else:
        assert pa_type == theirs[pa_type.name]


def test_name_types_are_those_of_impacket() -> None:
    """RFC 4120 6.2, RFC 6806, RFC 6111, MS-KILE."""
    theirs = {e.name.removeprefix("NT_"): e.value for e in judge.PrincipalNameType}
    assert {t.name: t.value for t in NameType} == {t.name: theirs[t.name] for t in NameType}


def test_message_types_are_those_of_impacket() -> None:
    """RFC 4120 5.10: msg-type and APPLICATION tag are one number."""
    theirs = {e.name: e.value for e in judge.ApplicationTagNumbers}
    assert {t.name: t.value for t in MessageType} == {t.name: theirs[t.name] for t in MessageType}


@pytest.mark.parametrize(
    ("ours", "theirs", "elsewhere"),
    [
        (KdcOption, judge.KDCOptions, {"REQUEST_ANONYMOUS": 16}),
        (TicketFlag, judge.TicketFlags, {}),
    ],
    ids=["KDCOptions", "TicketFlags"],
)
def test_flag_bits_are_those_of_impacket(
    ours: type, theirs: type, elsewhere: dict[str, int]
) -> None:
    """RFC 4120 5.2.8: bit 0 is the highest of 32; RFC 8062 for anonymous."""
    bits = {member.name.upper(): member.value for member in theirs} | elsewhere  # type: ignore[attr-defined]  # an Enum
    masks = {name: mask for name, mask in vars(ours).items() if name.isupper()}
    assert masks == {name: 1 << (31 - bits[name]) for name in masks}
