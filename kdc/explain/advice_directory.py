"""Advice on realms whose accounts live in an LDAP directory."""

from collections.abc import Mapping

from kdc.explain.advice_text import Advice

DIRECTORY_ADVICE: Mapping[str, Advice] = {
    "the directory cannot be asked about what the store does not have": Advice(
        step=None,
        rule="What the local store does not have is unknown only when the directory says so; "
        "while it cannot be asked, the client is told to try another KDC.",
        source="RFC 4120 7.5.9 (KDC_ERR_SVC_UNAVAILABLE); rows L01, L02",
        causes=(
            "no server of directory.url answers, or not within two seconds",
            "the follower process is not there",
            "more questions a second than directory.miss_rate, while the store is not current",
        ),
        fixes=(
            "kdc directory status               (is it followed, and since when not?)",
            "kdc directory load                 (does a connection succeed from here?)",
            "the server's log says which directory server failed and why",
        ),
    ),
}
