"""Cloud Kerberos trust with programs that share no code with us: MIT's, impacket's, Heimdal's."""

import ipaddress
import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from impacket.krb5.asn1 import AD_IF_RELEVANT, EncTicketPart, Ticket  # type: ignore[import-untyped]  # no types
from impacket.krb5.ccache import CCache  # type: ignore[import-untyped]  # no types
from impacket.krb5.crypto import Key, _enctype_table  # type: ignore[import-untyped]  # no types
from impacket.krb5.pac import PAC_INFO_BUFFER, PACTYPE, VALIDATION_INFO  # type: ignore[import-untyped]  # no types
from impacket.ntlm import compute_nthash  # type: ignore[import-untyped]  # no types
from pyasn1.codec.der import decoder  # type: ignore[import-untyped]  # no types

from directory.keytab import decode_keytab
from kdc.formats.ccache import decode_ccache
from tests.rig import peers
from tests.rig.realm import LiveRealm, make_realm
from tests.rig.services import heimdal_kgetcred, mit_kvno, mit_renew, tgs_errors

pytestmark = pytest.mark.interop

ADDRESS = "127.0.0.97"
PORT = 88  # impacket knows no other
PASSWORD = "Correct-Horse-7"  # noqa: S105  # of a realm that lives as long as the test
WEB = "host/web.lab.test"
NUMBER = 40_000
"""Above 32,767, so that the kvno is negative as Int32."""
USERS = ("pat", "eve", "adm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A served realm with a cloud trust: pat may, adm is a nested administrator, eve is in none."""

    live: LiveRealm
    folder: Path
    key_file: Path
    keytab: Path
    sids: dict[str, str]

    def mint(self, user: str, *options: str, sid: str | None = None) -> Path:
        """Make a partial TGT with the key file alone, and return its cache."""
        cache = self.folder / f"{user}-{len(list(self.folder.glob('*.cc')))}.cc"
        arguments = ["--key-file", str(self.key_file), "--sid", sid or self.sids[user]]
        self.live.kdc("cloud-trust", "mint", user, *arguments, "--ccache", str(cache), *options)
        return cache

    @property
    def key(self) -> str:
        """The key in the file, in hexadecimal."""
        return str(json.loads(self.key_file.read_text())["key"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a realm with `--compat tools`: impacket sends no checksum of its requests."""
    folder = tmp_path_factory.mktemp("cloud")
    peers.need_port(ADDRESS, PORT)
    live = make_realm(folder / "state", "--compat", "tools", address=ADDRESS, port=PORT)
    for user in USERS:
        live.kdc("user", "add", user, "--password-stdin", stdin=f"{PASSWORD}\n")
    for group, member in (
        ("Cloud", "pat"),
        ("Cloud", "adm"),
        ("Helpers", "adm"),
        ("Operators", "Helpers"),
        ("Domain Admins", "Operators"),
    ):
        if group not in live.kdc("group", "list"):
            live.kdc("group", "add", group)
        live.kdc("group", "member-add", group, member)
    keytab = folder / "web.keytab"
    live.kdc("service", "add", WEB, "--keytab", str(keytab))
    live.kdc("cloud-trust", "create", "--number", str(NUMBER), "--allow", "Cloud")
    key_file = folder / "cloud.key.json"
    live.kdc("cloud-trust", "export-key", "-o", str(key_file))
    sids = {user: json.loads(live.kdc("user", "show", user, "--json"))["sid"] for user in USERS}
    config = live.state / "kdc.toml"
    config.write_text(config.read_text() + '\n[cloud_trust]\nkey_list = "on"\n')
    with live.served():
        yield Site(live=live, folder=folder, key_file=key_file, keytab=keytab, sids=sids)


def groups_in(site: Site, cache: Path) -> tuple[list[int], list[str]]:
    """Open the service ticket in a cache and read the RIDs and SIDs in its PAC, with impacket."""
    (ticket,) = (
        decoder.decode(found.ticket["data"], asn1Spec=Ticket())[0]
        for found in CCache.loadFile(str(cache)).credentials
        if found["server"].prettyPrint().startswith(WEB.encode())
    )
    sealed = ticket["enc-part"]
    etype, kvno = int(sealed["etype"]), int(sealed["kvno"])
    (entry,) = (
        e for e in decode_keytab(site.keytab.read_bytes()) if (e.etype, e.kvno) == (etype, kvno)
    )
    plain = _enctype_table[etype].decrypt(Key(etype, entry.key), 2, bytes(sealed["cipher"]))
    part = decoder.decode(plain, asn1Spec=EncTicketPart())[0]
    element = part["authorization-data"][0]
    inner = decoder.decode(bytes(element["ad-data"]), asn1Spec=AD_IF_RELEVANT())[0][0]
    pac = PACTYPE(bytes(inner["ad-data"]))
    at = pac["Buffers"]
    for _ in range(pac["cBuffers"]):
        buffer = PAC_INFO_BUFFER(at)
        if buffer["ulType"] == 1:
            start = buffer["Offset"] - 8
            octets = pac["Buffers"][start : start + buffer["cbBufferSize"]]
        at = at[len(buffer) :]
    info = VALIDATION_INFO()
    info.fromString(octets)
    info.fromStringReferents(octets, len(info.getData()))
    rids = [int(group["RelativeId"]) for group in info["Data"]["GroupIds"]]
    return rids, [sid["Sid"].formatCanonical() for sid in info["Data"]["ExtraSids"]]


def directory_groups(site: Site) -> list[int]:
    """Return the RIDs of pat's groups."""
    shown = json.loads(site.live.kdc("group", "show", "Cloud", "--json"))
    return [513, int(shown["sid"].rpartition("-")[2])]


def test_mit_gets_a_service_ticket_with_a_partial_tgt(site: Site, tmp_path: Path) -> None:
    """Mint -> cache -> MIT's kvno; the PAC in the ticket has the directory's groups."""
    cache = site.mint("pat")
    run = mit_kvno(site.live.client(tmp_path), cache, WEB)
    assert run.status == 0, run.explain()
    assert groups_in(site, cache) == (directory_groups(site), ["S-1-18-1"])


def test_mit_renews_a_partial_tgt_into_a_full_one(site: Site, tmp_path: Path) -> None:
    """`kinit -R`: the new TGT is under the realm's own key, and good for service tickets."""
    cache = site.mint("pat", "--no-rodc-identifier", "--kvno-low", "0")
    realm = site.live.client(tmp_path)
    run = mit_renew(realm, cache)
    assert run.status == 0, run.explain()
    (tgt,) = json.loads(site.live.kdc("ccache", "show", str(cache), "--json"))["tickets"]
    assert tgt["kvno"] == 1
    run = mit_kvno(realm, cache, WEB)
    assert run.status == 0, run.explain()
    assert groups_in(site, cache) == (directory_groups(site), ["S-1-18-1"])


def test_heimdal_gets_a_service_ticket_with_a_partial_tgt(site: Site, tmp_path: Path) -> None:
    """Debian's Heimdal 7.8: kgetcred."""
    cache = site.mint("pat")
    run = heimdal_kgetcred(site.live.client(tmp_path), cache, WEB)
    assert run.status == 0, run.explain()


@pytest.mark.parametrize(
    ("user", "sid_of", "code"), [("adm", "adm", 20), ("eve", "eve", 20), ("pat", "eve", 20)]
)
def test_mit_is_refused(site: Site, tmp_path: Path, user: str, sid_of: str, code: int) -> None:
    """An administrator by three groups, somebody in neither list, and another one's SID."""
    cache = site.mint(user, sid=site.sids[sid_of])
    run = mit_kvno(site.live.client(tmp_path), cache, WEB)
    assert run.status != 0
    assert tgs_errors(run)[-1] == code, run.explain()


def _impacket(
    site: Site, program: str, *arguments: str, cache: Path | None = None, module: bool = False
) -> str:
    """Run a program of impacket's, or a module of the rig; return what it says."""
    start = ["-m", program] if module else [str(Path(sys.executable).with_name(program))]
    environment = {} if cache is None else {"KRB5CCNAME": str(cache)}
    done = subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=peers.ROOT if module else site.folder,
        env=peers.clean_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_impacket_gets_a_service_ticket_with_a_partial_tgt(site: Site) -> None:
    """`getST.py -k` with the cache of mint; the PAC has the directory's groups."""
    cache = site.mint("pat")
    said = _impacket(
        site,
        "getST.py",
        *("-k", "-no-pass", "-spn", WEB, "-dc-ip", ADDRESS, "LAB.TEST/pat"),
        cache=cache,
    )
    found = re.search(r"Saving ticket in (\S+)", said)
    assert found, said
    assert groups_in(site, site.folder / found[1]) == (directory_groups(site), ["S-1-18-1"])


def _attack(site: Site, *names: str, number: int = NUMBER, key: str = "") -> list[str]:
    """Return keylistattack.py's arguments for some users."""
    targets = site.folder / "targets.txt"
    targets.write_text("".join(f"{name}\n" for name in names))
    return [
        *("-rodcNo", str(number), "-rodcKey", key or site.key, "-domain", "LAB.TEST"),
        # The tool takes what follows the first dot for the domain, so the address has none.
        *("-kdc", str(int(ipaddress.ip_address(ADDRESS))), "-tf", str(targets), "LIST"),
    ]


def test_key_list_attack_without_a_pac_is_refused(site: Site) -> None:
    """20 for everybody: impacket's keylistattack.py as it is."""
    said = _impacket(site, "keylistattack.py", *_attack(site, *USERS))
    for user in USERS:
        assert f"User {user} is not allowed to have passwords replicated in RODCs" in said, said
    whys = {record["why"] for record in site.live.audit() if record["Status"] == "0x14"}
    assert "the TGT has no PAC" in whys


def test_key_list_tells_a_wrong_number_from_a_wrong_key(site: Site) -> None:
    """7 and 31, by which the tool tells the two cases apart (rows X01, X07)."""
    said = _impacket(site, "keylistattack.py", *_attack(site, "pat", number=7))
    assert "KDC_ERR_S_PRINCIPAL_UNKNOWN: check the RODC krbtgt account number" in said, said
    said = _impacket(site, "keylistattack.py", *_attack(site, "pat", key="00" * 32))
    assert "KRB_AP_ERR_BAD_INTEGRITY: check the RODC AES key" in said, said


def test_key_list_gives_keys_of_allowed_users_only(site: Site) -> None:
    """With impacket's own PAC added: pat's NT hash, and none of the others'; a record each."""
    users = site.folder / "users.json"
    users.write_text(json.dumps({u: int(s.rpartition("-")[2]) for u, s in site.sids.items()}))
    domain_sid = site.sids["pat"].rpartition("-")[0]
    before = len(site.live.audit())
    said = _impacket(
        site,
        "tests.rig.key_list",
        *(domain_sid, str(users), *_attack(site, *USERS)),
        module=True,
    )
    md4 = bytes(compute_nthash(PASSWORD)).hex()
    assert f"LAB.TEST\\pat:N/A:{md4}" in said, said
    for user in ("adm", "eve"):
        assert f"User {user} is not allowed to have passwords replicated in RODCs" in said, said
    assert said.count(md4) == 1
    records = [r for r in site.live.audit()[before:] if r["exchange"] == "TGS"]
    assert [r["why"] for r in records] == [
        "",
        "the account is not in the list that the read-only DC is allowed",
        "the account is in the list that the read-only DC is denied",
    ]
    assert records[0]["key_list"] == "issued"
    assert records[0]["key_list_given"] == [23]
    assert {r["read_only_dc"] for r in records} == {NUMBER}
    assert md4 not in (site.live.state / "audit.jsonl").read_text()


# -- kdc cloud-trust redeem ------------------------------------------------------------------


def _redeem(site: Site, user: str, folder: Path, *options: str) -> Any:
    """Mint as the cloud does, redeem what it delivers, and return what the command says."""
    delivered = folder / f"{user}.tgt_ad.json"
    arguments = ["--key-file", str(site.key_file), "--sid", site.sids[user]]
    site.live.kdc("cloud-trust", "mint", user, *arguments, "--out", str(delivered))
    said = site.live.kdc(
        *("cloud-trust", "redeem", "--prt", str(delivered), "--ccache", str(folder / "cc")),
        *("--json", *options),
    )
    return json.loads(said)


def test_mit_uses_a_redeemed_tgt(site: Site, tmp_path: Path) -> None:
    """From the cloud's message to a full TGT under the realm's own key, then MIT's kvno."""
    found = _redeem(site, "pat", tmp_path)
    assert (found["partial_tgt"]["kvno"], found["tgt"]["kvno"]) == (
        (NUMBER << 16 | 1) - (1 << 32),
        1,
    )
    assert found["key_list"] == {"asked": [], "given": [], "keytab": None}
    assert "renewable" in found["tgt"]["flags"]
    run = mit_kvno(site.live.client(tmp_path), tmp_path / "cc", WEB)
    assert run.status == 0, run.explain()
    assert groups_in(site, tmp_path / "cc") == (directory_groups(site), ["S-1-18-1"])


def test_redeemed_service_ticket_and_keys(site: Site, tmp_path: Path) -> None:
    """Key list: the NT hash goes to a keytab of mode 0600, and nowhere else."""
    keytab = tmp_path / "pat.keytab"
    found = _redeem(
        site, "pat", tmp_path, "--service", WEB, "--key-list", "--keytab", str(keytab), "--tcp"
    )
    assert found["key_list"]["given"] == [23]
    (entry,) = decode_keytab(keytab.read_bytes())
    assert (entry.etype, entry.key) == (23, bytes(compute_nthash(PASSWORD)))
    assert stat.S_IMODE(keytab.stat().st_mode) == 0o600
    assert entry.key.hex() not in json.dumps(found)
    assert found["service_tickets"][0]["service"] == f"{WEB}@LAB.TEST"
    assert groups_in(site, tmp_path / "cc") == (directory_groups(site), ["S-1-18-1"])


def test_what_came_is_kept_though_a_service_is_unknown(site: Site, tmp_path: Path) -> None:
    """7: the TGT is in the cache and the keys are in the keytab, as they are good."""
    keytab = tmp_path / "pat.keytab"
    options = ("--key-list", "--keytab", str(keytab), "--service", "host/nowhere.lab.test")
    with pytest.raises(AssertionError, match="KDC_ERR_S_PRINCIPAL_UNKNOWN"):
        _redeem(site, "pat", tmp_path, *options)
    assert [entry.etype for entry in decode_keytab(keytab.read_bytes())] == [23]
    (tgt,) = decode_ccache((tmp_path / "cc").read_bytes()).credentials
    assert str(tgt.server) == "krbtgt/LAB.TEST@LAB.TEST"


def test_redeem_says_why_it_is_refused(site: Site, tmp_path: Path) -> None:
    """An administrator by three groups: 20, and where to look; no cache is written."""
    with pytest.raises(AssertionError) as caught:
        _redeem(site, "adm", tmp_path)
    said = str(caught.value)
    assert "KDC_ERR_TGT_REVOKED" in said
    assert "kdc cloud-trust show has who is in which list" in said
    assert not (tmp_path / "cc").exists()
