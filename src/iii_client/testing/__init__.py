"""Test your own upload path: fixtures of pytest that come with the package, and harmless pictures.

    def test_a_listed_picture_is_refused(iii_env, iii_listed_picture, client):
        answer = client.post("/pictures", files={"picture": iii_listed_picture.as_upload()})
        assert answer.status_code == 422

The fixtures are in `plugin`, which pytest finds by itself; they need the extra `[testing]`. The pictures are
computed, so no photograph is shipped and none is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iii_client.testing.pictures import PracticePicture

__all__ = ["PracticePicture"]


def __getattr__(name: str) -> Any:
    # Not at the top: the plugin is imported by every run of pytest, and pictures load numpy and Pillow.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.pictures"), name)
