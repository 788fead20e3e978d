"""What is installed here."""

from iii_client.cli.checks.finding import Check, State


def http_library() -> Check:
    from importlib.metadata import version

    urllib3 = version("urllib3")
    # urllib3-future installs itself over urllib3 and is known to break other packages.
    shadowed = int(urllib3.split(".")[2]) >= 900
    if shadowed:
        return Check(
            name="http library",
            state=State.WARN,
            says=f"urllib3 {urllib3} is urllib3-future installed over urllib3",
            todo="pip uninstall urllib3-future niquests && pip install --force-reinstall urllib3",
        )
    return Check(name="http library", state=State.OK, says=f"urllib3 {urllib3}")


def formats() -> Check:
    from PIL import features

    missing = [name for name in ("jpg", "webp", "avif") if not features.check(name)]
    if missing:
        return Check(
            name="formats",
            state=State.WARN,
            says=f"this Pillow cannot decode: {', '.join(missing)}",
            todo="Install Pillow from its official wheels.",
            without="Such pictures are unscannable, never 'no match'.",
        )
    return Check(
        name="formats",
        state=State.OK,
        says="JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF",
        without="HEIC and others are reported as not enabled.",
    )
