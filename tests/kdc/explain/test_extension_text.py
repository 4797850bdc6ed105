"""The extensions of CAs in words: what stands in the tree of a message."""

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ObjectIdentifier

from kdc.explain.extension_text import CA_EXTENSIONS
from pki import oids
from pki.errors import PkiError
from tests.pki.chains import CA_ONLY, Plan, make

MADE = {d.name: make(Plan(3, ((d, 1),))) for d in CA_ONLY if "permitted" in d.name}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("DNS permitted", "permitted: DNS lab.test"),
        ("directory permitted", "permitted: directory O=Example"),
        ("e-mail permitted", "permitted: email lab.test"),
        ("UPN permitted", "permitted: UPN lab.test"),
    ],
)
def test_name_constraints(name: str, shown: str) -> None:
    """RFC 5280 4.2.1.10, by form."""
    certificate = x509.load_der_x509_certificate(MADE[name].sent[0])
    found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    assert CA_EXTENSIONS[oids.ID_CE_NAME_CONSTRAINTS](found.public_bytes()) == shown


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


@pytest.mark.parametrize(
    ("oid", "value", "shown"),
    [
        (
            oids.ID_CE_CRL_DISTRIBUTION_POINTS,
            x509.CRLDistributionPoints(
                [x509.DistributionPoint([_uri("http://pki.test/ca.crl")], None, None, None)]
            ),
            "http://pki.test/ca.crl",
        ),
        (
            oids.ID_PE_AUTHORITY_INFO_ACCESS,
            x509.AuthorityInformationAccess(
                [
                    x509.AccessDescription(
                        AuthorityInformationAccessOID.OCSP, _uri("http://ocsp.test/")
                    )
                ]
            ),
            "OCSP http://ocsp.test/",
        ),
        (
            oids.ID_CE_AUTHORITY_KEY_IDENTIFIER,
            x509.AuthorityKeyIdentifier(b"\1\2", None, None),
            "0102",
        ),
        (
            oids.ID_CE_CERTIFICATE_POLICIES,
            x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("1.2.3"), None)]),
            "1.2.3",
        ),
        (
            oids.ID_CE_POLICY_CONSTRAINTS,
            x509.PolicyConstraints(1, 0),
            "explicit policy after 1, no mapping after 0",
        ),
    ],
)
def test_other_extensions(oid: str, value: x509.ExtensionType, shown: str) -> None:
    """Distribution points, OCSP, issuer's key, policies."""
    assert CA_EXTENSIONS[oid](value.public_bytes()) == shown


@pytest.mark.parametrize("oid", sorted(CA_EXTENSIONS))
def test_malformed_values_are_said_to_be(oid: str) -> None:
    """Each writer raises PkiError and nothing else."""
    with pytest.raises(PkiError):
        CA_EXTENSIONS[oid](b"\x30\x03\x02\x01")
