"""The live service's contract: one bare hash in, the bare text `true` or `false` out. Pure, no I/O.

    POST {base}/v1/check/{md5|sha1}          the service
    POST {base}/v1/test/check/{md5|sha1}     its test base

Promises: anything but exactly `true` or `false` is a `WireFormatError`. Known clients of this contract
read every other answer as "not listed"; here there is no such path.
"""

from iii_client.errors import WireFormatError
from iii_client.model import Algorithm, HashValue
from iii_client.service.wire import WireRequest

#: What the contract covers, strongest first.
V1_ALGORITHMS = (Algorithm.SHA1, Algorithm.MD5)

#: Longest body that is read. An answer has at most 6 bytes; the rest lets a wrong one be told as wrong
#: rather than as too large.
MAX_ANSWER_BYTES = 1024

_ANSWERS = {b"true": True, b"false": False, b"true\n": True, b"false\n": False}


def build_check(value: HashValue, *, test: bool = False) -> WireRequest:
    """The request that asks about one hash.

    Args:
        value: an MD5 or SHA-1 digest.
        test: ask the service's test base.

    Raises:
        ValueError: the contract does not cover this algorithm.
    """
    if value.algorithm not in V1_ALGORITHMS:
        raise ValueError(f"the v1 contract does not cover {value.algorithm}")
    return WireRequest(
        method="POST",
        path=f"{'/v1/test/check' if test else '/v1/check'}/{value.algorithm}",
        headers={"Content-Type": "text/plain", "Accept": "text/plain"},
        body=value.hex.encode("ascii"),
        max_answer_bytes=MAX_ANSWER_BYTES,
    )


def parse_check(body: bytes) -> bool:
    """Whether the hash is listed. The body is `true` or `false`, with at most one newline after it.

    Raises:
        WireFormatError: anything else.
    """
    try:
        return _ANSWERS[bytes(body)]
    except KeyError:
        raise WireFormatError(
            f"the v1 answer is neither true nor false ({len(body)} bytes)",
            hint="Check that III_SERVICE_URL is the service's base URL and not a page in front of it.",
        ) from None
