"""A refused message is explained in printable lines, and what is kept of it holds no cipher.

The ciphers are those of a password's timestamp and of a TGS-REQ's ticket and authenticator, in any
message that can be decoded. A capture is read or refused with its own error.
"""

import json
from functools import cache

from kdc.config import KdcConfig
from kdc.explain.capture import CaptureError, looks_like_capture, read_capture
from kdc.explain.explanation import WIDTH, Subject, Verdict, as_json, as_text, explain
from kdc.explain.findings import Known
from kdc.explain.redact import redact
from kdc.wire.constants import PaType
from kdc.wire.rfc4120 import ApReq, AsReq, EncryptedData, TgsReq
from pki import asn1
from pki.errors import PkiError
from tests.fuzz.realm import answer
from tests.kdc import builders
from tests.kdc.builders import NOW

_SEALED = (int(PaType.ENC_TIMESTAMP), 138)
MIN_CIPHER_BYTES = 24


@cache
def _config() -> KdcConfig:
    return builders.config()


def _secrets(message: bytes) -> list[bytes]:
    """List the ciphers of a message, as far as it can be decoded."""
    out = []
    try:
        tgs = message[:1] == b"\x6c"
        for padata in asn1.decode(TgsReq if tgs else AsReq, message).padata or ():
            if tgs and padata.padata_type == PaType.TGS_REQ:
                ap_req = asn1.decode(ApReq, padata.padata_value)
                out += [ap_req.ticket.enc_part.cipher, ap_req.authenticator.cipher]
            elif not tgs and padata.padata_type in _SEALED:
                out.append(asn1.decode(EncryptedData, padata.padata_value).cipher)
    except PkiError:
        pass
    return [cipher for cipher in out if len(cipher) >= MIN_CIPHER_BYTES and any(cipher)]


def _explained(message: bytes) -> None:
    outcome = answer(message)
    kept = redact(message)
    assert len(kept) == len(message)
    assert not any(cipher in kept for cipher in _secrets(message))
    verdict = Verdict(code=outcome.code, why=outcome.why, facts=outcome.facts)
    for shown in (message, kept):
        subject = Subject(message=shown, time=NOW, origin="--hex", redacted=shown is kept)
        explanation = explain(subject, verdict, _config(), Known())
        for line in as_text(explanation):
            assert line.isprintable(), line
            assert len(line) <= WIDTH, line
        assert json.dumps(as_json(explanation))


def _captured(data: bytes) -> None:
    try:
        capture = read_capture(data)
    except CaptureError as error:
        assert str(error).isprintable()
        return
    for captured in capture.messages:
        redact(captured.message)


def one(data: bytes) -> None:
    """Explain one message, or read one capture."""
    if looks_like_capture(data):
        _captured(data)
    else:
        _explained(data)
