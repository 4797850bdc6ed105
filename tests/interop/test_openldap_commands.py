"""Commands that write to a realm's OpenLDAP with the caller's credentials, and what looks at it.

`kdc key`, `kdc user password`, `kdc keytab rotate` and `kdc realm rotate-krbtgt` where long-term
keys are sealed in the directory; `kdc directory check --fix` and `kdc key check`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from directory.keycredential import NewKeyCredential, encode_key_credential
from tests.directory.builders import NOW, hello_key
from tests.rig import certificates, clients, slapd
from tests.rig.ldap_realm import ATTRIBUTE, key_credential, local_options, served
from tests.rig.realm import LiveRealm
from tests.rig.secret_files import write_secret
from tests.rig.services import mit_kvno
from tests.rig.slapd import Slapd

pytestmark = pytest.mark.interop

PAT_PASSWORD = "Pat-Secret-1"  # noqa: S105  # a test user's
PASSWORDS = ("First-Secret-1", "Second-Secret-2", "Third-Secret-3")
PC1 = "cn=pc1,ou=services," + slapd.BASE


def _computer() -> str:
    """A computer that can log on to the directory, and may write its own keys there."""
    return slapd.record(
        PC1,
        {
            "objectClass": ("computer", "securityPrincipal", "keytrustPrincipal"),
            "cn": "pc1",
            "sAMAccountName": "PC1$",
            "objectSid": slapd.sid(1210),
            "userAccountControl": "4096",
            "primaryGroupID": "515",
            "servicePrincipalName": "host/pc1.lab.test",
            "userPassword": PAT_PASSWORD,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory and the realm on it."""

    directory: Slapd
    live: LiveRealm
    folder: Path

    def admin(self) -> tuple[str, ...]:
        """Options to log on to the directory as its administrator, over LDAPS."""
        return self.who(slapd.ADMIN, self.directory.password)

    def who(self, dn: str, password: str) -> tuple[str, ...]:
        """Options to log on as somebody by password, over LDAPS."""
        path = write_secret(self.folder / f"password-{abs(hash(dn))}", password)
        return (
            *("--server", self.directory.ldaps_url),
            *("--bind-dn", dn, "--bind-password-file", str(path)),
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("commands")
    more = slapd.person("pat", 1200, userPassword=PAT_PASSWORD)
    more += slapd.person("alice", 1201) + slapd.person("erin", 1202) + _computer()
    directory = Slapd.make(folder / "slapd", more=more)
    with directory.running():
        # The computer may write its own keys: the shape is then ours to check (row K18).
        directory.modify(
            "dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nadd: olcAccess\n"
            "olcAccess: {2}to attrs=msDS-KeyCredentialLink"
            ' by group.exact="cn=Key Admins,ou=groups,dc=lab,dc=test" write'
            " by self write by users read by * none\n"
        )
        with served(
            folder,
            *local_options(directory),
            "--directory-key-source",
            "ldap-sealed",
            more=f'directory.ca_file = "{directory.ca}"\n',
        ) as live:
            yield Place(directory=directory, live=live, folder=folder)


# -- keys ----------------------------------------------------------------------------------------


def test_a_key_is_enrolled_logs_on_and_is_removed(place: Place, tmp_path: Path) -> None:
    """Each command returns when this KDC knows; nothing but that one value changes."""
    dn = f"uid=alice,{slapd.PEOPLE}"
    neighbour = key_credential(
        certificates.self_signed(tmp_path, "other", certificates.new_key()), dn
    )
    place.directory.change(dn, "add", ATTRIBUTE, neighbour)
    both, issuer = tmp_path / "alice.pem", tmp_path / "issuer.pem"
    said = place.live.kdc(
        *("key", "enroll", "alice", "--out", str(both), "--throwaway-issuer", str(issuer)),
        *place.admin(),
    )
    assert "this KDC knows it" in said
    key = certificates.new_key()
    identity = certificates.Identity(certificate=both, key=both, both=both, private_key=key)
    realm = place.live.client(tmp_path, issuer)
    run = clients.mit_kinit(realm, "alice@LAB.TEST", identity=identity)
    assert run.status == 0, run.explain()
    assert "this KDC knows it" in place.live.kdc(
        "key", "remove", "alice", said.split()[2], *place.admin()
    )
    assert clients.mit_kinit(realm, "alice@LAB.TEST", identity=identity).status != 0
    assert place.directory.values(dn, ATTRIBUTE) == (neighbour,)


def test_a_user_may_write_nobodys_keys(place: Place, tmp_path: Path) -> None:
    """Row K17: LDAP 50 is exit code 5; nothing is left behind. Nor his own: MS-ADTS, SELF."""
    pat = place.who(f"uid=pat,{slapd.PEOPLE}", PAT_PASSWORD)
    for user in ("alice", "pat"):
        out = tmp_path / f"{user}.pem"
        place.live.kdc("key", "enroll", user, "--out", str(out), *pat, ok=(5,))
        assert not out.exists()


def test_a_computer_registers_one_key_of_its_own(place: Place, tmp_path: Path) -> None:
    """Row K18: a second value, or one with CustomKeyInformation or a last use, is exit code 5."""
    own = place.who(PC1, PAT_PASSWORD)
    strange = tmp_path / "strange"
    plain = NewKeyCredential(public_key=hello_key(7), created=NOW)
    for new in (replace(plain, custom_key_information=b"\1\2"), replace(plain, last_logon=NOW)):
        strange.write_text(encode_key_credential(new, PC1))
        place.live.kdc("key", "add", "PC1$", str(strange), *own, ok=(5,))
    place.live.kdc("key", "enroll", "PC1$", "--out", str(tmp_path / "one.pem"), *own)
    place.live.kdc("key", "enroll", "PC1$", "--out", str(tmp_path / "two.pem"), *own, ok=(5,))
    assert len(place.directory.values(PC1, ATTRIBUTE)) == 1


def test_without_credentials_nothing_is_written(place: Place, tmp_path: Path) -> None:
    """The follower's own rights are never used for a change; the error says how to log on."""
    place.live.kdc("key", "enroll", "alice", "--out", str(tmp_path / "a.pem"), ok=(2,))


def test_a_wrong_password_and_a_server_that_is_away_have_their_exit_codes(
    place: Place, tmp_path: Path
) -> None:
    """5 denied, 6 unreachable (the commands' contract)."""
    out = str(tmp_path / "a.pem")
    place.live.kdc(
        *("key", "enroll", "alice", "--out", out), *place.who(slapd.ADMIN, "wrong"), ok=(5,)
    )
    away = ("--server", "ldaps://127.0.0.1:1", *place.admin()[2:])
    place.live.kdc("key", "enroll", "alice", "--out", out, *away, ok=(6,))


# -- sealed keys ---------------------------------------------------------------------------------


def test_a_password_is_sealed_in_the_directory(place: Place, tmp_path: Path) -> None:
    """Written as the administrator, read by the follower, opened with the master key alone."""
    realm = place.live.client(tmp_path)
    for password in PASSWORDS[:2]:
        said = place.live.kdc(
            "user", "password", "erin", "--password-stdin", *place.admin(), stdin=f"{password}\n"
        )
        assert "this KDC knows it" in said
        run = clients.mit_kinit(realm, "erin@LAB.TEST", password=password)
        assert run.status == 0, run.explain()
    assert clients.mit_kinit(realm, "erin@LAB.TEST", password=PASSWORDS[0]).status != 0
    done = place.directory.command("ldapsearch", "-LLL", "-b", slapd.BASE, "(sAMAccountName=erin)")
    assert "keytrustSealedKeys" in done.stdout
    assert "pwdLastSet" in done.stdout


def test_who_may_not_seal_is_told(place: Place) -> None:
    """The directory's decision, exit code 5."""
    pat = place.who(f"uid=pat,{slapd.PEOPLE}", PAT_PASSWORD)
    words = ("user", "password", "erin", "--password-stdin")
    place.live.kdc(*words, *pat, stdin="Other-Secret-3\n", ok=(5,))


def test_a_service_and_krbtgt_get_new_keys_there(place: Place, tmp_path: Path) -> None:
    """`keytab rotate` writes keytab and directory; krbtgt's old tickets stay valid."""
    keytab = tmp_path / "pc1.keytab"
    place.live.kdc("keytab", "rotate", "host/pc1.lab.test", "--keytab", str(keytab), *place.admin())
    place.live.kdc(
        "user", "password", "erin", "--password-stdin", *place.admin(), stdin=f"{PASSWORDS[2]}\n"
    )
    realm = place.live.client(tmp_path)
    run = clients.mit_kinit(realm, "erin@LAB.TEST", password=PASSWORDS[2])
    assert run.status == 0, run.explain()
    said = place.live.kdc("realm", "rotate-krbtgt", *place.admin())
    assert "this KDC knows it" in said
    got = place.live.kdc("keytab", "show", str(keytab), "--json")
    assert {entry["principal"] for entry in json.loads(got)} == {"host/pc1.lab.test@LAB.TEST"}
    found = mit_kvno(realm, run.cache, "host/pc1.lab.test")
    assert found.status == 0, found.explain()
    compared = json.loads(place.live.kdc("key", "check", "--json"))
    by_name = {each["account"]: each for each in compared}
    assert by_name["krbtgt"]["source"] == by_name["krbtgt"]["store"] == 2
    assert all(each["state"] == "ok" for each in compared)


# -- looking and mending -------------------------------------------------------------------------


def _checks(place: Place, *options: str, ok: tuple[int, ...] = (0, 1)) -> dict[str, str]:
    found = json.loads(place.live.kdc("directory", "check", "--json", *options, ok=ok))
    return {check["check"]: f"{check['level']}: {check['message']}" for check in found["checks"]}


def test_what_is_missing_is_named_and_mended(place: Place) -> None:
    """An index, krbtgt's entry and a renamed entry's key; then nothing is left to say."""
    directory = place.directory
    database = "olcDatabase={1}mdb,cn=config"
    indexed = [v for v in directory.values(database, "olcDbIndex") if "objectSid" in v]
    index = indexed[0].partition("}")[2] or indexed[0]
    directory.change(database, "delete", "olcDbIndex", index)
    dn = f"uid=user0002,{slapd.PEOPLE}"
    value = key_credential(
        certificates.self_signed(place.folder, "renamed", certificates.new_key()), dn
    )
    directory.change(dn, "add", ATTRIBUTE, value)
    directory.modify(f"dn: {dn}\nchangetype: modrdn\nnewrdn: uid=other2\ndeleteoldrdn: 0\n")
    before = _checks(place, *place.admin())
    assert before["directory.indexes"].startswith("warn: no equality index on objectSid")
    assert before["directory.links"].startswith("fail: a key of uid=other2")
    assert before["directory.push"].startswith("ok: it pushes changes by syncrepl")
    mended = _checks(place, "--fix", *place.admin())
    assert mended["directory.indexes"].startswith("ok: mended")
    assert mended["directory.links"].startswith("ok: mended")
    after = _checks(place, *place.admin(), ok=(0,))
    assert not [line for line in after.values() if not line.startswith("ok")], after
    assert directory.values(f"uid=other2,{slapd.PEOPLE}", ATTRIBUTE)[0].endswith(
        f"uid=other2,{slapd.PEOPLE}"
    )


def test_the_follower_is_told_what_it_cannot_see(place: Place) -> None:
    """Without the administrator's rights cn=config stays closed; that is a warning, no failure."""
    found = _checks(place, ok=(0,))
    assert found["directory.indexes"].startswith("warn: cn=config cannot be read")
    assert found["directory.key_source"].startswith("ok: ldap-sealed has keys of")
    assert found["directory.schema"].startswith("ok")


def test_a_bare_directory_is_described_and_filled(tmp_path: Path, place: Place) -> None:
    """No SID of the domain and no krbtgt: both are named, and --fix puts them there."""
    bare = Slapd.make(tmp_path / "bare", users=1)
    with bare.running():
        bare.delete(f"cn=krbtgt,ou=services,{slapd.BASE}")
        live = LiveRealm(state=tmp_path / "state", address="127.0.0.1", port=place.live.port)
        live.kdc(
            *("init", "--realm", "LAB.TEST", "--listen", f"127.0.0.1:{place.live.port}"),
            *local_options(bare),
        )
        other = Place(directory=bare, live=live, folder=tmp_path)
        assert _checks(other)["directory.krbtgt"].startswith("fail: no account krbtgt")
        ca = f'directory.ca_file = "{bare.ca}"\n'
        config = live.state / "kdc.toml"
        config.write_text(config.read_text() + ca)
        mended = _checks(other, "--fix", *other.admin())
        assert mended["directory.krbtgt"].startswith("ok: mended"), mended
        assert _checks(other, *other.admin())["directory.krbtgt"].startswith("ok: krbtgt is")
