"""For each reason of a refusal: the rule with its source, likely causes, and what mends it.

A reason is the `why` of the audit record: a fixed phrase, or a place and a fault (`SignedData:
signature does not verify`). A test collects every phrase that the code can raise and compares: none
is without advice, no advice is without its phrase.
"""

from collections.abc import Mapping
from dataclasses import replace

from directory.backend import DirectoryFault
from kdc.explain.advice_chain import CHAIN_ADVICE
from kdc.explain.advice_cloud import CLOUD_ADVICE
from kdc.explain.advice_device import DEVICE_ADVICE
from kdc.explain.advice_directory import DIRECTORY_ADVICE
from kdc.explain.advice_fast import FAST_ADVICE
from kdc.explain.advice_kpasswd import KPASSWD_ADVICE
from kdc.explain.advice_proof import PROOF_ADVICE
from kdc.explain.advice_request import REQUEST_ADVICE
from kdc.explain.advice_rsa import RSA_ADVICE
from kdc.explain.advice_s4u import S4U_ADVICE
from kdc.explain.advice_text import MALFORMED_CAUSES, MALFORMED_FIXES, Advice
from kdc.explain.advice_tgs import PAC_ADVICE, TGS_ADVICE
from kdc.explain.steps import Step
from pki.errors import CmsFault, DerFault, KeyFault

_DER_RULES: Mapping[DerFault, str] = {
    DerFault.TRUNCATED: "An element ends where its length says.",
    DerFault.TRAILING_DATA: "Nothing follows the last field of a type.",
    DerFault.BAD_LENGTH: "Lengths are definite and as short as they can be (DER, not BER).",
    DerFault.BAD_TAG: "Each field has the tag that its type says.",
    DerFault.BAD_VALUE: "Values are in the one form that DER allows, and within their range.",
    DerFault.MISSING_FIELD: "Fields that are not OPTIONAL are there.",
    DerFault.OVER_LIMIT: "Numbers of elements, depth and sizes have limits.",
}
_DER_PLACES: Mapping[str, tuple[Step, str]] = {
    "the message is not valid DER": (Step.READ, "RFC 4120 5.1; X.690 8, 10"),
    "PA-PK-AS-REQ": (Step.PA_PK_AS_REQ, "RFC 4556 3.2.1; X.690 8, 10"),
    "SignedData": (Step.SIGNED_DATA, "RFC 5652 5.1; X.690 8, 10"),
    "AuthPack": (Step.AUTH_PACK, "RFC 4556 3.2.1; X.690 8, 10"),
    "PA-ENC-TIMESTAMP": (Step.SEALED, "RFC 4120 5.2.7.2; X.690 8, 10"),
    "PA-ENC-TS-ENC": (Step.OPENS, "RFC 4120 5.2.7.2; X.690 8, 10"),
    "PA-ENCRYPTED-CHALLENGE": (Step.SEALED, "RFC 6113 5.4.6; X.690 8, 10"),
    "PA-FX-FAST": (Step.FAST_REQUEST, "RFC 6113 5.4.2; X.690 8, 10"),
    "the FAST armor": (Step.AP_REQ, "RFC 6113 5.4.1.1; X.690 8, 10"),
    "KrbFastReq": (Step.FAST_OPENS, "RFC 6113 5.4.2; X.690 8, 10"),
}

_SIGNING = "let the client's PKINIT sign with one RSA or EC key, SHA-256, and signed attributes"
_NEW_KEY = "kdc key enroll {client} --out {client}.pem     (a new key)"

