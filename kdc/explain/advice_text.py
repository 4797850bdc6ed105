"""What to say about one reason of a refusal, and the parts that several reasons share."""

from dataclasses import dataclass

from kdc.explain.steps import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to say about one reason."""

    step: Step | None
    """Where the exchange stopped; None: that cannot be told from the reason."""
    rule: str
    source: str
    causes: tuple[str, ...]
    """The likeliest first."""
    fixes: tuple[str, ...]
    """Commands and settings, in the order to try them."""


def advice(
    step: Step, rule: str, source: str, causes: tuple[str, ...], fixes: tuple[str, ...]
) -> Advice:
    """Write one entry of a table in the order in which it is read."""
    return Advice(step=step, rule=rule, source=source, causes=causes, fixes=fixes)


SET_CLOCKS = (
    "$ timedatectl timesync-status      (on the client and on the KDC)",
    "let both take their time from the same NTP source",
    "clockskew in kdc.toml widens the window: for a lab only, it weakens replay protection",
)
SHOW_ACCOUNT = "kdc user show {client}"
MALFORMED_CAUSES = (
    "a client library that writes BER instead of DER, or leaves a required field out",
    "a message changed or cut off on its way, or made by a test or a scanner",
)
MALFORMED_FIXES = (
    "look at the faults marked in the tree: the first is what we stopped at",
    "update the client; if it is a current release, report it with this page",
)
FAULTY = ("a faulty client", "a test")
NO_PASSWORD_KEY_CAUSES = (
    "the account has no password: it logs on with a key",
    "the password was set before supported_enctypes was changed",
)
NO_PASSWORD_KEY_FIXES = (SHOW_ACCOUNT, "kdc user password {client}")
WRONG_PASSWORD_CAUSES = (
    "the password is wrong; each one counts towards the lock of the account",
    "an old keytab or a saved password, from before a change",
    "a client that guessed the salt: it must take it from PA-ETYPE-INFO2",
)
WRONG_PASSWORD_FIXES = (
    "kdc logon {client} --password-prompt     (is it the password or the client?)",
    "kdc user password {client}               (set a new one)",
)
