"""The MIT credential cache: our reading of it, and MIT's reading of ours."""

import contextlib
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdc.cli.tickets import keep_ccache
from kdc.formats.ccache import (
    Ccache,
    CcacheError,
    Credential,
    Principal,
    Setting,
    decode_ccache,
    encode_ccache,
    parse_principal,
)
from kdc.wire.constants import TicketFlag
from kdc.wire.rfc4120 import (
    AuthorizationDataElement,
    EncryptedData,
    HostAddress,
    PrincipalName,
    Ticket,
)
from pki import asn1

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
ALICE = Principal(realm="LAB.TEST", components=("alice",))
KRBTGT = Principal(realm="LAB.TEST", components=("krbtgt", "LAB.TEST"), name_type=2)


def ticket() -> bytes:
    return asn1.encode(
        Ticket(
            tkt_vno=5,
            realm="LAB.TEST",
            sname=PrincipalName(name_type=2, name_string=("krbtgt", "LAB.TEST")),
            enc_part=EncryptedData(etype=18, kvno=1, cipher=b"sealed"),
        )
    )


def cache(now: datetime = NOW) -> Ccache:
    credential = Credential(
        client=ALICE,
        server=KRBTGT,
        etype=18,
        session_key=bytes(range(32)),
        authtime=now,
        starttime=now,
        endtime=now + timedelta(hours=10),
        renew_till=now + timedelta(days=7),
        flags=TicketFlag.INITIAL | TicketFlag.PRE_AUTHENT | TicketFlag.RENEWABLE,
        ticket=ticket(),
        addresses=(HostAddress(addr_type=2, address=bytes(4)),),
        authorization_data=(AuthorizationDataElement(ad_type=-1, ad_data=b"x"),),
    )
    setting = Setting(name="pa_type", principal=KRBTGT, value=b"16")
    return Ccache(
        default_principal=ALICE,
        credentials=(credential,),
        settings=(replace(setting, principal=replace(KRBTGT, name_type=1)),),
        clock_offset_us=-1_500_000,
    )


def test_what_is_written_is_read_back() -> None:
    """Every field survives, a negative clock offset and a negative ad-type included."""
    assert decode_ccache(encode_ccache(cache())) == cache()


def test_first_bytes_are_those_of_version_4() -> None:
    """Version, header of 12 octets, clock offset of 8 (ccache_file_format.rst)."""
    assert encode_ccache(cache()).hex().startswith("0504" + "000c" + "0001" + "0008")


def test_other_version_is_refused() -> None:
    """Version 3 has another layout."""
    with pytest.raises(CcacheError, match="not version 4"):
        decode_ccache(b"\x05\x03" + encode_ccache(cache())[2:])


def test_every_truncation_is_refused_or_drops_whole_credentials() -> None:
    """A cut inside a credential is an error, never a half-read ticket."""
    whole = encode_ccache(cache())
    for size in range(len(whole)):
        try:
            found = decode_ccache(whole[:size])
        except CcacheError:
            continue
        assert found.credentials == ()


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """A damaged cache never raises anything else."""
    for whole in (data, b"\x05\x04\x00\x00" + data):
        with contextlib.suppress(CcacheError):
            decode_ccache(whole)


def test_huge_counts_are_refused() -> None:
    """A count is checked before anything is read for it."""
    head = b"\x05\x04\x00\x00\x00\x00\x00\x01"
    with pytest.raises(CcacheError, match="too many name components"):
        decode_ccache(head + b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("text", "components"),
    [
        ("alice@LAB.TEST", ("alice",)),
        ("krbtgt/LAB.TEST@LAB.TEST", ("krbtgt", "LAB.TEST")),
        ("a\\/b\\@c\\\\d@LAB.TEST", ("a/b@c\\d",)),
    ],
)
def test_principal_in_text_form(text: str, components: tuple[str, ...]) -> None:
    """RFC 1964 2.1.1: the separators can be part of a name."""
    assert parse_principal(text) == Principal(realm="LAB.TEST", components=components)
    assert str(parse_principal(text)) == text


@pytest.mark.parametrize("text", ["alice", "alice@", "alice@LAB\\"])
def test_text_that_is_no_principal(text: str) -> None:
    """A realm is needed."""
    with pytest.raises(CcacheError, match="not a principal"):
        parse_principal(text)


def test_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    """Mode 0600 whatever was there; no temporary file stays behind."""
    file = tmp_path / "cc"
    file.write_bytes(b"old")
    file.chmod(0o644)
    keep_ccache(file, cache())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert decode_ccache(file.read_bytes()) == cache()
    assert list(tmp_path.iterdir()) == [file]


def test_no_key_in_the_repr() -> None:
    """A logged cache shows no session key."""
    shown = repr(cache())
    assert "sealed" not in shown
    assert "session_key=" not in shown.replace("is_session_key=", "")


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("klist") is None, reason="krb5-user is not installed")
def test_mit_klist_reads_it(tmp_path: Path) -> None:
    """Names, flags, renewal time, encryption types and the pa_type setting, as MIT shows them."""
    file = tmp_path / "cc"
    file.write_bytes(encode_ccache(cache(datetime.now(UTC).replace(microsecond=0))))
    listed = subprocess.run(
        ["klist", "-ef", "-C", "-c", f"FILE:{file}"], capture_output=True, text=True, check=True
    ).stdout
    assert "Default principal: alice@LAB.TEST" in listed
    assert "krbtgt/LAB.TEST@LAB.TEST" in listed
    assert "renew until" in listed
    assert "Flags: RIA" in listed
    assert "aes256-cts-hmac-sha1-96" in listed
    assert "config: pa_type(krbtgt/LAB.TEST@LAB.TEST) = 16" in listed
