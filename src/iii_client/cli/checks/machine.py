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


def isolation(setting: str) -> Check:
    from iii_client.fingerprint import Isolation
    from iii_client.fingerprint.isolation import ALL_LAYERS, layer_names

    name = "isolation"
    if setting == "off":
        return Check(
            name=name,
            state=State.WARN,
            says="III_ISOLATION=off: PICTURES ARE DECODED IN THE APPLICATION'S OWN PROCESS",
            todo="Unset III_ISOLATION. A picture that exploits a decoder has all that your application has.",
        )
    with Isolation() as jail:
        held = jail.held_layers()
    missing = ALL_LAYERS & ~held
    says = f"each picture in a process of its own, gone afterwards; holds: {layer_names(held)}"
    if missing:
        return Check(
            name=name,
            state=State.WARN,
            says=f"{says}; missing: {layer_names(missing)}",
            todo="Linux 5.13 or later on x86_64 or arm64 has them all; a container may switch some off.",
            without="What holds and what does not is said in docs/explanation/isolation.md.",
        )
    return Check(name=name, state=State.OK, says=says)
