"""Advice on certificate trust: the chain of a logon certificate, and the account it stands for."""

from collections.abc import Mapping

from kdc.explain.advice_text import SHOW_ACCOUNT, Advice
from kdc.explain.steps import Step
from pki.errors import ChainFault

_SHOW = "kdc cert show FILE                 (what the KDC makes of the certificate)"
_NEW = "issue a new certificate"
_LOGON_CAS = "put the issuer's certificate into pki/logon-cas/ of the state folder"
_CRLS = "put a current CRL of the issuer into pki/crls/ of the state folder"
_TEST = "a test"


def _chain(rule: str, source: str, causes: tuple[str, ...], fixes: tuple[str, ...]) -> Advice:
    return Advice(step=Step.CHAIN, rule=rule, source=source, causes=causes, fixes=fixes)


_FAULTS: Mapping[ChainFault, Advice] = {
    ChainFault.MALFORMED: _chain(
        "Certificates are DER, and their extensions and names are what X.509 says.",
        "RFC 5280 4.1, 4.2",
        ("a CA that writes certificates its own way", _TEST),
        (_SHOW, _NEW),
    ),
    ChainFault.UNKNOWN_ISSUER: _chain(
        "A chain leads from the certificate to a CA that this KDC knows.",
        "RFC 4556 3.2.2 (KDC_ERR_CANT_VERIFY_CERTIFICATE); row C01",
        (
            "the issuer is no logon CA of this realm",
            "an intermediate CA is missing: the client did not send it",
            "the client chose another certificate than it should",
            "a key for key trust that is registered on no account",
        ),
        (
            _LOGON_CAS,
            "its root, when it is not self-signed: pki/trusted-roots/",
            "kdc key list {client}               (is it key trust that was meant?)",
        ),
    ),
    ChainFault.OVER_BUDGET: _chain(
        "A chain is found with at most 10 certificates sent, 8 in a path and 24 signatures.",
        "own rule (row C10)",
        ("certificates made to keep a KDC busy", "a client that sends all the CAs it knows"),
        ("let the client send its certificate and the intermediate CAs only",),
    ),
    ChainFault.BAD_SIGNATURE: _chain(
        "Each certificate of the chain is signed by its issuer's key.",
        "RFC 5280 6.1.3 (a)(1); RFC 4556 3.2.2 (KDC_ERR_INVALID_CERTIFICATE)",
        ("a CA was made anew under its old name, with a new key", "a changed certificate"),
        (_LOGON_CAS, _NEW),
    ),
    ChainFault.DIGEST_NOT_ACCEPTED: _chain(
        "Certificates are signed with SHA-256, SHA-384 or SHA-512.",
        "RFC 4556 3.2.2 (KDC_ERR_DIGEST_IN_CERT_NOT_ACCEPTED); RFC 8636 5; row P12",
        ("an old CA that still signs with SHA-1 or MD5",),
        ("let the CA sign with SHA-256, then " + _NEW, "legacy_sha1_cert accepts SHA-1, not MD5"),
    ),
    ChainFault.ALGORITHM_NOT_ACCEPTED: _chain(
        "Certificates are signed with RSA (PKCS #1 or PSS) or ECDSA.",
        "RFC 5280 4.1.1.2; own rule",
        ("a CA with DSA, Ed25519 or a national algorithm",),
        ("issue from a CA with an RSA or EC key",),
    ),
    ChainFault.KEY_NOT_ACCEPTED: _chain(
        "Keys of the chain are RSA of 2048 to 4096 bits, or on P-256, P-384 or P-521.",
        "own key policy (row P13)",
        ("an old CA with a key of 1024 bits",),
        ("renew the CA with a larger key, then " + _NEW,),
    ),
    ChainFault.NOT_YET_VALID: _chain(
        "Every certificate of the chain is valid now.",
        "RFC 5280 6.1.3 (a)(2); row C02",
        ("the KDC's clock is behind the CA's", "a certificate that was issued for later"),
        ("$ timedatectl timesync-status      (on the KDC and on the CA)", _SHOW),
    ),
    ChainFault.EXPIRED: _chain(
        "Every certificate of the chain is valid now.",
        "RFC 5280 6.1.3 (a)(2); row C02",
        ("it was not renewed in time", "a CA's own certificate has ended"),
        (_SHOW, _NEW),
    ),
    ChainFault.NOT_A_CA: _chain(
        "Every issuer is a CA: basicConstraints CA:TRUE, and keyCertSign if it has a keyUsage.",
        "RFC 5280 6.1.4 (k), (n); row C05",
        ("a certificate that somebody issued with an ordinary one", "a version 1 root"),
        ("issue from a CA", "$ openssl x509 -in FILE -noout -text"),
    ),
    ChainFault.PATH_TOO_LONG: _chain(
        "There are no more CAs below a CA than its pathLenConstraint says.",
        "RFC 5280 6.1.4 (m); row C05",
        ("a CA below one that may have none",),
        ("issue from the CA above, or renew that one with a longer pathLenConstraint",),
    ),
    ChainFault.NAME_CONSTRAINT: _chain(
        "Names in a certificate are within the name constraints of every CA above it.",
        "RFC 5280 4.2.1.10, 6.1.3 (b), (c); row C06",
        ("a CA for one domain issued for another", "a constraint of a form that is not known"),
        ("issue from a CA that may use these names", "$ openssl x509 -in CA -noout -text"),
    ),
    ChainFault.UNKNOWN_CRITICAL_EXTENSION: _chain(
        "An extension that is marked critical is one that this KDC judges.",
        "RFC 5280 4.2; row C07",
        ("a private extension marked critical",),
        ("issue without marking it critical",),
    ),
    ChainFault.POLICY_CONSTRAINT: _chain(
        "Where a CA demands a certificate policy, every certificate below it has one that fits.",
        "RFC 5280 6.1.3 (f), 6.1.5 (g)",
        ("a certificate without certificatePolicies below a CA with requireExplicitPolicy",),
        ("issue with the policy that the CA demands",),
    ),
    ChainFault.WRONG_KEY_USAGE: _chain(
        "A logon certificate's keyUsage, if it has one, includes digitalSignature.",
        "RFC 4556 3.2.2 (KDC_ERR_INCONSISTENT_KEY_PURPOSE); row C09",
        ("an encryption certificate, chosen by mistake",),
        ("choose or issue a certificate for signing",),
    ),
    ChainFault.WRONG_EKU: _chain(
        "extKeyUsage allows a logon, in the certificate and in every CA that limits it.",
        "RFC 4556 3.2.2; MS-PKCA 3.1.5.2.1; row C08",
        (
            "a certificate for another purpose: e-mail, a web server",
            "pkinit_eku_checking = kpClientAuth, and a certificate for client authentication only",
        ),
        (
            "issue with smart card logon (1.3.6.1.4.1.311.20.2.2)",
            "kdc config show --origin            (pkinit_eku_checking)",
        ),
    ),
    ChainFault.NOT_A_LOGON_CA: _chain(
        "The certificate's issuer is itself a logon CA; a CA trusted for other things is not.",
        "KB5057784 (CVE-2025-26647); row C11",
        (
            "the issuing CA was never put among the logon CAs",
            "somebody with another CA of the organisation tried to log on as this user",
        ),
        ("find out who issued it first", "if it may issue logons: " + _LOGON_CAS),
    ),
    ChainFault.REVOKED: _chain(
        "No certificate of the chain is revoked.",
        "RFC 4556 3.2.2 (KDC_ERR_REVOKED_CERTIFICATE); RFC 5280 6.3; row C03",
        ("it was revoked: a lost card, a user who left",),
        (_NEW, "a certificate on hold is released by a newer CRL without it"),
    ),
    ChainFault.STATUS_UNKNOWN: _chain(
        "A current CRL or OCSP response of the issuer says that the certificate is not revoked.",
        "RFC 4556 3.2.2 (KDC_ERR_REVOCATION_STATUS_UNKNOWN); RFC 5280 6.3; rows C04, S04",
        (
            "the issuer's CRL has ended and was not renewed",
            "the issuer's CRL is not in the state folder",
            "the first certificate that says where the CRL is: it is fetched now, try once more",
            "the CRL is signed by another key, or by one that may not sign CRLs",
        ),
        (
            "kdc cert fetched                   (what is fetched of CRLs, and what is in the way)",
            _CRLS + ", or name its address in crl_urls",
            "$ openssl crl -in FILE -noout -issuer -nextupdate",
            "revocation = soft in kdc.toml lets such logons pass, with a warning",
        ),
    ),
}

