"""The room that reads pixels: Content in, Fingerprint out. CPU only, no network.

`build_fingerprint` does it for one item; `FingerprintBuilder` for an upload that arrives in chunks. The
hash functions stand on their own for publishers and tests. Nothing here loads scipy.
"""

from iii_client.fingerprint.build import FingerprintBuilder, build_fingerprint, look_again, warm_up
from iii_client.fingerprint.digests import early_sha256
from iii_client.fingerprint.isolation import Isolation
from iii_client.fingerprint.pdq import PdqHash, bits_of, pdq, value_of
from iii_client.fingerprint.phash import phash
from iii_client.fingerprint.pixels import LooksHere, PixelReader
from iii_client.fingerprint.pool import HashingPool
from iii_client.fingerprint.registry import RECIPES
from iii_client.model import pack_coefficients, unpack_coefficients

__all__ = [
    "RECIPES",
    "FingerprintBuilder",
    "HashingPool",
    "Isolation",
    "LooksHere",
    "PdqHash",
    "PixelReader",
    "bits_of",
    "build_fingerprint",
    "early_sha256",
    "look_again",
    "pack_coefficients",
    "pdq",
    "phash",
    "unpack_coefficients",
    "value_of",
    "warm_up",
]