_CMS: Mapping[CmsFault, Advice] = {
    CmsFault.MALFORMED: Advice(
        step=Step.SIGNED_DATA,
        rule="A SignedData in a ContentInfo, version 1 or 3, with its content and certificates.",
        source="RFC 5652 3, 5.1",
        causes=("a client that writes CMS its own way", "algorithm parameters that do not belong"),
        fixes=("look at the SignedData in the tree", _SIGNING),
    ),
    CmsFault.NOT_SIGNED_DATA: Advice(
        step=Step.SIGNED_DATA,
        rule="signedAuthPack holds a ContentInfo of type id-signedData.",
        source="RFC 4556 3.2.1",
        causes=("MIT before 1.10, which sent the AuthPack in another frame", "a test"),
        fixes=("update the client",),
    ),
    CmsFault.WRONG_CONTENT_TYPE: Advice(
        step=Step.SIGNED_DATA,
        rule="eContentType is id-pkinit-authData.",
        source="RFC 4556 3.2.1",
        causes=("the drafts' form (id-data) under the RFC's padata type", "a test"),
        fixes=("update the client",),
    ),
    CmsFault.NO_SIGNER: Advice(
        step=Step.ALGORITHMS,
        rule="The AuthPack is signed. Without a signer it is anonymous PKINIT, which is off.",
        source="RFC 4556 3.2.1; RFC 8062",
        causes=("kinit -n", "a client that did not find its certificate"),
        fixes=("give the client its identity",),
    ),
    CmsFault.SEVERAL_SIGNERS: Advice(
        step=Step.SIGNED_DATA,
        rule="There is one SignerInfo: with two, who is it that logs on?",
        source="RFC 4556 3.2.1",
        causes=("a test, or an attempt to confuse the KDC",),
        fixes=("sign once",),
    ),
    CmsFault.NO_SIGNER_CERTIFICATE: Advice(
        step=Step.CERTIFICATE,
        rule="The certificate that the signer identifier names is among those of the message.",
        source="RFC 4556 3.2.1, 3.2.2 (code 70)",
        causes=(
            "the client sent no certificate, or another than it signed with",
            "its certificate was replaced and the key was not, or the other way round",
        ),
        fixes=("compare sid of the SignerInfo with the certificates in the tree",),
    ),
    CmsFault.BAD_SIGNED_ATTRIBUTES: Advice(
        step=Step.ATTRIBUTES,
        rule="signedAttrs hold contentType and messageDigest once each, in DER order.",
        source="RFC 5652 5.3, 11.1, 11.2",
        causes=(
            "Samba's own client leaves contentType out",
            "a client that signs the content directly, or does not sort the attributes",
        ),
        fixes=("for Samba's client, in kdc.toml: cms_require_content_type = false", _SIGNING),
    ),
    CmsFault.DIGEST_MISMATCH: Advice(
        step=Step.SIGNATURE,
        rule="messageDigest is the digest of the AuthPack as it was sent.",
        source="RFC 5652 5.4, 11.2",
        causes=("the AuthPack was changed after it was signed", "a faulty client"),
        fixes=("log on again; if it stays, update the client",),
    ),
    CmsFault.ALGORITHM_MISMATCH: Advice(
        step=Step.ALGORITHMS,
        rule="signatureAlgorithm and digestAlgorithm name the same digest.",
        source="RFC 5652 5.4; RFC 5754 3",
        causes=("a faulty client", "a test"),
        fixes=("compare both in the SignerInfo of the tree", _SIGNING),
    ),
    CmsFault.SIGNATURE_ALGORITHM_NOT_ACCEPTED: Advice(
        step=Step.ALGORITHMS,
        rule="Signatures are RSA (PKCS #1 v1.5 or PSS) or ECDSA, of the kind of the key.",
        source="RFC 4556 3.2.2; RFC 5754 3",
        causes=("DSA or Ed25519", "an RSA signature named for an EC key, or the reverse"),
        fixes=(_SIGNING,),
    ),
    CmsFault.BAD_SIGNATURE: Advice(
        step=Step.SIGNATURE,
        rule="The signature verifies with the key in the signer's certificate.",
        source="RFC 5652 5.6; RFC 4556 3.2.2 (KDC_ERR_INVALID_SIG)",
        causes=(
            "certificate and private key do not belong together",
            "the signed attributes were changed after signing",
            "an attempt with somebody else's certificate, without its key",
        ),
        fixes=(
            "compare the two, as with: $ openssl pkey -in key.pem -pubout",
            "and: $ openssl x509 -in cert.pem -noout -pubkey",
            _NEW_KEY,
        ),
    ),
}

