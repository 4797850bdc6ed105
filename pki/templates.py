"""What each kind of certificate of the realm's own CA is for: one table, as a CA has templates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pki import oids

Subject = Literal["user", "computer", "realm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One kind of certificate. keyUsage follows from `is_ca` and the kind of key."""

    name: str
    help: str
    subject: Subject
    """Whose it is: a user's (UPN in its SAN), a computer's (dNSName), or the realm's own."""
    purposes: tuple[str, ...]
    """extKeyUsage; none: no such extension."""
    days: int
    """How long it lives unless somebody says otherwise."""
    renew_at: float
    """The part of its life after which it is renewed by itself, for certificates of the realm."""
    is_ca: bool = False


LOGON = Template(
    name="logon",
    help="a user's logon, as the Smartcard Logon template of Windows",
    subject="user",
    purposes=(oids.ID_PKINIT_KP_CLIENT_AUTH, oids.ID_MS_KP_SMARTCARD_LOGON, oids.ID_KP_CLIENT_AUTH),
    days=365,
    renew_at=1,
)
DEVICE = Template(
    name="device",
    help="a computer's logon, as the Workstation Authentication template",
    subject="computer",
    purposes=(oids.ID_PKINIT_KP_CLIENT_AUTH, oids.ID_KP_CLIENT_AUTH),
    days=365,
    renew_at=1,
)
ENROLMENT_AGENT = Template(
    name="enrolment-agent",
    help="signs requests for others (Certificate Request Agent); logs nobody on",
    subject="user",
    purposes=(oids.ID_MS_ENROLMENT_AGENT,),
    days=365,
    renew_at=1,
)
KDC = Template(
    name="kdc",
    help="the KDC's own, as the Kerberos Authentication template",
    subject="realm",
    purposes=(oids.ID_PKINIT_KP_KDC, oids.ID_KP_SERVER_AUTH, oids.ID_KP_CLIENT_AUTH),
    days=365,
    renew_at=2 / 3,
)
HTTP = Template(
    name="http",
    help="HTTPS of the realm's own (KKDCP)",
    subject="realm",
    purposes=(oids.ID_KP_SERVER_AUTH,),
    days=365,
    renew_at=2 / 3,
)
OCSP = Template(
    name="ocsp",
    help="the OCSP responder's",
    subject="realm",
    purposes=(oids.ID_KP_OCSP_SIGNING,),
    # Nobody can revoke it (id-pkix-ocsp-nocheck), so a stolen one must end soon.
    days=30,
    renew_at=1 / 2,
)
ISSUING_CA = Template(
    name="issuing-ca",
    help="a CA below an offline root; issues leaves alone",
    subject="realm",
    purposes=(),
    days=1825,
    renew_at=1,
    is_ca=True,
)

TEMPLATES: Mapping[str, Template] = {
    template.name: template
    for template in (LOGON, DEVICE, ENROLMENT_AGENT, KDC, HTTP, OCSP, ISSUING_CA)
}
"""Every template, by name."""

FOR_ACCOUNTS = tuple(t.name for t in TEMPLATES.values() if t.subject != "realm")
"""Those that `kdc cert issue` knows."""
