"""The buffers of a PAC: read back, as impacket reads them, and as Windows wrote them."""

import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from impacket.dcerpc.v5.rpcrt import TypeSerialization1  # type: ignore[import-untyped]  # no types
from impacket.krb5 import pac as judge  # type: ignore[import-untyped]  # no types
from impacket.krb5.crypto import Enctype, Key, _enctype_table  # type: ignore[import-untyped]  # no types

from directory.model import Account, AccountKind, Domain, Sid
from kdc.crypto.etypes import CryptoError, EncType
from kdc.pac import DelegationInfo, PacError, PacFacts, PacFault, PacType, parse_pac, tgt_pac
from kdc.pac import buffers as b
from kdc.pac.build import service_pac
from tests.kdc.crypto.vectors import Case, case_id, cases
from tests.kdc.pac.builders import ALICE, DOMAIN, FOREIGN, KRBTGT, NOW, SERVICE, facts, key

VECTORS = cases("pac")


def logon_info(told: PacFacts) -> bytes:
    return b.encode_logon_info(
        told.account, told.domain, told.groups, told.extra_sids, told.logon_time, told.logon_server
    )


# -- impacket as judge -----------------------------------------------------------------------


def judged(pac: bytes) -> dict[int, bytes]:
    """Take a PAC apart with impacket's structures."""
    outer = judge.PACTYPE(pac)
    rest = outer["Buffers"]
    found = {}
    for _ in range(outer["cBuffers"]):
        info = judge.PAC_INFO_BUFFER(rest)
        found[info["ulType"]] = pac[info["Offset"] :][: info["cbBufferSize"]]
        rest = rest[len(info) :]
    assert outer["Version"] == 0
    return found


def body_of(serialized: bytes) -> bytes:
    """Take off the headers and the top-level pointer as impacket's own tools do."""
    return serialized[len(TypeSerialization1(serialized)) + 4 :]


def judged_logon_info(data: bytes) -> Any:
    info = judge.KERB_VALIDATION_INFO()
    info.fromString(body_of(data))
    info.fromStringReferents(body_of(data)[len(info.getData()) :])
    return info


def filetime(value: Any) -> int:
    return int(value["dwHighDateTime"]) << 32 | int(value["dwLowDateTime"])


def test_impacket_reads_logon_info_to_the_accounts_values() -> None:
    """MS-PAC 2.5, field by field."""
    info = judged_logon_info(judged(tgt_pac(facts(), KRBTGT))[PacType.LOGON_INFO])
    assert filetime(info["LogonTime"]) == (1795348800 + 11644473600) * 10**7
    assert filetime(info["LogoffTime"]) == b.NEVER
    assert filetime(info["KickOffTime"]) == b.to_filetime(datetime(2028, 1, 1, tzinfo=UTC))
    changed = b.to_filetime(datetime(2026, 11, 1, 8, 30, tzinfo=UTC))
    assert filetime(info["PasswordLastSet"]) == filetime(info["PasswordCanChange"]) == changed
    assert filetime(info["PasswordMustChange"]) == b.to_filetime(datetime(2027, 1, 1, tzinfo=UTC))
    texts = {
        "EffectiveName": "alice",
        "FullName": "",
        "LogonScript": "",
        "ProfilePath": "",
        "HomeDirectory": "",
        "HomeDirectoryDrive": "",
        "LogonServer": "KDC",
        "LogonDomainName": "LAB",
    }
    assert {name: info[name] for name in texts} == texts
    assert (info["LogonCount"], info["BadPasswordCount"]) == (0, 0)
    assert (info["UserId"], info["PrimaryGroupId"]) == (1105, 513)
    groups = [(g["RelativeId"], g["Attributes"]) for g in info["GroupIds"]]
    assert groups == [(513, 7), (1200, 7), (1201, 7)]
    assert info["GroupCount"] == 3
    assert info["UserFlags"] == 0x20
    assert info["LogonDomainId"].formatCanonical() == str(DOMAIN.sid)
    assert info["UserAccountControl"] == 0x10
    extra = [(s["Sid"].formatCanonical(), s["Attributes"]) for s in info["ExtraSids"]]
    assert extra == [("S-1-18-1", 7), ("S-1-18-4", 7), (str(FOREIGN), 7)]
    assert info["SidCount"] == 3
    assert info["ResourceGroupCount"] == 0


