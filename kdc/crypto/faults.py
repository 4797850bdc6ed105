"""What can go wrong with keys, ciphertexts and checksums. No Kerberos codes here."""

from enum import StrEnum


class CryptoFault(StrEnum):
    """Why an operation of RFC 3961 could not be done."""

    TRUNCATED = "ciphertext shorter than confounder and checksum"
    INTEGRITY = "integrity check failed"
    BAD_KEY = "key of the wrong length"
    BAD_PARAMETER = "string-to-key parameter malformed or over the limit"
    UNSUPPORTED = "encryption type or key derivation function not supported"


class CryptoError(Exception):
    """An operation of RFC 3961 failed; the text is fixed and holds no key or plaintext."""

    def __init__(self, fault: CryptoFault) -> None:
        super().__init__(fault.value)
        self.fault = fault
