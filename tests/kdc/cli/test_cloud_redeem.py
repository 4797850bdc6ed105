"""`kdc cloud-trust redeem`: what is refused before a KDC is asked; tests/interop has the rest."""

import json
from pathlib import Path

import pytest

from kdc.cli.cloud_redeem import explain
from kdc.cli.errors import ExitCode
from kdc.client.errors import RefusedError
from kdc.client.transport import KdcAddress
from kdc.wire.constants import PVNO, ErrorCode, MessageType
from kdc.wire.rfc4120 import KrbError
from tests.kdc.cli.conftest import Shell
from tests.kdc.client.fake_kdc import KRBTGT, NOW_S

NOBODY = "127.0.0.1:1"  # tcpmux: nothing listens there


@pytest.fixture
def tgt_ad(realm: Shell) -> Path:
    """Return a file with a partial TGT for pat."""
    realm.ok("cloud-trust", "create", "--number", "40000")
    key, out = realm.state.parent / "cloud.key", realm.state.parent / "tgt_ad.json"
    realm.ok("cloud-trust", "export-key", "-o", key)
    realm.ok("cloud-trust", "mint", "pat", "--key-file", key, "--sid", "1107", "--out", out)
    return out


def test_no_kdc_answers(realm: Shell, tgt_ad: Path) -> None:
    """6, and no cache is left."""
    cache = realm.state.parent / "cc"
    done = realm(
        *("cloud-trust", "redeem", "--prt", tgt_ad, "--ccache", cache),
        *("--kdc", NOBODY, "--timeout", "0.1", "--tcp"),
    )
    assert (done.code, cache.exists()) == (ExitCode.UNREACHABLE, False)
    assert done.error[0] == f"no KDC answers on {NOBODY}"


def test_ticket_of_another_realm(realm: Shell, tgt_ad: Path) -> None:
    """The state folder's KDC would not know it."""
    config = realm.state / "kdc.toml"
    config.write_text(config.read_text().replace('"LAB.TEST"', '"OTHER.TEST"'))
    done = realm("cloud-trust", "redeem", "--prt", tgt_ad, "--ccache", realm.state.parent / "cc")
    assert done.code == ExitCode.NOT_FOUND
    assert done.error[:2] == (
        "the partial TGT is for LAB.TEST",
        "the state folder's realm is OTHER.TEST",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "it has no tgt_ad: no ticket was asked for with the token (tgt=true)"),
        (
            json.dumps({"tgt_ad": json.dumps({"keyType": 0, "error": "no\nkey"})}),
            "the cloud gave no ticket: no\\x0akey",
        ),
        (
            json.dumps({"messageBuffer": "AAAA", "clientKey": "A" * 43 + "=", "keyType": 18}),
            "messageBuffer: the answer is not a well-formed Kerberos message",
        ),
    ],
)
def test_file_without_a_ticket(realm: Shell, content: str, reason: str) -> None:
    """Three lines that say what is missing; what the cloud said is escaped."""
    file = realm.state.parent / "roadtx.prt"
    file.write_text(content)
    done = realm("cloud-trust", "redeem", "--prt", file, "--ccache", realm.state.parent / "cc")
    assert done.code == ExitCode.FAILED
    assert done.error[1].startswith(reason)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--prt", "nowhere.prt", "--ccache", "cc"), ExitCode.NOT_FOUND),
        (("--prt", "tgt_ad.json", "--ccache", "nowhere/cc"), ExitCode.NOT_FOUND),
        (("--prt", "tgt_ad.json", "--ccache", "cc", "--keytab", "kt"), ExitCode.USAGE),
        (("--prt", "tgt_ad.json", "--ccache", "cc", "--kdc", "kdc:x"), ExitCode.USAGE),
        (("--prt", "tgt_ad.json"), ExitCode.USAGE),
    ],
)
def test_wrong_usage(
    realm: Shell,
    tgt_ad: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    code: ExitCode,
) -> None:
    """Nothing is sent and nothing written."""
    monkeypatch.chdir(tgt_ad.parent)
    done = realm("cloud-trust", "redeem", *options)
    assert (done.code, (tgt_ad.parent / "cc").exists()) == (code, False)
    assert done.error


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (ErrorCode.KDC_ERR_TGT_REVOKED, "kdc cloud-trust show has who is in which list"),
        (ErrorCode.KDC_ERR_POLICY, "kdc cloud-trust show has what is wrong with the trust"),
        (ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, "the numbers that this realm knows"),
        (ErrorCode.KRB_AP_ERR_BAD_INTEGRITY, "the cloud needs the newest key"),
        (ErrorCode.KDC_ERR_CLIENT_REVOKED, "kdc user show"),
        (ErrorCode.KRB_AP_ERR_TKT_EXPIRED, "says why"),
    ],
)
@pytest.mark.parametrize("e_text", [None, "REFUSED [ref 7K3M]"])
def test_refusals_say_where_to_look(code: ErrorCode, advice: str, e_text: str | None) -> None:
    """One line each, short enough for a terminal; with the reference when there is one."""
    error = KrbError(
        pvno=PVNO,
        msg_type=MessageType.KRB_ERROR,
        stime=NOW_S,
        susec=0,
        error_code=code,
        realm="LAB.TEST",
        sname=KRBTGT,
        e_text=e_text,
    )
    found = explain(RefusedError(error), "pat@LAB.TEST", KdcAddress(host="127.0.0.1"))
    assert found.code == ExitCode.DENIED
    assert advice in found.remedy
    if "kdc explain" in found.remedy:
        assert ("7K3M" if e_text else "--last") in found.remedy
    assert all(len(line) < 200 for line in (found.what, found.why, found.remedy))
