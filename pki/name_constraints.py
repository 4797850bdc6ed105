"""Name constraints (RFC 5280 4.2.1.10): which names a CA's subordinates may carry.

Rules
  1. Forms judged: dNSName, rfc822Name, URI, iPAddress, directoryName, and the user principal name
     (an otherName; Windows constrains it by suffix as it does an e-mail address).
  2. A constraint of a form or value that cannot be judged refuses every name of that form.
  3. Comparing is generous when a name is excluded and exact when it is permitted only in this: both
     go through the same canonical form, in which case and runs of spaces do not matter.
"""

from urllib.parse import urlsplit

from pki import asn1, der, oids
from pki.certificate import Certificate
from pki.errors import PkiError
from pki.extensions import NameConstraints, decode_name_constraints
from pki.names import AnotherName, general_names
from pki.x500 import canonical_name

_OTHER_NAME = 0xA0
_RFC822_NAME = 0x81
_DNS_NAME = 0x82
_DIRECTORY_NAME = 0xA4
_URI = 0x86
_IP_ADDRESS = 0x87

GeneralName = tuple[int, bytes]
"""(identifier octet, content)."""

MAX_COMPARISONS = 4096
"""Names times subtrees of one chain; a logon certificate has three names."""


class UnjudgeableError(Exception):
    """A constraint or name whose form has no rule here."""


def names_of(certificate: Certificate) -> tuple[GeneralName, ...]:
    """List the names of a certificate that constraints apply to. Raises PkiError.

    The subject counts as a directoryName when it is not empty; its emailAddress attributes count
    as rfc822Names when there is no subjectAltName.
    """
    out: list[GeneralName] = []
    subject = canonical_name(certificate.subject)
    if subject:
        start, end = der.open_tlv(certificate.subject, der.SEQUENCE)
        out.append((_DIRECTORY_NAME, der.tlv(der.SEQUENCE, certificate.subject[start:end])))
    value = certificate.extension(oids.ID_CE_SUBJECT_ALT_NAME)
    if value is not None:
        out.extend(general_names(value))
        return tuple(out)
    for rdn in subject:
        for oid, text in rdn:
            if oid == oids.ID_EMAIL_ADDRESS and isinstance(text, str):
                out.append((_RFC822_NAME, text.encode()))
    return tuple(out)


def _form(name: GeneralName) -> tuple[int, str]:
    """Return what decides which constraints speak of a name: its tag, and an otherName's type."""
    tag, content = name
    if tag != _OTHER_NAME:
        return tag, ""
    return tag, asn1.decode(AnotherName, der.tlv(der.SEQUENCE, content)).type_id


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UnjudgeableError from None
    if "\0" in text or not text.isprintable():
        raise UnjudgeableError
    return text.lower()


def _host_within(host: str, base: str, *, bare_is_exact: bool) -> bool:
    """Tell whether a host is the one named by `base`, or in the domain of `.base`."""
    host, base = host.removesuffix("."), base.removesuffix(".")
    if not host:
        raise UnjudgeableError
    if base.startswith("."):
        return host.endswith(base)
    return host == base or (not bare_is_exact and (not base or host.endswith("." + base)))


def _mail_within(address: str, base: str) -> bool:
    local, at, host = address.rpartition("@")
    if not at or not local:
        raise UnjudgeableError
    wanted_local, wanted_at, wanted_host = base.rpartition("@")
    if wanted_at and wanted_local:
        return address == base
    return _host_within(host, wanted_host, bare_is_exact=True)


def _uri_within(uri: str, base: str) -> bool:
    try:
        host = urlsplit(uri).hostname
    except ValueError:
        raise UnjudgeableError from None
    # RFC 5280: a URI without a host name cannot be within or without: it is refused.
    if not host or host[0].isdigit() or ":" in host:
        raise UnjudgeableError
    return _host_within(host, base, bare_is_exact=True)


def _address_within(address: bytes, base: bytes) -> bool:
    half = len(base) // 2
    if len(base) not in (8, 32) or len(address) not in (4, 16):
        raise UnjudgeableError
    if len(address) != half:
        return False
    network, mask = base[:half], base[half:]
    return all(a & m == n & m for a, n, m in zip(address, network, mask, strict=True))


def _other_text(content: bytes) -> str:
    other = asn1.decode(AnotherName, der.tlv(der.SEQUENCE, content))
    return _text(asn1.decode_as(asn1.UTF8_STRING, other.value).encode())


def within(name: GeneralName, base: GeneralName) -> bool:
    """Tell whether a name is in the subtree of a base of the same form.

    Raises UnjudgeableError when there is no rule for the form or the value, PkiError when a name
    is malformed.
    """
    tag, type_id = _form(name)
    content, tree = name[1], base[1]
    if tag == _DNS_NAME:
        return _host_within(_text(content), _text(tree), bare_is_exact=False)
    if tag == _RFC822_NAME:
        return _mail_within(_text(content), _text(tree))
    if tag == _URI:
        return _uri_within(_text(content), _text(tree))
    if tag == _IP_ADDRESS:
        return _address_within(content, tree)
    if tag == _DIRECTORY_NAME:
        own, root = canonical_name(content), canonical_name(tree)
        return own[: len(root)] == root
    if tag == _OTHER_NAME and type_id == oids.ID_MS_SAN_UPN:
        return _mail_within(_other_text(content), _other_text(tree))
    raise UnjudgeableError


class NameLimits:
    """The constraints gathered on the way from the anchor down. Bound: MAX_COMPARISONS."""

    def __init__(self) -> None:
        self._limits: list[NameConstraints] = []
        self._left = MAX_COMPARISONS

    def add(self, certificate: Certificate) -> None:
        """Add what a CA demands of the certificates below it. Raises PkiError."""
        value = certificate.extension(oids.ID_CE_NAME_CONSTRAINTS)
        if value is not None:
            self._limits.append(decode_name_constraints(value))

    def broken_by(self, certificate: Certificate) -> str:
        """Return the rule that a certificate's names break, or "". Raises PkiError."""
        if not self._limits:
            return ""
        names = names_of(certificate)
        for limits in self._limits:
            for name in names:
                rule = self._judge(name, limits)
                if rule:
                    return rule
        return ""

    def _judge(self, name: GeneralName, limits: NameConstraints) -> str:
        form = _form(name)
        try:
            if any(self._same(form, base) and within(name, base) for base in limits.excluded):
                return "a name is in an excluded subtree"
            permitted = [base for base in limits.permitted if self._same(form, base)]
            if permitted and not any(within(name, base) for base in permitted):
                return "a name is in no permitted subtree"
        except (UnjudgeableError, PkiError):
            return "a name or constraint of a form that cannot be judged"
        return ""

    def _same(self, form: tuple[int, str], base: GeneralName) -> bool:
        self._left -= 1
        if self._left < 0:
            raise UnjudgeableError
        return _form(base) == form
