"""The same lists give the same bytes, on every machine and in every year: pinned by their digests."""

import hashlib

from iii_client.model import Algorithm, HashValue, ReleaseId
from iii_client.publisher import ListEntry, build_bundle
from iii_client.publisher.additions import additions, missing_hashes
from iii_client.publisher.sorting import sort_entries

BUNDLE_SHA256 = "e2183afb2db1a0f12f37ea2541e6e247bfb9ea4cf14b040b7045d09515a13011"
DELTA_SHA256 = "1035a554573f8743c6286ee7e30e1044624e54d5baf9f5b504925ec83a567479"
RESULT_SHA256 = "37ab7faf93a657088d5c47707246e5d123336d0cffef93e324df95f7b913bc51"


def listed(first: int, last: int) -> list[ListEntry]:
    return [
        ListEntry(
            hash=HashValue(
                algorithm=algorithm,
                value=hashlib.sha512(b"golden %d" % n).digest()[: algorithm.width_bits // 8],
            ),
            quality=100 if algorithm.is_digest else 10,
            list_name="list",
            source="body",
        )
        for n in range(first, last)
        for algorithm in (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256, Algorithm.PDQ)
    ]


def test_a_base_and_its_delta_are_these_bytes() -> None:
    bundle = build_bundle(listed(0, 100), release=ReleaseId(epoch=7, sequence=0))
    assert hashlib.sha256(bundle).hexdigest() == BUNDLE_SHA256
    missing = missing_hashes(bundle, sort_entries(listed(50, 110)).exact)
    allowed = dict.fromkeys(map(str, Algorithm), 1 << 20)
    (step,) = additions(bundle, missing, allowed_bits=allowed)
    assert hashlib.sha256(step.content).hexdigest() == DELTA_SHA256
    assert step.result_sha256 == RESULT_SHA256
