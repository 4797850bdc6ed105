"""Which certificate of a chain was at fault, and by which rule: told from the audit facts."""

from collections.abc import Mapping

from kdc.explain.text import escape

_PLACES = ("the client's own certificate", "its issuer", "its issuer's issuer")


def chain_findings(facts: Mapping[str, object]) -> tuple[str, ...]:
    """List what the judgement of a chain or a mapping noted, one sentence each."""
    out = []
    index = facts.get("certificate_index")
    if isinstance(index, int):
        place = _PLACES[index] if index < len(_PLACES) else f"certificate {index} of the path"
        subject = escape(str(facts.get("certificate_subject") or "without a readable subject"))
        serial = escape(str(facts.get("certificate_serial", "?")))
        out.append(f"At fault is {place}: {subject}, serial number {serial}.")
        out.append(f"The rule that failed: {escape(str(facts.get('rule') or 'not noted'))}.")
    mapping = facts.get("mapping")
    if isinstance(mapping, str) and mapping:
        found = "nothing" if mapping == "none" else mapping
        out.append(f"What maps the certificate to the account: {escape(found)}.")
    return tuple(out)
