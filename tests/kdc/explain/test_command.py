"""`kdc explain` as a user runs it."""

import hashlib
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from directory.sealing import write_secret_file
from kdc.cli.main import run
from kdc.explain.explanation import WIDTH
from kdc.explain.recorder import FILE_NAME, RefusalRecorder
from kdc.outcome import Outcome, Peer
from pki.ca import certificate_to_pem, private_key_to_pem
from tests.kdc.builders import (
    BODY,
    NOW,
    Kdc,
    PkinitRequest,
    as_req,
    body_for,
    enc_timestamp,
    key_of,
)
from tests.kdc.explain.captures import KDC_PORT, PORT, ethernet, framed, ipv4, pcap, tcp, udp
from tests.pki import issued

Explain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def state(kdc: Kdc) -> Path:
    """Return the folder of the test's KDC, made whole: configuration, master key, certificate."""
    folder = kdc.folder
    (folder / "kdc.toml").write_text('realm = "LAB.TEST"\nnetbios = "LAB"\n')
    write_secret_file(folder / "master.key", hashlib.sha256(b"master").digest())
    (folder / "pki").mkdir()
    (folder / "pki/kdc.pem").write_bytes(certificate_to_pem(issued.kdc().certificate_der))
    key = folder / "pki/kdc.key"
    key.write_bytes(private_key_to_pem(issued.kdc().private_key))
    key.chmod(0o600)
    return folder


