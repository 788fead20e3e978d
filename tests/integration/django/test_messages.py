"""The neutral message: in English as everywhere else, and its translations compiled as they are written."""

import gettext
import re
from pathlib import Path

import pytest

import iii_client.integrations.django as app
from iii_client.integrations.django.messages import refusal
from iii_client.integrations.rejection import rejection_text

LOCALE = Path(app.__file__).parent / "locale"
ENTRY = re.compile(r'^msgid "(.+)"\nmsgstr "(.+)"$', re.MULTILINE)


@pytest.mark.parametrize("case", ["", "7K3M-Q2WF-9XTA"])
@pytest.mark.parametrize("contact", ["", "abuse@host.example", "100 % us"])
def test_in_english_it_is_the_message_of_every_integration(case: str, contact: str) -> None:
    message, params = refusal(case, contact)
    assert str(message) % params == rejection_text(case, contact)


@pytest.mark.parametrize("language", ["nl", "de"])
def test_a_translation_says_all_of_it_and_is_compiled(language: str) -> None:
    folder = LOCALE / language / "LC_MESSAGES"
    written = dict(ENTRY.findall((folder / "django.po").read_text(encoding="utf-8")))
    with (folder / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert len(written) == 6
    for english, translated in written.items():
        assert compiled.gettext(english) == translated, "run: msgfmt -o django.mo django.po"
        assert re.findall(r"%\(\w+\)s", english) == re.findall(r"%\(\w+\)s", translated)
