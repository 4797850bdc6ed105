"""The cases of `rows.toml`, one module for each part; importing this registers them all."""

from tests.negative.cases import as_exchange as as_exchange
from tests.negative.cases import certificates as certificates
from tests.negative.cases import cloud as cloud
from tests.negative.cases import controls as controls
from tests.negative.cases import diffie_hellman as diffie_hellman
from tests.negative.cases import encoding as encoding
from tests.negative.cases import framing as framing
from tests.negative.cases import freshness as freshness
from tests.negative.cases import key_trust as key_trust
from tests.negative.cases import names as names
from tests.negative.cases import pkinit as pkinit
from tests.negative.cases import tgs as tgs