@pytest.fixture
def explain(state: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    """Return a function that runs `kdc explain` on that folder: exit code, output, errors."""

    def call(*arguments: str | Path, state: Path = state) -> tuple[int, str, str]:
        code = run(["--state", str(state), "explain", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refuse(kdc: Kdc, state: Path) -> Callable[[bytes], Outcome]:
    """Return a function that sends a message and records its refusal, as the server does."""

    def send(message: bytes) -> Outcome:
        outcome = kdc.ask(message, transport="udp")
        recorder = RefusalRecorder(state / FILE_NAME)
        peer = Peer(address="192.0.2.7", port=40_000, transport="udp")
        recorder.record(message, peer, NOW, outcome)
        recorder.close()
        return outcome

    return send


STRANGER = PkinitRequest(signer=issued.hello("stranger"))


def test_a_reference_leads_to_the_refusal(
    explain: Explain, refuse: Callable[[bytes], Outcome]
) -> None:
    """What stands in the client's error message is what one types."""
    first = refuse(STRANGER.build().message)
    refuse(as_req(body_for("nosuch")))
    code, out, err = explain(first.reference.lower())
    assert (code, err) == (0, "")
    assert out.startswith(
        "62 KDC_ERR_CLIENT_NOT_TRUSTED: the signer's key is registered on no account\n"
    )
    assert f"  ref:     {first.reference}\n" in out
    assert "  from:    192.0.2.7 port 40000, udp\n" in out
    assert "[NO] the key is registered on this account" in out
    assert "Keys registered today on alice" in out
    assert "(compared): not the signer's key" in out
    assert "AuthPack" in out
    assert max(map(len, out.splitlines())) <= WIDTH
    assert "\x1b" not in out


def test_last_is_the_newest(explain: Explain, refuse: Callable[[bytes], Outcome]) -> None:
    """--last, and --no-tree for those who only want the reason."""
    refuse(STRANGER.build().message)
    refuse(as_req(body_for("nosuch")))
    code, out, _ = explain("--last", "--no-tree")
    assert code == 0
    assert out.startswith("6 KDC_ERR_C_PRINCIPAL_UNKNOWN: no account of the client's name\n")
    assert "The message" not in out


@pytest.mark.parametrize("arguments", [["ZZZZ"], ["--last"]])
def test_what_is_not_recorded_is_not_found(explain: Explain, arguments: list[str]) -> None:
    """Exit 3, in three lines."""
    code, out, err = explain(*arguments)
    assert (code, out, err.count("\n")) == (3, "", 3)


@pytest.mark.parametrize(
    "arguments",
    [[], ["7K3M", "--last"], ["--hex", "6a", "--file", "x"], ["--hex", "xyz"], ["--hex", ""]],
)
def test_wrong_use_is_exit_2(explain: Explain, arguments: list[str]) -> None:
    """Exactly one of REFERENCE, --last, --hex and --file; hex must be hex."""
    code, out, err = explain(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 3)


def test_a_message_that_was_not_recorded_is_judged_now(explain: Explain, state: Path) -> None:
    """--hex: the steps are found by the real core, for the time the message says of itself."""
    message = PkinitRequest(group="modp2").build().message
    before = {path: path.read_bytes() for path in state.glob("*.map")}
    code, out, _ = explain("--hex", message.hex(":"))
    assert code == 0
    assert "65 KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED" in out
    assert "judged now, by today's accounts" in out
    assert "[ ?] the replay memory reaches back" in out
    assert {path: path.read_bytes() for path in state.glob("*.map")} == before


def test_a_good_message_would_get_a_ticket(explain: Explain, tmp_path: Path) -> None:
    """And is not used up by it: neither here nor when it is sent."""
    path = tmp_path / "message.bin"
    path.write_bytes(framed(PkinitRequest().build().message))
    for _ in range(2):
        code, out, _ = explain("--file", path)
        assert code == 0
        assert out.startswith("A ticket would be issued\n")
        assert "[ ?] the AuthPack was not used before" in out
    code, out, _ = explain("--file", path, "--at", "2026-05-04T13:00:00Z")
    assert out.startswith("37 KRB_AP_ERR_SKEW: the AuthPack's time is outside the clock skew\n")
    assert "it is 1h behind ours" in " ".join(out.split())


def test_judging_a_password_counts_nothing(explain: Explain, kdc: Kdc) -> None:
    """Otherwise an administrator could lock an account by explaining."""
    pa = enc_timestamp(key_of(18), change=lambda c: bytes((c[0] ^ 1,)) + c[1:])
    message = as_req(body_for("pat"), pa)
    for _ in range(12):
        code, out, _ = explain("--hex", message.hex(), "--at", "2026-05-04T12:00:00Z")
        assert code == 0
        assert out.startswith("24 KDC_ERR_PREAUTH_FAILED")
    assert kdc.store.password_failures(kdc.account_id("pat")) == 0


def test_hex_can_come_from_stdin(explain: Explain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a command line likes, spaced as Wireshark or C do it."""
    text = ", ".join(f"0x{octet:02x}" for octet in as_req(body_for("nosuch")))
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    code, out, _ = explain("--hex", "-")
    assert code == 0
    assert "no account of the client's name" in out


def test_without_a_realm_there_is_still_the_tree(explain: Explain, tmp_path: Path) -> None:
    """On somebody's laptop, with a capture from elsewhere."""
    code, out, _ = explain("--hex", as_req(BODY).hex(), state=tmp_path / "nowhere")
    assert code == 0
    assert out.startswith("Not judged\n")
    assert "no realm was looked at" in out
    assert 'cname: "alice"' in out


def test_garbage_is_shown_as_what_it_is(explain: Explain) -> None:
    """No message of Kerberos': exit 0, with the fault and its place."""
    code, out, _ = explain("--hex", "ffff00ff")
    assert code == 0
    assert out.startswith("No answer: not a KDC request\n")
    assert "!! octet 0: unexpected tag" in out


def test_json_has_the_tree_and_the_steps(
    explain: Explain, refuse: Callable[[bytes], Outcome]
) -> None:
    """--json for every form."""
    outcome = refuse(STRANGER.build().message)
    code, out, _ = explain("--last", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["reference"] == outcome.reference
    assert found["verdict"]["code"] == 62
    assert found["message"]["name"] == "AS-REQ"
    assert [s["state"] for s in found["steps"]].count("failed") == 1
    assert found["key_credentials"][0]["name"] == "KeyCredential"


# -- captures --------------------------------------------------------------------------------


def exchange(request: bytes, reply: bytes | None, port: int = PORT) -> list[bytes]:
    """Return the packets of one exchange by UDP."""
    out = [ethernet(ipv4(udp(request, port), 17))]
    if reply is not None:
        back = udp(reply, KDC_PORT, port)
        out.append(ethernet(ipv4(back, 17, source="192.0.2.1", target="192.0.2.7")))
    return out


def test_a_capture_is_listed_and_its_refused_request_explained(
    explain: Explain, refuse: Callable[[bytes], Outcome], kdc: Kdc, tmp_path: Path
) -> None:
    """By the reference in the KRB-ERROR's e-text it is the recorded refusal that is explained."""
    hello, stranger = as_req(BODY), STRANGER.build().message
    packets = exchange(hello, kdc.ask(hello).reply) + exchange(stranger, refuse(stranger).reply)
    path = tmp_path / "logon.pcap"
    path.write_bytes(pcap(packets))
    code, out, _ = explain("--file", path)
    assert code == 0
    rows = [line.split() for line in out.splitlines()[1:5]]
    assert [row[0] for row in rows] == ["1", "2", ">3", "4"]
    assert rows[1][-2:] == ["25", "KDC_ERR_PREAUTH_REQUIRED"]
    assert rows[3][-2:] == ["62", "KDC_ERR_CLIENT_NOT_TRUSTED"]
    assert "62 KDC_ERR_CLIENT_NOT_TRUSTED: the signer's key is registered on no account" in out
    assert "judged now" not in out
    code, out, _ = explain("--file", path, "--message", "1")
    assert "25 KDC_ERR_PREAUTH_REQUIRED: no pre-authentication data" in out
    code, out, _ = explain("--file", path, "--message", "4")
    assert "[NO] the key is registered" in out
    assert explain("--file", path, "--message", "5")[0] == 3


def test_a_capture_of_another_kdc_is_judged_by_this_one(
    explain: Explain, kdc: Kdc, tmp_path: Path
) -> None:
    """Its KRB-ERROR has no reference that is known here; the judgement is for the packet's time."""
    message = STRANGER.build().message
    reply = kdc.ask(message, at=NOW + timedelta(seconds=1)).reply
    assert reply is not None
    packets = [ethernet(ipv4(tcp(framed(message), 1), 6))]
    answer = tcp(framed(reply), 9, source=KDC_PORT, target=PORT)
    packets.append(ethernet(ipv4(answer, 6, source="192.0.2.1", target="192.0.2.7")))
    path = tmp_path / "other.pcap"
    path.write_bytes(pcap(packets))
    code, out, _ = explain("--file", path)
    assert code == 0
    assert "judged now" in out
    assert "it was answered 62 KDC_ERR_CLIENT_NOT_TRUSTED" in out
    assert "time:    2026-05-04T12:00:00Z" in out


def test_a_capture_without_refusals_is_only_listed(
    explain: Explain, kdc: Kdc, tmp_path: Path
) -> None:
    """Two requests that were answered: nothing to explain, and --message to choose."""
    message = PkinitRequest().build().message
    hello = as_req(BODY)
    packets = exchange(hello, kdc.ask(hello).reply) + exchange(message, kdc.ask(message).reply)
    path = tmp_path / "good.pcap"
    path.write_bytes(pcap(packets))
    code, out, _ = explain("--file", path)
    assert code == 0
    assert out.endswith("no request was refused; --message N explains one\n")
    code, out, _ = explain("--file", path, "--json")
    assert [m["message"] for m in json.loads(out)["messages"]][2:] == ["AS-REQ", "AS-REP"]


def test_a_capture_without_kerberos_is_not_found(explain: Explain, tmp_path: Path) -> None:
    """Exit 3; a file that is not there as well."""
    path = tmp_path / "dns.pcap"
    path.write_bytes(pcap([ethernet(ipv4(udp(b"\x12\x34" + bytes(30)), 17))]))
    assert explain("--file", path)[0] == 3
    assert explain("--file", tmp_path / "nosuch")[0] == 3


def test_an_error_message_leads_to_its_request(
    explain: Explain, refuse: Callable[[bytes], Outcome], kdc: Kdc
) -> None:
    """A KRB-ERROR alone: by its reference when it is ours, by its code when it is not."""
    ours = refuse(STRANGER.build().message)
    assert ours.reply is not None
    code, out, _ = explain("--hex", ours.reply.hex())
    assert code == 0
    assert f"ref:     {ours.reference}" in out
    other = kdc.ask(as_req(body_for("nosuch"))).reply
    assert other is not None
    code, out, _ = explain("--hex", other.hex())
    assert out.startswith("6 KDC_ERR_C_PRINCIPAL_UNKNOWN: a KRB-ERROR: the request that it")
    assert "error-code: 6 KDC_ERR_C_PRINCIPAL_UNKNOWN" in out
