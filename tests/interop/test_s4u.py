"""S4U2Self and S4U2Proxy as impacket, MIT and Heimdal do it; impacket and tshark as judges."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from impacket.krb5.asn1 import AD_IF_RELEVANT, EncTicketPart, Ticket  # type: ignore[import-untyped]  # no types
from impacket.krb5.ccache import CCache  # type: ignore[import-untyped]  # no types
from impacket.krb5.crypto import Key, _enctype_table  # type: ignore[import-untyped]  # no types
from impacket.krb5.pac import PAC_INFO_BUFFER, PACTYPE, S4U_DELEGATION_INFO, VALIDATION_INFO  # type: ignore[import-untyped]  # no types
from pyasn1.codec.der import decoder  # type: ignore[import-untyped]  # no types

from directory.keytab import decode_keytab
from tests.interop.test_pac import TGS_REP, dissect
from tests.rig import clients, logon_ca, peers, services, wire
from tests.rig.clients import ClientRealm, Run
from tests.rig.realm import LiveRealm, make_realm

pytestmark = pytest.mark.interop

_PORT = 88  # impacket knows no other
PASSWORD = "Correct-Horse-7"  # noqa: S105  # of a realm that lives as long as the test
APP, FILES, BACKUP = "HTTP/app.lab.test", "cifs/files.lab.test", "cifs/backup.lab.test"
LOGON_INFO, DELEGATION_INFO = 1, 11
_RELOAD_S = 1.5  # changed CA files count within a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A served realm with a service that acts for users, two that it reaches, and their keys.

    app$ delegates to FILES by its own list and reaches BACKUP by that service's; plain$ may do
    nothing. The keytab has every service's keys and krbtgt's.
    """

    live: LiveRealm
    folder: Path
    keytab: Path

    def client(self, folder: Path) -> ClientRealm:
        """Return the realm as MIT's and Heimdal's clients know it, by TCP."""
        return self.live.client(folder, transport="tcp")

    def as_app(self, folder: Path) -> tuple[ClientRealm, Run]:
        """Log on as the service, with MIT's client."""
        realm = self.client(folder)
        run = clients.mit_kinit(realm, "app$@LAB.TEST", password=PASSWORD, options=("-f",))
        assert run.status == 0, run.explain()
        return realm, run


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a realm with `--compat tools` on 127.0.0.95:88."""
    address = "127.0.0.95"
    peers.need_port(address, _PORT)
    folder = tmp_path_factory.mktemp("s4u")
    live = make_realm(folder / "state", "--compat", "tools", address=address, port=_PORT)
    keytab = folder / "all.keytab"
    for user in ("pat", "admin", "app$", "plain$"):
        live.kdc("user", "add", user, "--password-stdin", stdin=f"{PASSWORD}\n")
    live.kdc("user", "set", "admin", "--not-delegated")
    live.kdc("service", "add", APP, "--account", "app$")
    live.kdc("service", "add", "HTTP/plain.lab.test", "--account", "plain$")
    for service in (FILES, BACKUP):
        live.kdc("service", "add", service, "--keytab", str(keytab))
    # MIT's kvno takes the name of the key that opens a ticket for the name of its service.
    for principal in ("krbtgt/LAB.TEST", "app$"):
        live.kdc("keytab", "export", principal, "-o", str(keytab), "--append")
    live.kdc("delegation", "for-any-protocol", "app$", "on")
    live.kdc("delegation", "add-service", "app$", FILES)
    live.kdc("delegation", "add-principal", BACKUP, "app$")
    with live.served():
        yield Site(live=live, folder=folder, keytab=keytab)


# -- impacket --------------------------------------------------------------------------------


def _get_st(site: Site, folder: Path, *arguments: str, service: str = "app$") -> tuple[str, Path]:
    """Run impacket's getST.py; return what it says and the cache that it wrote."""
    before = set(folder.glob("*.ccache"))
    done = subprocess.run(
        [
            *(sys.executable, str(Path(sys.executable).with_name("getST.py")), *arguments),
            *("-dc-ip", site.live.address, f"LAB.TEST/{service}:{PASSWORD}"),
        ],
        cwd=folder,
        env=peers.clean_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    written = sorted(set(folder.glob("*.ccache")) - before)
    return done.stdout, written[0] if written else Path()


def _pac(site: Site, cache: Path) -> tuple[str, dict[int, bytes]]:
    """Open the ticket of a cache with impacket; return the client's name and the PAC's buffers."""
    (credential,) = CCache.loadFile(str(cache)).credentials
    ticket = decoder.decode(credential.ticket["data"], asn1Spec=Ticket())[0]
    sealed = ticket["enc-part"]
    etype, kvno = int(sealed["etype"]), int(sealed["kvno"])
    entries = decode_keytab(site.keytab.read_bytes())
    owner = tuple(str(part) for part in ticket["sname"]["name-string"])
    (entry,) = (
        e for e in entries if (tuple(e.components), e.etype, e.kvno) == (owner, etype, kvno)
    )
    plain = _enctype_table[etype].decrypt(Key(etype, entry.key), 2, bytes(sealed["cipher"]))
    part = decoder.decode(plain, asn1Spec=EncTicketPart())[0]
    element = part["authorization-data"][0]
    inner = decoder.decode(bytes(element["ad-data"]), asn1Spec=AD_IF_RELEVANT())[0][0]
    pac = PACTYPE(bytes(inner["ad-data"]))
    buffers, at = {}, pac["Buffers"]
    for _ in range(pac["cBuffers"]):
        info = PAC_INFO_BUFFER(at)
        start = info["Offset"] - 8
        buffers[info["ulType"]] = pac["Buffers"][start : start + info["cbBufferSize"]]
        at = at[len(info) :]
    return str(part["cname"]["name-string"][0]), buffers


def _extra_sids(buffers: dict[int, bytes]) -> tuple[str, list[str]]:
    info = VALIDATION_INFO()
    info.fromString(buffers[LOGON_INFO])
    info.fromStringReferents(buffers[LOGON_INFO], len(info.getData()))
    sids = [sid["Sid"].formatCanonical() for sid in info["Data"]["ExtraSids"]]
    return str(info["Data"]["EffectiveName"]), sids


def _delegation(buffers: dict[int, bytes]) -> tuple[str, list[str]]:
    data = buffers[DELEGATION_INFO]
    # Headers of 16 octets and the top pointer of 4 stand before the structure (MS-RPCE 2.2.6).
    info = S4U_DELEGATION_INFO()
    size = info.fromString(data[20:])
    info.fromStringReferents(data[20:], size)
    listed = [str(service["Data"]) for service in info["S4UTransitedServices"]]
    assert info["TransitedListSize"] == len(listed)
    return str(info["S4U2proxyTarget"]), listed


def test_impacket_s4u2self(site: Site, tmp_path: Path) -> None:
    """`getST.py` -self: the user's own PAC, asserted by the service."""
    said, cache = _get_st(site, tmp_path, "-self", "-impersonate", "pat", "-spn", APP)
    assert "Saving ticket" in said, said
    client, buffers = _pac(site, cache)
    assert client == "pat"
    assert _extra_sids(buffers) == ("pat", ["S-1-18-2"])
    assert DELEGATION_INFO not in buffers


@pytest.mark.parametrize("service", [FILES, BACKUP])
def test_impacket_s4u2proxy(site: Site, tmp_path: Path, service: str) -> None:
    """`getST.py` -impersonate, by the list of the one and by that of the other."""
    said, cache = _get_st(site, tmp_path, "-impersonate", "pat", "-spn", service)
    assert "Saving ticket" in said, said
    client, buffers = _pac(site, cache)
    assert client == "pat"
    assert _extra_sids(buffers) == ("pat", ["S-1-18-2"])
    assert sorted(buffers) == [1, 6, 7, 10, 11, 12, 16, 19]
    assert _delegation(buffers) == (service, ["app$@LAB.TEST"])
    record = site.live.audit()[-1]
    assert record["delegation"] == ("constrained" if service == FILES else "resource-based")


@pytest.mark.parametrize(
    ("who", "whom", "service", "why"),
    [
        ("app$", "admin", FILES, "the evidence ticket is not forwardable"),
        ("plain$", "pat", FILES, "neither service has the delegation in its list"),
        (
            "plain$",
            "pat",
            BACKUP,
            "the service asked for does not let this one act for others",
        ),
    ],
)
def test_impacket_is_refused(
    site: Site, tmp_path: Path, who: str, whom: str, service: str, why: str
) -> None:
    """KDC_ERR_BADOPTION, with its reason in the audit record."""
    said, _ = _get_st(site, tmp_path, "-impersonate", whom, "-spn", service, service=who)
    assert "Saving ticket" not in said
    assert "KDC_ERR_BADOPTION" in said, said
    assert site.live.audit()[-1]["why"] == why


def test_impacket_bronze_bit(site: Site, tmp_path: Path) -> None:
    """CVE-2020-17049: `getST.py` -force-forwardable flips the bit, and gets nothing (row T12)."""
    key = next(
        e
        for e in decode_keytab(site.keytab.read_bytes())
        if tuple(e.components) == ("app$",) and e.etype == 18
    )
    said, _ = _get_st(
        site,
        tmp_path,
        *("-impersonate", "admin", "-spn", FILES, "-force-forwardable"),
        *("-aesKey", key.key.hex()),
    )
    assert "Saving ticket" not in said
    record = site.live.audit()[-1]
    assert (record["Status"], record["why"]) == ("0x29", "PAC ticket signature wrong"), said


# -- MIT -------------------------------------------------------------------------------------


def test_mit_s4u2self(site: Site, tmp_path: Path) -> None:
    """`kvno` -I, and -U for an enterprise name; the client checks the reply's own checksum."""
    realm, tgt = site.as_app(tmp_path)
    for option, user in (("-I", "pat"), ("-U", "pat"), ("-U", "pat@lab.test")):
        run = services.mit_kvno(realm, tgt.cache, "--no-store", option, user, "app$")
        assert run.status == 0, run.explain()
    run = services.mit_kvno(realm, tgt.cache, "-k", str(site.keytab), "-I", "pat", "app$")
    assert run.status == 0, run.explain()
    assert "keytab entry valid" in run.output


@pytest.mark.parametrize("service", [FILES, BACKUP])
def test_mit_s4u2proxy(site: Site, tmp_path: Path, service: str) -> None:
    """`kvno` -P; both forms, for MIT sends PA-PAC-OPTIONS."""
    realm, tgt = site.as_app(tmp_path)
    arguments = ("-k", str(site.keytab), "-I", "pat", "-P", service)
    run = services.mit_kvno(realm, tgt.cache, *arguments)
    assert run.status == 0, run.explain()
    assert "keytab entry valid" in run.output


def test_mit_s4u2self_by_certificate(site: Site, tmp_path: Path) -> None:
    """`kvno` -F: it asks the AS whose certificate it is, then for the ticket."""
    both, certificate = tmp_path / "carol.pem", tmp_path / "carol.crt"
    site.live.kdc("user", "add", "carol")
    site.live.kdc("key", "enroll", "carol", "--out", str(both))
    pem = both.read_text()
    certificate.write_text(pem[pem.index("-----BEGIN CERTIFICATE") :])
    realm, tgt = site.as_app(tmp_path)
    out = tmp_path / "for-carol"
    arguments = ("--out-cache", f"FILE:{out}", "-F", str(certificate), "app$")
    run = services.mit_kvno(realm, tgt.cache, *arguments)
    assert run.status == 0, run.explain()
    assert site.live.audit()[-1]["s4u_account"] == "carol"


def test_mit_s4u2self_by_a_certificate_of_a_logon_ca(site: Site, tmp_path: Path) -> None:
    """`kvno` -F: the key is on no account; chain and mapping say whose it is, or that nobody's."""
    root = logon_ca.new_root()
    site.live.kdc("user", "add", "dora")
    sid = json.loads(site.live.kdc("user", "show", "dora", "--json"))["sid"]
    strong = root.issue(tmp_path, "dora", upn="dora@lab.test", sid=sid)
    weak = root.issue(tmp_path, "weak", upn="dora@lab.test")
    pki = site.live.state / "pki"
    (pki / "crls").mkdir()
    (pki / "crls/root.crl").write_bytes(root.crl())
    (pki / "logon-cas/root.pem").write_bytes(root.pem)
    time.sleep(_RELOAD_S)
    realm, tgt = site.as_app(tmp_path)
    for identity, status in ((strong, 0), (weak, 1)):
        out = tmp_path / f"for-{identity.certificate.stem}"
        arguments = ("--out-cache", f"FILE:{out}", "-F", str(identity.certificate), "app$")
        run = services.mit_kvno(realm, tgt.cache, *arguments)
        assert run.status == status, run.explain()
        if status == 0:
            assert site.live.audit()[-1]["s4u_account"] == "dora"
            assert clients.klist(out)[0] == "dora@LAB.TEST"


def test_mit_is_refused(site: Site, tmp_path: Path) -> None:
    """A user who may not be delegated; a service that is in no list."""
    realm, tgt = site.as_app(tmp_path)
    for user, more, why in (
        ("admin", ("-P", FILES), "the evidence ticket is not forwardable"),
        ("pat", ("-P", "HTTP/plain.lab.test"), "neither service has the delegation in its list"),
        ("nobody", ("app$",), "no user of the name that a service asks for"),
    ):
        run = services.mit_kvno(realm, tgt.cache, "-I", user, *more)
        assert run.status != 0, run.explain()
        assert site.live.audit()[-1]["why"] == why


def test_gssapi_acceptor_takes_the_ticket(site: Site, tmp_path: Path) -> None:
    """What kvno -P got opens a context with the other service, as the user."""
    realm, tgt = site.as_app(tmp_path)
    out = tmp_path / "for-pat"
    run = services.mit_kvno(
        realm, tgt.cache, "--out-cache", f"FILE:{out}", "-I", "pat", "-P", FILES
    )
    assert run.status == 0, run.explain()
    owner, tickets = clients.klist(out)
    assert owner == "pat@LAB.TEST"
    assert [t.service for t in tickets] == [f"{FILES}@LAB.TEST"]
    saw = services.gss_loop(realm, out, site.keytab, f"{FILES}@LAB.TEST")
    assert saw["client"] == "pat@LAB.TEST"
    assert saw["pac_verified"] is True


# -- Heimdal ---------------------------------------------------------------------------------


def test_heimdal_s4u2self(site: Site, tmp_path: Path) -> None:
    """`kgetcred` --impersonate, with the checksum of the session key's type in PA-FOR-USER."""
    realm = site.client(tmp_path)
    tgt = clients.heimdal_kinit(realm, "app$@LAB.TEST", password=PASSWORD, options=("-f",))
    assert tgt.status == 0, tgt.explain()
    out = tmp_path / "self"
    run = services.heimdal_kgetcred(
        realm, tgt.cache, f"--out-cache=FILE:{out}", "--forwardable", "--impersonate=pat", APP
    )
    assert run.status == 0, run.explain()
    assert f"Server: {APP}@LAB.TEST" in clients.heimdal_klist(out)
    assert "Client: pat@LAB.TEST" in clients.heimdal_klist(out)
    record = site.live.audit()[-1]
    assert (record["s4u"], record["s4u_account"]) == ("self", "pat")


def test_heimdal_s4u2proxy(site: Site, tmp_path: Path) -> None:
    """`kgetcred` --delegation-credential-cache: the ticket of S4U2Self as evidence."""
    realm = site.client(tmp_path)
    tgt = clients.heimdal_kinit(realm, "app$@LAB.TEST", password=PASSWORD, options=("-f",))
    evidence, out = tmp_path / "self", tmp_path / "proxy"
    # It looks in the cache for a ticket to the name that it logged on with.
    arguments = ("--forwardable", "--impersonate=pat", "app$")
    run = services.heimdal_kgetcred(realm, tgt.cache, f"--out-cache=FILE:{evidence}", *arguments)
    assert run.status == 0, run.explain()
    run = services.heimdal_kgetcred(
        realm,
        tgt.cache,
        f"--out-cache=FILE:{out}",
        f"--delegation-credential-cache=FILE:{evidence}",
        FILES,
    )
    assert run.status == 0, run.explain()
    assert site.live.audit()[-1]["s4u"] == "proxy"
    run = services.heimdal_kgetcred(
        realm,
        tgt.cache,
        f"--out-cache=FILE:{out}",
        f"--delegation-credential-cache=FILE:{evidence}",
        BACKUP,
    )
    assert run.status != 0, "Heimdal 7.8 knows resource-based delegation now"
    assert site.live.audit()[-1]["why"] == "the service may not delegate to the one asked for"


# -- tshark ----------------------------------------------------------------------------------


def test_tshark_dissects_what_a_service_gets(site: Site, tmp_path: Path) -> None:
    """No malformed part in either ticket; signatures verified, the chain of services read."""
    realm, tgt = site.as_app(tmp_path)
    file = tmp_path / "s4u.pcap"
    with wire.capture(file, _PORT):
        run = services.mit_kvno(realm, tgt.cache, "-I", "pat", "-P", FILES)
        refused = services.mit_kvno(realm, tgt.cache, "-I", "pat", "-P", "HTTP/plain.lab.test")
    assert (run.status, refused.status == 0) == (0, False)
    frames = wire.dissect(file, _PORT)
    assert not [frame for frame in frames if frame.malformed]
    # MIT's client armors its requests: METHOD-DATA is the e-data of every refusal then (RFC 6113
    # 5.4.4), which tshark 4.0 expects with some codes only.
    assert not [f for f in frames if f.complaints and f.error_code is None]
    told = dissect(file, site.keytab, _PORT, TGS_REP)
    assert "Malformed" not in told
    assert "Acct Name: pat" in told
    assert "S-1-18-2" in told
    assert FILES in told
    for signature in ("Server", "KDC", "Ticket"):
        assert f"Verified {signature} checksum 16 keytype 18" in told