_KEYS: Mapping[KeyFault, tuple[str, tuple[str, ...]]] = {
    KeyFault.MALFORMED: (
        "The key is one: an RSA modulus without small factors, or a point on its curve.",
        ("a faulty or made-up certificate",),
    ),
    KeyFault.UNSUPPORTED: (
        "Keys are RSA, or EC on P-256, P-384 or P-521 by name.",
        ("a DSA or Ed25519 key, or another curve",),
    ),
    KeyFault.TOO_SMALL: (
        "RSA keys have 2048 to 4096 bits.",
        ("an old smart card or a test certificate of 1024 bits",),
    ),
    KeyFault.TOO_LARGE: (
        "RSA keys have 2048 to 4096 bits: larger ones cost the KDC too much.",
        ("a key of 8192 or 16384 bits",),
    ),
    KeyFault.BAD_EXPONENT: (
        "The RSA exponent is 65537, or odd and between that and 2^32.",
        ("exponent 3 or 17: old software",),
    ),
    KeyFault.ROCA: (
        "Keys of the faulty TPM and smart-card generator of 2017 can be factored: refused.",
        ("an Infineon TPM or card whose firmware was not updated before the key was made",),
    ),
}
_ROCA_FIXES = (
    "update the TPM's or card's firmware first, then:",
    _NEW_KEY,
    'roca_policy = "audit" in kdc.toml lets such keys in meanwhile, and says so in the audit log',
)

_STORE: Mapping[DirectoryFault, str] = {
    DirectoryFault.UNAVAILABLE: "the store file cannot be read now: disk, lock, or mode",
    DirectoryFault.CORRUPT: "the store's content is damaged, or sealed with another master key",
}


def _families() -> dict[str, Advice]:
    out: dict[str, Advice] = {}
    for place, (step, source) in _DER_PLACES.items():
        for fault, rule in _DER_RULES.items():
            out[f"{place}: {fault.value}"] = Advice(
                step=step,
                rule=rule,
                source=source,
                causes=MALFORMED_CAUSES,
                fixes=MALFORMED_FIXES,
            )
    for cms_fault, advice in _CMS.items():
        out[f"SignedData: {cms_fault.value}"] = advice
    for key_fault, (rule, causes) in _KEYS.items():
        out[f"SignedData: {key_fault.value}"] = Advice(
            step=Step.KEY,
            rule=rule,
            source="RFC 4556 3.2.2 (KDC_ERR_CLIENT_NOT_TRUSTED); own key policy",
            causes=causes,
            fixes=_ROCA_FIXES if key_fault is KeyFault.ROCA else (_NEW_KEY,),
        )
    for kind in DirectoryFault:
        cause = _STORE.get(kind, "the account store answered what a lookup never should")
        out[f"the account store cannot be read ({kind.value})"] = Advice(
            step=None,
            rule="Trouble with the store is never an unknown name: the client is told to try "
            "another KDC.",
            source="RFC 4120 7.5.9 (KDC_ERR_SVC_UNAVAILABLE); own rule",
            causes=(cause,),
            fixes=(
                "the server's log says which file and why",
                "$ df and $ ls -l of the state folder",
                "kdc user list                      (does it open from here?)",
            ),
        )
    return out


ADVICE: Mapping[str, Advice] = {
    **_families(),
    **REQUEST_ADVICE,
    **PROOF_ADVICE,
    **TGS_ADVICE,
    **RSA_ADVICE,
    **S4U_ADVICE,
    **CLOUD_ADVICE,
    **FAST_ADVICE,
    **PAC_ADVICE,
    **KPASSWD_ADVICE,
    **CHAIN_ADVICE,
    **DEVICE_ADVICE,
    **DIRECTORY_ADVICE,
}
"""Everything we can say, by the reason."""

_NOTHING_KNOWN = Advice(
    step=None,
    rule="No rule is on record for this reason.",
    source="",
    causes=("a record of another release of this software",),
    fixes=("look the code up in the table of codes: RFC 4120 7.5.9, RFC 4556 3.1.3",),
)


def advise(why: str, detail: str = "") -> Advice:
    """Return what is known about a reason.

    detail: the fact of that name, which tells places apart that share one reason.
    """
    advice = ADVICE.get(why, _NOTHING_KNOWN)
    if why == f"AuthPack: {DerFault.OVER_LIMIT.value}" and detail == "clientDHNonce":
        return replace(
            advice,
            step=Step.DH_NONCE,
            rule="clientDHNonce has 16 to 512 octets.",
            source="RFC 4556 3.1.2, 3.2.3.1",
            causes=("a faulty client", "a test"),
        )
    if detail == "no signedAttrs":  # seen when the message is read, long before the others
        return replace(advice, step=Step.SIGNED_DATA)
    return advice
