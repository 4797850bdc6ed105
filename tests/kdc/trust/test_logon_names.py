"""What a logon certificate says of its holder, read from its own octets."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kdc.trust.logon_names import read_logon_names
from pki.certificate import Certificate
from tests.kdc.builders import NOW

SUBJECT = "carol@lab.test"


def certificate(*alternative: x509.GeneralName) -> Certificate:
    """Make a certificate with an emailAddress in its subject, and these alternative names."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, SUBJECT)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    return Certificate(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    ("alternative", "emails"),
    [
        ((), (SUBJECT,)),
        ((x509.RFC822Name("dave@lab.test"),), ("dave@lab.test",)),
        ((x509.DNSName("pc1.lab.test"),), ()),
    ],
)
def test_email_of_the_subject_counts_where_constraints_judge_it(
    alternative: tuple[x509.GeneralName, ...], emails: tuple[str, ...]
) -> None:
    """RFC 5280 4.2.1.10: beside a subjectAltName a constrained CA could write any address there."""
    assert read_logon_names(certificate(*alternative)).emails == emails
