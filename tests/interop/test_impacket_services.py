"""impacket, which shares no code with us, gets a service ticket and reads its PAC."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from impacket.krb5 import constants  # type: ignore[import-untyped]  # no types
from impacket.krb5.asn1 import AD_IF_RELEVANT, TGS_REP, EncTicketPart  # type: ignore[import-untyped]  # no types
from impacket.krb5.crypto import Key, _enctype_table  # type: ignore[import-untyped]  # no types
from impacket.krb5.kerberosv5 import KerberosError, getKerberosTGS, getKerberosTGT  # type: ignore[import-untyped]  # no types
from impacket.krb5.pac import PAC_INFO_BUFFER, PACTYPE, VALIDATION_INFO  # type: ignore[import-untyped]  # no types
from impacket.krb5.types import Principal  # type: ignore[import-untyped]  # no types
from pyasn1.codec.der import decoder  # type: ignore[import-untyped]  # no types

from directory.keytab import decode_keytab
from tests.rig import peers
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.interop

_PORT = 88  # impacket knows no other
PASSWORD = "Correct-Horse-7"  # noqa: S105  # of a realm that lives as long as the test
WEB = "host/web.lab.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A served realm with pat, a group of his, and a service's keytab."""

    live: LiveRealm
    keytab: Path


def _make(folder: Path, compat: str, address: str) -> Site:
    peers.need_port(address, _PORT)
    live = make_realm(folder / "state", "--compat", compat, address=address, port=_PORT)
    live.kdc("user", "add", "pat", "--password-stdin", stdin=f"{PASSWORD}\n")
    live.kdc("group", "add", "Staff")
    live.kdc("group", "member-add", "Staff", "pat")
    keytab = folder / "web.keytab"
    live.kdc("service", "add", WEB, "--keytab", str(keytab))
    return Site(live=live, keytab=keytab)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a realm with `--compat tools` on 127.0.0.90:88."""
    site = _make(tmp_path_factory.mktemp("impacket"), "tools", "127.0.0.90")
    with site.live.served():
        yield site


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a realm with `--compat strict` on 127.0.0.91:88."""
    site = _make(tmp_path_factory.mktemp("impacket"), "strict", "127.0.0.91")
    with site.live.served():
        yield site


def _ask(site: Site) -> Any:
    client = Principal("pat", type=constants.PrincipalNameType.NT_PRINCIPAL.value)
    address = site.live.address
    tgt, cipher, _, session_key = getKerberosTGT(
        client, PASSWORD, "LAB.TEST", b"", b"", "", kdcHost=address
    )
    service = Principal(WEB, type=constants.PrincipalNameType.NT_SRV_INST.value)
    reply, *_ = getKerberosTGS(service, "LAB.TEST", address, tgt, cipher, session_key)
    return decoder.decode(reply, asn1Spec=TGS_REP())[0]


def _open(site: Site, tgs_rep: Any) -> Any:
    sealed = tgs_rep["ticket"]["enc-part"]
    etype, kvno = int(sealed["etype"]), int(sealed["kvno"])
    (entry,) = (
        e for e in decode_keytab(site.keytab.read_bytes()) if (e.etype, e.kvno) == (etype, kvno)
    )
    cipher = _enctype_table[etype]
    plain = cipher.decrypt(Key(etype, entry.key), 2, bytes(sealed["cipher"]))
    return decoder.decode(plain, asn1Spec=EncTicketPart())[0]


def test_service_ticket_and_pac(tools: Site) -> None:
    """AS exchange by password, TGS exchange, the ticket opened and its PAC taken apart."""
    ticket = _open(tools, _ask(tools))
    assert [str(part) for part in ticket["cname"]["name-string"]] == ["pat"]
    element = ticket["authorization-data"][0]
    inner = decoder.decode(bytes(element["ad-data"]), asn1Spec=AD_IF_RELEVANT())[0][0]
    assert int(inner["ad-type"]) == 128
    pac = PACTYPE(bytes(inner["ad-data"]))
    buffers, at = {}, pac["Buffers"]
    for _ in range(pac["cBuffers"]):
        info = PAC_INFO_BUFFER(at)
        start = info["Offset"] - 8
        buffers[info["ulType"]] = pac["Buffers"][start : start + info["cbBufferSize"]]
        at = at[len(info) :]
    assert sorted(buffers) == [1, 6, 7, 10, 12, 16, 19]
    validation = VALIDATION_INFO()
    validation.fromString(buffers[1])
    validation.fromStringReferents(buffers[1], len(validation.getData()))
    data = validation["Data"]
    assert data["EffectiveName"] == "pat"
    assert data["LogonDomainName"] == "LAB"
    groups = [int(group["RelativeId"]) for group in data["GroupIds"]]
    shown = tools.live.kdc("group", "show", "Staff", "--json")
    assert 513 in groups
    assert len(groups) == 2
    assert f"-{groups[1]}" in shown
    sids = [sid["Sid"].formatCanonical() for sid in data["ExtraSids"]]
    assert sids == ["S-1-18-1"]


def test_ticket_of_a_group_member_lives_as_long_as_the_tgt(tools: Site) -> None:
    """The times in the ticket, as impacket reads them."""
    ticket = _open(tools, _ask(tools))
    start = datetime.datetime.strptime(str(ticket["starttime"]), "%Y%m%d%H%M%SZ")
    end = datetime.datetime.strptime(str(ticket["endtime"]), "%Y%m%d%H%M%SZ")
    assert datetime.timedelta(hours=9, minutes=59) < end - start <= datetime.timedelta(hours=10)


def test_impacket_is_refused_under_compat_strict(strict: Site) -> None:
    """50: it sends no checksum of the request; the audit record names the switch."""
    with pytest.raises(KerberosError) as caught:
        _ask(strict)
    assert caught.value.getErrorCode() == 50
    (record,) = [r for r in strict.live.audit() if r["Status"] == "0x32"]
    assert record["why"] == "the authenticator has no checksum of the request"
    assert record["switch"] == "legacy_tgs_checksum"