def test_impacket_reads_the_other_buffers_of_a_tgt() -> None:
    """MS-PAC 2.7, 2.8, 2.10, 2.14, 2.15."""
    found = judged(tgt_pac(facts(), KRBTGT))
    client = judge.PAC_CLIENT_INFO(found[PacType.CLIENT_INFO])
    assert client["ClientId"] == b.to_filetime(NOW)
    assert client["Name"][: client["NameLength"]].decode("utf-16-le") == "alice"
    names = judge.UPN_DNS_INFO_FULL(found[PacType.UPN_DNS_INFO])

    def part(name: str) -> bytes:
        at = names[f"{name}Offset"]
        assert at % 8 == 0
        value: bytes = found[PacType.UPN_DNS_INFO][at : at + names[f"{name}Length"]]
        return value

    assert part("Upn").decode("utf-16-le") == "Alice.Adams@corp.example"
    assert part("DnsDomainName").decode("utf-16-le") == "LAB.TEST"
    assert part("SamName").decode("utf-16-le") == "alice"
    assert part("Sid") == (ALICE.sid or DOMAIN.sid).to_bytes()
    assert names["Flags"] == 2
    attributes = judge.PAC_ATTRIBUTE_INFO(found[PacType.ATTRIBUTES_INFO])
    assert (attributes["FlagsLength"], attributes["Flags"]) == (2, 2)
    requestor = judge.PAC_REQUESTOR(found[PacType.REQUESTOR])
    assert requestor["UserSid"].formatCanonical() == f"{DOMAIN.sid}-1105"
    for kind in (PacType.SERVER_CHECKSUM, PacType.KDC_CHECKSUM):
        signature = judge.PAC_SIGNATURE_DATA(found[kind])
        assert (signature["SignatureType"], len(signature["Signature"])) == (16, 12)


def test_impacket_reads_delegation_info() -> None:
    """MS-PAC 2.9."""
    told = facts()
    told.delegation = DelegationInfo(
        proxy_target="host/web.lab.test", transited=("host/a.lab.test@LAB.TEST", "b/c@LAB.TEST")
    )
    found = judged(service_pac(told, SERVICE, KRBTGT, b"ticket"))
    data = body_of(found[PacType.DELEGATION_INFO])
    info = judge.S4U_DELEGATION_INFO()
    info.fromString(data)
    info.fromStringReferents(data[len(info.getData()) :])
    assert info["S4U2proxyTarget"] == "host/web.lab.test"
    assert info["TransitedListSize"] == 2
    services = [service["Data"] for service in info["S4UTransitedServices"]]
    assert services == ["host/a.lab.test@LAB.TEST", "b/c@LAB.TEST"]


@pytest.mark.parametrize("etype", list(EncType)[:2])
def test_impacket_opens_the_nt_hash_as_its_tools_do(etype: EncType) -> None:
    """MS-PAC 2.6, usage 16: the way of getnthash."""
    reply_key = key("reply", etype)
    sealed = b.seal_credential_info(bytes(range(16)), reply_key, bytes(16))
    info = judge.PAC_CREDENTIAL_INFO(sealed)
    assert (info["Version"], info["EncryptionType"]) == (0, int(etype))
    cipher = _enctype_table[Enctype.AES128 if etype == 17 else Enctype.AES256]
    plain = cipher.decrypt(Key(cipher.enctype, reply_key.value), 16, info["SerializedData"])
    data = judge.PAC_CREDENTIAL_DATA(body_of(plain))
    (credential,) = data["Credentials"]
    assert credential["PackageName"] == "NTLM"
    ntlm = judge.NTLM_SUPPLEMENTAL_CREDENTIAL(b"".join(credential["Credentials"]))
    assert (ntlm["Version"], ntlm["Flags"]) == (0, 2)
    assert (ntlm["LmPassword"], ntlm["NtPassword"]) == (bytes(16), bytes(range(16)))


# -- what Windows wrote ----------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS, ids=case_id)
def test_real_pac_is_read(case: Case) -> None:
    """PACs of a Windows and a Samba domain controller: names, SIDs, server."""
    pac = parse_pac(case.octets("pac"))
    info = b.decode_logon_info(pac.buffer(PacType.LOGON_INFO) or b"")
    assert info.effective_name == case.text("expected_name")
    assert str(info.sid) == case.text("expected_sid")
    assert info.logon_server == case.text("expected_server")
    assert info.domain_name == case.text("expected_netbios")
    client = b.decode_client_info(pac.buffer(PacType.CLIENT_INFO) or b"")
    assert client.name.lower() == info.effective_name.lower()


