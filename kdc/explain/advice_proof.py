"""Advice on the proofs: PKINIT, trust, the password's timestamp, and what fails after them."""

from collections.abc import Mapping

from kdc.explain.advice_text import (
    NO_PASSWORD_KEY_CAUSES,
    NO_PASSWORD_KEY_FIXES,
    SET_CLOCKS,
    WRONG_PASSWORD_CAUSES,
    WRONG_PASSWORD_FIXES,
    Advice,
)
from kdc.explain.steps import Step

_WRONG_GROUP_SOURCE = "RFC 4556 3.2.2, 3.2.3; RFC 5349; e-data lists the groups we accept"
_MEMORY_CAUSES = (
    "replay.map is new (first start, or it was removed) and the client's clock is behind",
    "a flood has filled the memory",
)
_COMPAT_TOOLS = (
    "kdc config show --origin           (compat, legacy_*)",
    "for a lab with such tools, in kdc.toml: {switch}; or compat = {profile}",
    "then make the server read it: $ kill -HUP its pid",
)


def _compat(switch: str, profile: str) -> tuple[str, ...]:
    return tuple(
        line.replace("{switch}", f"{switch} = true").replace("{profile}", f'"{profile}"')
        for line in _COMPAT_TOOLS
    )


PROOF_ADVICE: Mapping[str, Advice] = {
    # -- PKINIT: the AuthPack ----------------------------------------------------------------
    "this KDC has no certificate": Advice(
        step=Step.KDC_CERTIFICATE,
        rule="Without a certificate of its own the KDC cannot sign a PKINIT reply.",
        source="RFC 4556 3.2.3; RFC 4120 (KDC_ERR_PADATA_TYPE_NOSUPP)",
        causes=(
            "pki/kdc.pem or pki/kdc.key is missing from the state folder",
            "the server was not told to read a new one",
        ),
        fixes=("kdc cert issue-kdc", "then make the server read it: $ kill -HUP its pid"),
    ),
    "the AuthPack's time is outside the clock skew": Advice(
        step=Step.PK_CLOCK,
        rule="ctime of the AuthPack and the KDC's clock differ by no more than clockskew.",
        source="RFC 4556 3.2.3",
        causes=(
            "the client's clock is wrong; a virtual machine that slept is the usual one",
            "the KDC's clock is wrong: then every client is refused",
            "an old request, sent again",
        ),
        fixes=SET_CLOCKS,
    ),
    "the AuthPack has no paChecksum": Advice(
        step=Step.CHECKSUM,
        rule="paChecksum, the SHA-1 of the request's body, must be there: without it a signature "
        "could be moved to another request.",
        source="RFC 4556 3.2.3 (KDC_ERR_PA_CHECKSUM_MUST_BE_INCLUDED)",
        causes=("a tool that leaves it out", "a client that sends paChecksum2 alone"),
        fixes=("update the tool: there is no switch for this",),
    ),
    "paChecksum is not the checksum of the request's body": Advice(
        step=Step.CHECKSUM,
        rule="paChecksum is the SHA-1 of the KDC-REQ-BODY, byte for byte as it was sent.",
        source="RFC 4556 3.2.1, 3.2.3",
        causes=(
            "something between client and KDC changed the request",
            "the client encodes the body twice, not the same way each time",
            "the client computes another digest than SHA-1 there",
        ),
        fixes=("compare req-body in the tree with what the client was asked for",),
    ),
    "paChecksum2 has an unknown algorithm": Advice(
        step=Step.CHECKSUM,
        rule="paChecksum2, when it is sent, is made with SHA-1, SHA-256, SHA-384 or SHA-512.",
        source="MS-PKCA 2.2.3",
        causes=("a faulty client",),
        fixes=("update the client",),
    ),
    "paChecksum2 is not the checksum of the request's body": Advice(
        step=Step.CHECKSUM,
        rule="paChecksum2, when it is sent, is the digest of the KDC-REQ-BODY as it was sent.",
        source="MS-PKCA 2.2.3",
        causes=(
            "something between client and KDC changed the request",
            "a client that fills it in before it changes the body once more",
        ),
        fixes=("compare req-body in the tree with what the client was asked for",),
    ),
    "the AuthPack is older than the replay memory": Advice(
        step=Step.MEMORY,
        rule="A request from before the start of the replay memory cannot be told from a replay.",
        source="RFC 4556 3.2.3; own rule for a new or full memory",
        causes=_MEMORY_CAUSES,
        fixes=("log on again: after clockskew this passes by itself", *SET_CLOCKS[:1]),
    ),
    "the freshness token is not one of ours": Advice(
        step=Step.FRESHNESS,
        rule="A freshness token comes back unchanged: its seal proves that it is ours.",
        source="RFC 8070 2",
        causes=("a token of another KDC or realm", "a token changed on its way"),
        fixes=("log on again: the client then gets a new token",),
    ),
    "the freshness token is sealed with an unknown key": Advice(
        step=Step.FRESHNESS,
        rule="A freshness token is sealed with a krbtgt key that this realm still has.",
        source="RFC 8070 2",
        causes=(
            "a token of another realm, or of a read-only KDC",
            "a token from before the krbtgt keys were changed",
        ),
        fixes=("log on again: the client then gets a new token",),
    ),
    "the freshness token has expired": Advice(
        step=Step.FRESHNESS,
        rule="A freshness token is good for clockskew after it was made.",
        source="RFC 8070 2 (KDC_ERR_PREAUTH_EXPIRED)",
        causes=(
            "minutes passed between the two halves of the logon: a PIN prompt left open",
            "a signature made earlier, kept for later: what freshness is there to stop",
        ),
        fixes=("log on again",),
    ),
    "a freshness token is required (pkinit_require_freshness)": Advice(
        step=Step.FRESHNESS,
        rule="With pkinit_require_freshness the client proves that it has the key now, not that "
        "it had it once.",
        source="RFC 8070 2; kdc.toml",
        causes=(
            "a client that knows no freshness tokens: MIT before 1.17, Heimdal, most tools",
            "a client that signs before it asks",
        ),
        fixes=(
            "use a client that does (MIT 1.17, Windows 10), or let the others in, in kdc.toml:",
            "pkinit_require_freshness = false",
        ),
    ),
    "the client asks for an RSA-encrypted reply, which is off": Advice(
        step=Step.GROUP,
        rule="The reply key comes from Diffie-Hellman. Its RSA form has no forward secrecy.",
        source="RFC 4556 3.2.3.2; MIT removed it in 2023",
        causes=("a client told to: Heimdal's --pk-use-enckey, or Windows with a policy for it",),
        fixes=(
            "let the client use Diffie-Hellman (its default): group 14 or P-256 and up",
            "or allow it, in kdc.toml: legacy_rsa_reply = true",
        ),
    ),
    # -- PKINIT: the group -------------------------------------------------------------------
    "clientPublicValue is malformed": Advice(
        step=Step.GROUP,
        rule="clientPublicValue is a SubjectPublicKeyInfo whose key is made of whole octets.",
        source=_WRONG_GROUP_SOURCE,
        causes=("a faulty client", "a test"),
        fixes=("look at the fault below clientPublicValue in the tree",),
    ),
    "clientPublicValue has no parameters": Advice(
        step=Step.GROUP,
        rule="The parameters name the group: p and g, or a named curve.",
        source=_WRONG_GROUP_SOURCE,
        causes=("a faulty client", "a test"),
        fixes=("update the client",),
    ),
    "clientPublicValue has malformed parameters": Advice(
        step=Step.GROUP,
        rule="The parameters are p, g and q in DER, or the name of a curve; a curve described by "
        "its numbers is never accepted.",
        source=_WRONG_GROUP_SOURCE + "; CVE-2020-0601",
        causes=("a client that writes out the curve instead of naming it", "a test"),
        fixes=("let the client name the curve",),
    ),
    "clientPublicValue is of an unknown algorithm": Advice(
        step=Step.GROUP,
        rule="The key agreement is Diffie-Hellman (dhpublicnumber) or ECDH (id-ecPublicKey).",
        source=_WRONG_GROUP_SOURCE,
        causes=("X25519, or an RSA key where a Diffie-Hellman value belongs",),
        fixes=("let the client use group 14 or P-256",),
    ),
    "the Diffie-Hellman group is not a known one": Advice(
        step=Step.GROUP,
        rule="Groups are those of RFC 3526 and RFC 2409 by exact p and g: 14, 16, and 2 behind "
        "its switch. Any other could be made to be weak.",
        source=_WRONG_GROUP_SOURCE,
        causes=("a client with parameters of its own", "p is right and g or q is not"),
        fixes=("let the client use group 14 or P-256",),
    ),
    "the curve is not a known one": Advice(
        step=Step.GROUP,
        rule="Curves are P-256, P-384 and P-521.",
        source=_WRONG_GROUP_SOURCE,
        causes=("an older or another curve: P-192, secp256k1, brainpool",),
        fixes=("let the client use P-256",),
    ),
    "Diffie-Hellman group 2 is off (legacy_dh_group2)": Advice(
        step=Step.GROUP,
        rule="The 1024-bit group 2 can be broken by those who pay for it, once for everybody.",
        source="RFC 4556 3.2.3; Logjam, CVE-2015-4000; switch legacy_dh_group2",
        causes=(
            "a tool of the impacket family: PKINITtools, Certipy, minikerberos (fixed to group 2)",
            "Heimdal 7 with its default",
        ),
        fixes=(
            "Heimdal, in its krb5.conf: pkinit_dh_min_bits = 1536 makes it use group 14",
            *_compat("legacy_dh_group2", "tools"),
        ),
    ),
    "the Diffie-Hellman group is smaller than pkinit_dh_min_bits": Advice(
        step=Step.GROUP,
        rule="A finite-field group has at least pkinit_dh_min_bits bits. Curves are not concerned.",
        source="RFC 4556 3.2.3; kdc.toml",
        causes=("pkinit_dh_min_bits was raised and this client offers group 14 only",),
        fixes=(
            "kdc config show --origin           (pkinit_dh_min_bits)",
            "let the client use group 16 or P-256: kdc logon {client} --kex p256",
        ),
    ),
    "the Diffie-Hellman group is larger than pkinit_dh_max_bits": Advice(
        step=Step.GROUP,
        rule="A finite-field group has at most pkinit_dh_max_bits bits. Curves are not concerned.",
        source="RFC 4556 3.2.3; kdc.toml",
        causes=(
            "pkinit_dh_max_bits was lowered, since group 16 costs the KDC three times a logon, and"
            " this client offers group 16 only",
        ),
        fixes=(
            "kdc config show --origin           (pkinit_dh_max_bits)",
            "let the client use group 14 or P-256: kdc logon {client} --kex p256",
        ),
    ),
    "the client's public value is not in the group": Advice(
        step=Step.AGREEMENT,
        rule="1 < y < p-1, or a point on the curve in uncompressed form.",
        source="SP 800-56A 5.6.2.3; RFC 5349",
        causes=("a faulty client", "an attempt to make the KDC use a predictable secret"),
        fixes=("update the client; if it is a current one, look at where the request came from",),
    ),
    "no key derivation function of supportedKDFs is known": Advice(
        step=Step.KDF,
        rule="A client that lists supportedKDFs gets one of them, or none at all.",
        source="RFC 8636 4",
        causes=("a list that is empty or holds future functions only",),
        fixes=("let the client offer SHA-256, or leave the list out",),
    ),
    # -- CMS: what is not a fault of its own ---------------------------------------------------
    "SignedData: SHA-1 is off (legacy_sha1_cms)": Advice(
        step=Step.ALGORITHMS,
        rule="The AuthPack is signed with SHA-256, SHA-384 or SHA-512.",
        source="RFC 4556 3.2.2 (code 80); RFC 8636 4; switch legacy_sha1_cms",
        causes=(
            "Windows before 11 24H2: it signs its AuthPack with SHA-1",
            "a tool of the impacket family",
        ),
        fixes=_compat("legacy_sha1_cms", "windows"),
    ),
    "SignedData: digest algorithm not accepted": Advice(
        step=Step.ALGORITHMS,
        rule="The AuthPack is signed with SHA-256, SHA-384 or SHA-512.",
        source="RFC 4556 3.2.2 (code 80)",
        causes=("MD5, SHA-224 or SHA-3: see digestAlgorithm in the tree",),
        fixes=("let the client sign with SHA-256",),
    ),
    # -- trust -------------------------------------------------------------------------------
    "the signer's key is registered on no account": Advice(
        step=Step.TRUST,
        rule="The signer's key stands in msDS-KeyCredentialLink of the account, in a value that "
        "is usable. In this realm nothing else is trusted: no CA is asked.",
        source="MS-PKCA 3.1.5.2.1.4; row K01",
        causes=(
            "the key was never registered, or was removed; or it was renewed and the client still "
            "uses the old one",
            "the value is there but not usable (KeyID, KeyUsage, DN, size: see below)",
            "it is registered in another realm, or the client picked another certificate",
        ),
        fixes=(
            "kdc key list {client}",
            "kdc key add {client} CERTIFICATE.pem     (that of the client)",
            "kdc key enroll {client} --out {client}.pem     (a new key)",
        ),
    ),
    "the signer's key is registered on several accounts": Advice(
        step=Step.TRUST,
        rule="A key that is on two accounts proves neither: it is refused for both, and alarmed.",
        source="own rule (row K04); MS-PKCA 3.1.5.2.1.4",
        causes=(
            "the same certificate was registered for two users",
            "shadow credentials: somebody wrote their key to another's account",
        ),
        fixes=(
            "kdc key list                       (look for the same KeyID twice)",
            "kdc key remove USER KEYID          (on the account where it does not belong)",
        ),
    ),
    "the signer's key is registered on another account than the one named": Advice(
        step=Step.TRUST,
        rule="The account that the key is registered on is the one that the request names.",
        source="MS-PKCA 3.1.5.2.1.4 (KDC_ERR_CLIENT_NAME_MISMATCH)",
        causes=(
            "the right key with the wrong name: kinit alice with bob's identity",
            "an attempt to log on as somebody else",
        ),
        fixes=(
            "kdc key show KEYID                 (whose key it is)",
            "log on as the key's owner; or, if the key is meant for {client}:",
            "kdc key remove OWNER KEYID",
            "kdc key add {client} CERTIFICATE.pem",
        ),
    ),
    "the key index and the account's key credentials disagree": Advice(
        step=Step.TRUST,
        rule="The index of keys and the accounts say the same; if not, nobody gets a ticket by it.",
        source="own rule; this is a damaged store",
        causes=("the store was changed by something other than kdc, or its disk is failing",),
        fixes=(
            "kdc key list {client}",
            "kdc key remove {client} --all, then register the keys again",
            "restore the state folder from a backup if more accounts are concerned",
        ),
    ),
    "the AuthPack was used before": Advice(
        step=Step.PK_REPLAY,
        rule="An AuthPack is good once. The identical packet within a minute is a retransmission "
        "and gets its answer again.",
        source="RFC 4556 3.2.3; RFC 4120 3.1.2",
        causes=(
            "a client that keeps its signature and puts it into a new packet",
            "a request that somebody recorded and sent again",
        ),
        fixes=(
            "log on again: a client signs anew each time",
            "if it happens again, look at the address it came from",
        ),
    ),
    # -- passwords ---------------------------------------------------------------------------
    "the account must log on with a key, no password": Advice(
        step=Step.PASSWORD_ALLOWED,
        rule="An account marked smart-card-required never logs on with a password.",
        source="MS-KILE 3.3.5.7.1 (SMARTCARD_REQUIRED)",
        causes=("the client was given no identity, or did not find it, and asked for a password",),
        fixes=(
            "kdc key list {client}",
            "MIT: kinit -X X509_user_identity=FILE:cert.pem,key.pem {client}",
            "or allow the password: kdc user set {client} --no-smartcard-required",
        ),
    ),
    "the timestamp's encryption type is not accepted": Advice(
        step=Step.TS_ETYPE,
        rule="The timestamp is sealed with a type that is in the request's list and in "
        "supported_enctypes.",
        source="RFC 4120 5.2.7.2",
        causes=("RC4 (23): an old client, or one that was given an NT hash instead of a password",),
        fixes=("use AES: 18, 17, 20 or 19", "kdc config show --origin    (supported_enctypes)"),
    ),
    "the account has no password key of this type": Advice(
        step=Step.TS_ETYPE,
        rule="The account has a long-term key of the timestamp's type.",
        source="RFC 4120 5.2.7.2",
        causes=NO_PASSWORD_KEY_CAUSES,
        fixes=NO_PASSWORD_KEY_FIXES,
    ),
    "the encrypted timestamp does not open: wrong password": Advice(
        step=Step.OPENS,
        rule="The timestamp opens with the key made from the account's password and salt.",
        source="RFC 4120 5.2.7.2",
        causes=WRONG_PASSWORD_CAUSES,
        fixes=WRONG_PASSWORD_FIXES,
    ),
    "the timestamp is outside the clock skew": Advice(
        step=Step.TS_CLOCK,
        rule="The timestamp and the KDC's clock differ by no more than clockskew.",
        source="RFC 4120 3.1.3",
        causes=(
            "the client's clock is wrong; a virtual machine that slept is the usual one",
            "the KDC's clock is wrong: then every client is refused",
        ),
        fixes=SET_CLOCKS,
    ),
    "the timestamp is older than the replay memory": Advice(
        step=Step.TS_MEMORY,
        rule="A timestamp from before the start of the replay memory cannot be told from a replay.",
        source="RFC 4120 3.1.3; own rule for a new or full memory",
        causes=_MEMORY_CAUSES,
        fixes=("log on again: after clockskew this passes by itself", *SET_CLOCKS[:1]),
    ),
    "the encrypted timestamp was used before": Advice(
        step=Step.TS_REPLAY,
        rule="A timestamp is good once. The identical packet within a minute is a retransmission "
        "and gets its answer again.",
        source="RFC 4120 3.1.3",
        causes=("a request that somebody recorded and sent again", "a client without microseconds"),
        fixes=("log on again", "if it happens again, look at the address it came from"),
    ),
    # -- the KDC itself ----------------------------------------------------------------------
    "the service has no key of a supported type": Advice(
        step=Step.TICKET,
        rule="A ticket is sealed with a key of the service, of a type in supported_enctypes.",
        source="RFC 4120 3.1.3 (KDC_ERR_NULL_KEY)",
        causes=("supported_enctypes was changed and the service's keys were not",),
        fixes=("kdc service list", "kdc keytab rotate {service}"),
    ),
    "internal error": Advice(
        step=None,
        rule="A bug of ours: the request was answered 60 and counted (kdc_internal_errors_total).",
        source="Keytrust",
        causes=("this request, or the state it met",),
        fixes=("the server's log has a traceback of this moment: report it with this page",),
    ),
}
