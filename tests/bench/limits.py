"""What the public-key operations of a logon alone allow on a core: `python -m tests.bench.limits`.

Nothing else is done but what no KDC in Python can leave out: OpenSSL by way of `cryptography`
verifies the client's RSA-2048 signature, makes a key, agrees, and signs. The goals' aims are shares
of these limits (issue 8). Prints logons per second of processor time, the median of rounds.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from kdc.crypto.key_agreement import GROUPS, Group, KeyPair, generate

LIMITS: Final = ("modp14", "p256", "p256 EC", "modp14+nonce", "p256+nonce")
"""Fresh keys with an RSA-2048 KDC key; the same with an ECDSA P-256 KDC key; a reused key with a
signature for each reply; a reused key and a reused signature."""

_ROUNDS: Final = 15
_ROUND_S: Final = 0.05


def cost_s(action: Callable[[], object]) -> float:
    """Return the processor time of an action: the median over rounds."""
    began = time.thread_time()
    action()
    number = max(1, int(_ROUND_S / (time.thread_time() - began)))
    found = []
    for _ in range(_ROUNDS):
        began = time.thread_time()
        for _ in range(number):
            action()
        found.append((time.thread_time() - began) / number)
    return statistics.median(found)


def _agreement(group: Group) -> tuple[Callable[[], KeyPair], Callable[[], bytes]]:
    peer, own = generate(group).public, generate(group)
    return lambda: generate(group), lambda: own.agree(peer)


def limits() -> dict[str, float]:
    """Measure logons per second of processor time, for each of LIMITS."""
    data = os.urandom(200)
    rsa_key = rsa.generate_private_key(65537, 2048)
    public, signature = (
        rsa_key.public_key(),
        rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256()),
    )
    ec_key = ec.generate_private_key(ec.SECP256R1())
    verify = cost_s(
        lambda: public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256()),
    )
    sign = cost_s(lambda: rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256()))
    ec_sign = cost_s(lambda: ec_key.sign(data, ec.ECDSA(hashes.SHA256())))
    (modp_new, modp_agree), (p256_new, p256_agree) = (
        (cost_s(new), cost_s(agree))
        for new, agree in (_agreement(GROUPS["modp14"]), _agreement(GROUPS["p256"]))
    )
    costs = {
        "modp14": verify + modp_new + modp_agree + sign,
        "p256": verify + p256_new + p256_agree + sign,
        "p256 EC": verify + p256_new + p256_agree + ec_sign,
        "modp14+nonce": verify + modp_agree + sign,
        "p256+nonce": verify + p256_agree,
    }
    return {name: 1 / costs[name] for name in LIMITS}


if __name__ == "__main__":
    for limit, rate in limits().items():
        print(f"{limit:14} {rate:6.0f}/s")