def test_our_logon_info_of_the_same_account_is_what_windows_wrote() -> None:
    """Octet for octet but for LogonCount and a flag that we do not keep (delegation)."""
    theirs = parse_pac(VECTORS[0].octets("pac")).buffer(PacType.LOGON_INFO) or b""
    read = b.decode_logon_info(theirs)
    set_at = struct.unpack_from("<Q", theirs, 20 + 24)[0]
    assert read.domain_sid is not None
    assert read.logon_time is not None
    account = Account(
        account_id=1,
        sam_account_name="W2003FINAL$",
        kind=AccountKind.COMPUTER,
        sid=read.sid,
        created_at=NOW,
        password_set_at=b.from_filetime(set_at),
        primary_group_id=516,
    )
    domain = Domain(sid=read.domain_sid, netbios="WIN2K3THINK", dns_name="win2k3.thinker.local")
    ours = b.encode_logon_info(
        account,
        domain,
        (read.domain_sid.with_rid(516),),
        (Sid(5, (9,)),),
        read.logon_time,
        "W2003FINAL",
    )
    assert len(ours) == len(theirs)
    differing = {at for at in range(len(ours)) if ours[at] != theirs[at]}
    logon_count, control = 20 + 96, 20 + 164
    # 100 ns that no datetime holds are the lowest octet of the logon time.
    assert differing <= {20, logon_count, control, control + 1}
    assert struct.unpack_from("<I", theirs, control)[0] == 0x2100
    assert struct.unpack_from("<I", ours, control)[0] == 0x100 | 0x200


def test_our_client_info_is_what_windows_wrote() -> None:
    """Octet for octet."""
    theirs = parse_pac(VECTORS[0].octets("pac")).buffer(PacType.CLIENT_INFO)
    authtime = datetime.fromtimestamp(1120440609, UTC)
    assert b.encode_client_info(authtime, "w2003final$") == theirs


# -- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0x10),
        ({"kind": AccountKind.COMPUTER}, 0x80),
        ({"kind": AccountKind.COMPUTER, "primary_group_id": 516}, 0x100),
        ({"kind": AccountKind.SERVICE}, 0x10),
        ({"disabled": True}, 0x11),
        ({"smartcard_required": True}, 0x1010),
        ({"preauth_not_required": True}, 0x10010),
        ({"password_expires_at": None}, 0x210),
    ],
)
def test_user_account_control(changes: dict[str, Any], expected: int) -> None:
    """MS-SAMR 2.2.1.12: not the numbers of the LDAP attribute."""
    assert b.user_account_control(replace(ALICE, **changes)) == expected


def test_account_without_dates_has_never_and_zero() -> None:
    """MS-PAC 2.5: "never" is the highest positive number."""
    told = facts()
    told.account = replace(ALICE, expires_at=None, password_set_at=None, password_expires_at=None)
    times = struct.unpack_from("<6Q", logon_info(told), 20)
    assert times == (b.to_filetime(NOW), b.NEVER, b.NEVER, 0, 0, b.NEVER)


def test_account_without_upn_gets_one_and_a_flag_that_says_so() -> None:
    """MS-PAC 2.10 flag U."""
    info = b.decode_upn_dns_info(b.encode_upn_dns_info(replace(ALICE, upn=None), DOMAIN))
    assert (info.upn, info.flags) == ("alice@lab.test", 3)
    assert (info.sam_name, info.sid) == ("alice", ALICE.sid)


def test_no_groups_and_no_extra_sids_are_null_pointers() -> None:
    """An empty array is a null pointer with count 0."""
    told = replace(facts(), groups=(), extra_sids=())
    info = judged_logon_info(logon_info(told))
    assert (info["GroupCount"], info["SidCount"], info["UserFlags"]) == (0, 0, 0)
    read = b.decode_logon_info(logon_info(told))
    assert (read.group_ids, read.extra_sids) == ((), ())


@pytest.mark.parametrize("sid", [None, FOREIGN])
def test_account_that_is_not_in_the_domain_has_no_logon_info(sid: Sid | None) -> None:
    """LOGON_INFO has one domain SID for account and groups."""
    told = facts()
    told.account = replace(ALICE, sid=sid)
    with pytest.raises(ValueError, match="no SID in this domain"):
        logon_info(told)