_MAPPING_SOURCE = "MS-PKCA 3.1.5.2.1; KB5014754"


def _mapping(rule: str, source: str, causes: tuple[str, ...], fixes: tuple[str, ...]) -> Advice:
    return Advice(step=Step.MAPPING, rule=rule, source=source, causes=causes, fixes=fixes)


_STRONG = (
    "issue a certificate with the account's SID (extension 1.3.6.1.4.1.311.25.2)",
    "or map this one by a strong value of altSecurityIdentities: X509:<SKI> and the key identifier",
)

CHAIN_ADVICE: Mapping[str, Advice] = {
    **{f"certificate chain: {fault.value}": advice for fault, advice in _FAULTS.items()},
    "accounts of this kind do not log on with certificates": _mapping(
        "Users and computers log on with certificates; services have keytabs.",
        "MS-PKCA 3.1.5.2.1",
        ("a name that is a service's",),
        (SHOW_ACCOUNT,),
    ),
    "the certificate's names are not ones a logon certificate may have": _mapping(
        "At most one UPN, and no name with a NUL, a control character or a trailing dot.",
        "own rule (row C21)",
        ("a certificate made to be read differently by two programs", "two accounts in one"),
        (_SHOW, _NEW),
    ),
    "the certificate's SID is malformed or there are two": _mapping(
        "SID extension and SID URI, where both are there, say the same SID.",
        "MS-PKCA 3.1.5.2.1.6; MS-WCCE 2.2.2.7.7.4",
        ("a faulty template", _TEST),
        (_SHOW, _NEW),
    ),
    "the certificate's SID is another account's": _mapping(
        "The SID in the certificate is the SID of the account that the request names.",
        f"{_MAPPING_SOURCE}; rows C13, C15, C19",
        (
            "the client asked for another name than the certificate is for",
            "the account was deleted and made anew: its SID is new",
            "somebody asked a CA for a certificate with another's UPN (CVE-2022-26923)",
        ),
        (SHOW_ACCOUNT, _SHOW, _NEW),
    ),
    "the certificate's UPN names two accounts": _mapping(
        "A UPN that is one account's userPrincipalName is not another account's name.",
        f"{_MAPPING_SOURCE}; row C16 (CVE-2022-26931)",
        ("an account was given a userPrincipalName that looks like another's name",),
        ("find both accounts: kdc user list", "change one of the two names"),
    ),
    "the certificate is mapped to several accounts": _mapping(
        "A strong altSecurityIdentities points at one certificate, and stands on one account.",
        "own rule, as for keys; row C23 (KDC_ERR_CLIENT_NOT_TRUSTED)",
        ("a value was put on a second account by mistake, or by an attacker",),
        ("the server's log names the accounts (alarm)", "take the value off one: " + SHOW_ACCOUNT),
    ),
    "the certificate does not name the account": _mapping(
        "UPN, dNSName, id-pkinit-san or altSecurityIdentities lead to the account asked for.",
        "MS-PKCA 3.1.5.2.1.1 to .5; rows C16, C18",
        (
            "the client asked for another name than the certificate is for",
            "a value of altSecurityIdentities with the serial number in the wrong order",
            'a computer\'s certificate without the dNSName of its account ("pc1$": pc1.DOMAIN)',
        ),
        (_SHOW, SHOW_ACCOUNT),
    ),
    "the certificate maps to the account only weakly and is older than it": _mapping(
        "A weak mapping counts only for certificates that are not older than the account.",
        f"{_MAPPING_SOURCE}; row C20",
        ("a certificate of an earlier account of the same name",),
        _STRONG,
    ),
    "the certificate maps to the account only weakly": _mapping(
        "The mapping is a strong one: names alone prove nothing, others can have them written.",
        f"{_MAPPING_SOURCE}; rows C14, C17, C22",
        (
            "the CA writes no SID into its certificates",
            "altSecurityIdentities of a weak form: <I><S>, <S> or <RFC822>",
        ),
        (*_STRONG, "strong_mapping = compatibility in kdc.toml, for as long as it takes"),
    ),
}
"""By the reason."""
