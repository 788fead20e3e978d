"""The shipped test picture: harmless, and listed in every release in the category `test`.

It plays the part that the EICAR file plays for virus scanners: a hoster uploads it and sees the whole
path at work, from the filter hit to the refusal, without any real material. Its bytes are frozen: they
are shipped as a file, because a picture that was encoded anew on each machine would have other digests.
"""

import hashlib
from functools import cache
from importlib.resources import files

TEST_PICTURE_NAME = "test-picture.png"
TEST_LIST_NAME = "iii-test"


def listed_picture_bytes() -> bytes:
    """The picture's exact bytes (a PNG, 640x480)."""
    return (files("iii_client") / "data" / TEST_PICTURE_NAME).read_bytes()


@cache
def listed_picture_sha256() -> bytes:
    """SHA-256 of these bytes: 32 bytes."""
    return hashlib.sha256(listed_picture_bytes()).digest()