def test_nt_hash_is_opened_with_the_reply_key_alone() -> None:
    """MS-PAC 2.6.1."""
    sealed = b.seal_credential_info(bytes(range(16)), KRBTGT, bytes(16))
    assert b.open_credential_info(sealed, KRBTGT) == bytes(range(16))
    with pytest.raises(CryptoError):
        b.open_credential_info(sealed, key("other"))
    with pytest.raises(PacError):
        b.open_credential_info(sealed, SERVICE)
    with pytest.raises(ValueError, match="16 octets"):
        b.seal_credential_info(b"short", KRBTGT, bytes(16))


# -- round trips -----------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8"), max_size=40)
SIDS = st.builds(
    Sid,
    st.integers(0, 2**48 - 1),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=15).map(tuple),
)


@given(
    name=NAMES,
    rids=st.lists(st.integers(0, 2**32 - 1), max_size=40),
    extra=st.lists(SIDS, max_size=10),
    server=NAMES,
    netbios=NAMES,
)
def test_logon_info_read_back(
    name: str, rids: list[int], extra: list[Sid], server: str, netbios: str
) -> None:
    """What was written is read, whatever the lengths and alignments; impacket agrees."""
    domain = replace(DOMAIN, netbios=netbios)
    account = replace(ALICE, sam_account_name=name)
    groups = tuple(DOMAIN.sid.with_rid(rid) for rid in rids)
    data = b.encode_logon_info(account, domain, groups, tuple(extra), NOW, server)
    assert len(data) % 8 == 0
    read = b.decode_logon_info(data)
    assert (read.effective_name, read.logon_server, read.domain_name) == (name, server, netbios)
    assert read.group_ids == tuple(rids)
    assert read.extra_sids == tuple(extra)
    assert (read.sid, read.logon_time) == (ALICE.sid, NOW)
    assert judged_logon_info(data)["LogonServer"] == server


@given(target=NAMES, transited=st.lists(NAMES, max_size=8))
def test_delegation_info_read_back(target: str, transited: list[str]) -> None:
    """Both directions agree."""
    info = DelegationInfo(proxy_target=target, transited=tuple(transited))
    assert b.decode_delegation_info(b.encode_delegation_info(info)) == info


@given(name=NAMES)
def test_client_info_read_back(name: str) -> None:
    """Both directions agree."""
    read = b.decode_client_info(b.encode_client_info(NOW, name))
    assert (read.authtime, read.name) == (NOW, name)


def test_delegation_of_too_many_services_is_not_written() -> None:
    """A chain that long is a loop."""
    with pytest.raises(ValueError, match="too many"):
        b.encode_delegation_info(DelegationInfo(proxy_target="a", transited=("b",) * 65))


# -- refusals --------------------------------------------------------------------------------


def patched(data: bytes, at: int, value: int, size: int = 4) -> bytes:
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


LOGON = logon_info(facts())
COUNT_OF_GROUPS = 20 + 108
POINTER_OF_GROUPS = COUNT_OF_GROUPS + 4
COUNT_OF_EXTRA = 20 + 196
NAME_LENGTH = 20 + 48
FIRST_REFERENT = 20 + 216


@pytest.mark.parametrize(
    "data",
    [
        b"",
        LOGON[:19],
        LOGON[:200],
        LOGON[:-8],
        LOGON + bytes(8),
        patched(LOGON, 0, 2, 1),
        patched(LOGON, 1, 0, 1),
        patched(LOGON, 8, 0xFFFFFFF8),
        patched(LOGON, 8, 0),
        patched(LOGON, 16, 0),
        patched(LOGON, COUNT_OF_GROUPS, 0xFFFFFFFF),
        patched(LOGON, COUNT_OF_GROUPS, 2),
        patched(LOGON, POINTER_OF_GROUPS, 0),
        patched(LOGON, COUNT_OF_EXTRA, 0x20000000),
        patched(LOGON, COUNT_OF_EXTRA + 4, 0),
        patched(LOGON, NAME_LENGTH, 0xFFFF, 2),
        patched(LOGON, NAME_LENGTH, 9, 2),
        patched(LOGON, NAME_LENGTH + 4, 0),
        patched(LOGON, FIRST_REFERENT, 1),
        patched(LOGON, FIRST_REFERENT + 4, 1),
        patched(LOGON, FIRST_REFERENT + 8, 0xFFFFFFFF),
        patched(LOGON, FIRST_REFERENT + 12, 0xD800, 2),
        patched(LOGON, len(LOGON) - 1, 1, 1),
    ],
    ids=range(23),
)
def test_malformed_logon_info_is_refused(data: bytes) -> None:
    """Row T18: counts, lengths and pointers that do not fit, each alone."""
    with pytest.raises(PacError) as caught:
        b.decode_logon_info(data)
    assert caught.value.fault is PacFault.MALFORMED


