"""Case references: a random word that an uploader may quote, and that tells nothing."""

import secrets

#: Without I, L, O, U, 0 and 1: what is read out on a telephone must come back as it was.
_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
#: 12 letters of 30: 59 bits, so that nobody guesses another's, and two never meet in practice.
_LENGTH, _GROUP = 12, 4


def new_case_reference() -> str:
    """For example `7K3M-Q2WF-9XTA`."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
    return "-".join(letters[i : i + _GROUP] for i in range(0, _LENGTH, _GROUP))


def read_case_reference(text: str) -> str:
    """What a person typed, as it is stored: case, spaces and missing dashes are forgiven.

    Raises:
        ValueError: no case reference.
    """
    letters = "".join(text.split()).replace("-", "").upper()
    if len(letters) != _LENGTH or not set(letters) <= set(_LETTERS):
        raise ValueError("a case reference has three groups of four letters or digits")
    return "-".join(letters[i : i + _GROUP] for i in range(0, _LENGTH, _GROUP))
