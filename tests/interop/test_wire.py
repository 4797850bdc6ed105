"""tshark, which shares no code with us, dissects what we send."""

from pathlib import Path

import pytest

from tests.conftest import Lab
from tests.rig import certificates, clients, wire

pytestmark = pytest.mark.interop

AS_REQ, AS_REP, KRB_ERROR = 10, 11, 30
PA_PK_AS_REP = 17

# tshark 4.0 knows PA-PK-AS-REP as the drafts had it, dhSignedData [0] ContentInfo, and says this of
# any RFC 4556 reply; it says the same of MIT's krb5kdc 1.20.
_OLD_DRAFT = (
    "BER Error: Wrong field in SEQUENCE: expected class:UNIVERSAL(0) tag:6(OBJECT IDENTIFIER)"
    " but found class:CONTEXT(2) tag:0",
    "BER Error: Wrong field in SEQUENCE: expected class:CONTEXT(2) tag:0"
    " but found class:CONTEXT(2) tag:",
)


def _ours(frame: wire.Frame) -> tuple[str, ...]:
    """Complaints about a message of ours that are not tshark's own limit."""
    if PA_PK_AS_REP in frame.padata_types:
        return tuple(text for text in frame.complaints if not text.startswith(_OLD_DRAFT))
    return frame.complaints


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_capture_holds_no_malformed_message(
    lab: Lab, tmp_path: Path, transport: clients.Transport
) -> None:
    """Logons of both clients and refusals, as tshark's dissectors of RFC 4120 and 4556 see them."""
    stranger = certificates.leaf(tmp_path, "stranger", certificates.new_key(), lab.throwaway)
    realm = lab.live.client(tmp_path, lab.throwaway.certificate, transport=transport)
    file = tmp_path / "logons.pcap"
    with wire.capture(file, lab.live.port):
        runs = [
            clients.mit_kinit(realm, "alice@LAB.TEST", identity=lab.alice_leaf),
            clients.heimdal_kinit(realm, "alice@LAB.TEST", identity=lab.alice),
            clients.mit_kinit(realm, "pat@LAB.TEST", password=lab.password),
            clients.heimdal_kinit(realm, "pat@LAB.TEST", password=lab.password),
            clients.mit_kinit(realm, "alice@LAB.TEST", identity=stranger),
            clients.mit_kinit(realm, "alice@LAB.TEST", identity=lab.bob_leaf),
            clients.mit_kinit(realm, "nobody@LAB.TEST", password="x"),  # noqa: S106
        ]
    assert [run.status == 0 for run in runs] == [True] * 4 + [False] * 3
    frames = wire.dissect(file, lab.live.port)
    assert {frame.transport for frame in frames} == {transport}
    replies = [f for f in frames if f.message_types[:1] != (AS_REQ,)]
    assert len([f for f in replies if f.message_types[:1] == (AS_REP,)]) == 4
    assert {f.error_code for f in replies if f.message_types[:1] == (KRB_ERROR,)} >= {6, 25, 70, 75}
    assert not [frame for frame in frames if frame.malformed]
    assert not [(frame.number, _ours(frame)) for frame in replies if _ours(frame)]