@pytest.mark.parametrize("count", [2**29, 2**30 + 1, 2**32 - 1])
def test_group_count_in_both_places_that_overflows_is_refused(count: int) -> None:
    """CVE-2022-42898: count times size overflows 32 bits."""
    at = FIRST_REFERENT + 12 + 12 + 5 * 12
    assert struct.unpack_from("<I", LOGON, at)[0] == 3, "the array's own count"
    data = patched(patched(LOGON, COUNT_OF_GROUPS, count), at, count)
    with pytest.raises(PacError) as caught:
        b.decode_logon_info(data)
    assert caught.value.detail == "NDR array larger than the buffer"


@pytest.mark.parametrize(
    "data",
    [b"", bytes(9), bytes(8) + b"\x02\0", bytes(8) + b"\x01\0a", bytes(8) + b"\x02\0\0\xd8"],
    ids=range(5),
)
def test_malformed_client_info_is_refused(data: bytes) -> None:
    """Length and text."""
    with pytest.raises(PacError):
        b.decode_client_info(data)


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(8), b"\x21\0\0\0\0\0\0\0"], ids=range(4))
def test_malformed_attributes_are_refused(data: bytes) -> None:
    """FlagsLength counts bits that must be there."""
    with pytest.raises(PacError):
        b.decode_attributes_info(data)


@pytest.mark.parametrize(
    "data", [b"", bytes(12), b"\x01\x02" + bytes(10), b"\x02\x01" + bytes(10)], ids=range(4)
)
def test_malformed_requestor_is_refused(data: bytes) -> None:
    """MS-DTYP 2.4.2.2."""
    with pytest.raises(PacError):
        b.decode_requestor(data)


UPN = b.encode_upn_dns_info(ALICE, DOMAIN)


@pytest.mark.parametrize(
    "data",
    [UPN[:11], UPN[:19], UPN[:-10], patched(UPN, 2, 0xFFFF, 2), patched(UPN, 16, 20, 2)],
    ids=range(5),
)
def test_malformed_upn_dns_info_is_refused(data: bytes) -> None:
    """Offsets past the end; a SID of the wrong length."""
    with pytest.raises(PacError):
        b.decode_upn_dns_info(data)


@given(data=st.binary(max_size=700))
def test_any_octets_are_a_value_or_refused(data: bytes) -> None:
    """Nothing but PacError leaves a decoder."""
    _decode_all(data)


@given(
    which=st.sampled_from((LOGON, UPN)),
    at=st.integers(0, 10_000),
    value=st.sampled_from((0, 1, 2, 7, 0x7F, 0x80, 0xFF)),
)
def test_any_changed_octet_is_a_value_or_refused(which: bytes, at: int, value: int) -> None:
    """The same, near a genuine buffer."""
    _decode_all(patched(which, at % len(which), value, 1))


def _decode_all(data: bytes) -> None:
    for decode in (
        b.decode_logon_info,
        b.decode_client_info,
        b.decode_attributes_info,
        b.decode_requestor,
        b.decode_upn_dns_info,
        b.decode_delegation_info,
    ):
        try:
            decode(data)
        except PacError as error:
            assert error.fault is PacFault.MALFORMED


def test_builtin_groups_are_in_no_pac() -> None:
    """MS-DTYP 2.4.2.4: S-1-5-32-544 is another group on each machine; domain controllers and Samba
    leave those out.
    """
    builtin = Sid(5, (32, 544))
    named = replace(facts(), groups=(*facts().groups, builtin))
    info = judged_logon_info(judged(tgt_pac(named, KRBTGT))[PacType.LOGON_INFO])
    extra = [s["Sid"].formatCanonical() for s in info["ExtraSids"]]
    assert str(builtin) not in extra
    assert info["GroupCount"] == 3
