"""Advice for refusals of the RSA form of the PKINIT reply."""

from collections.abc import Mapping

from kdc.explain.advice_text import Advice
from kdc.explain.steps import Step

_SOURCE = "RFC 4556 3.2.3.2"
_USE_DH = "let the client use Diffie-Hellman, its default (Heimdal: without --pk-use-enckey)"

RSA_ADVICE: Mapping[str, Advice] = {
    "an RSA-encrypted reply needs an RSA key, and the client's is none": Advice(
        step=Step.GROUP,
        rule="Without clientPublicValue the reply key is encrypted to the client's RSA key.",
        source=_SOURCE,
        causes=("a certificate with an EC key, and a client told to avoid Diffie-Hellman",),
        fixes=(_USE_DH,),
    ),
    "keyUsage without keyEncipherment allows no RSA-encrypted reply": Advice(
        step=Step.GROUP,
        rule="A key that keyUsage keeps from keyEncipherment gets nothing encrypted to it.",
        source=f"{_SOURCE}; RFC 5280 4.2.1.3",
        causes=("a certificate for signatures alone",),
        fixes=(_USE_DH, "or issue one that has keyEncipherment: kdc cert issue"),
    ),
    "the client reads no AES in an RSA-encrypted reply": Advice(
        step=Step.GROUP,
        rule="The content is encrypted with AES in CBC mode; DES and RC2 do not exist here.",
        source=f"{_SOURCE}; RFC 3565",
        causes=("an old client whose supportedCMSTypes has DES-EDE3 or RC2 alone",),
        fixes=(_USE_DH,),
    ),
}
