"""What a hoster has, for tests of rescans: a practice service, an installed filter, and small pictures."""

from pathlib import Path

from PIL import Image

from iii_client import Config, Updater
from iii_client.sandbox import Sandbox


class Site:
    """What a hoster has."""

    def __init__(self, sandbox: Sandbox, folder: Path, pictures: Path) -> None:
        self.sandbox = sandbox
        self.pictures = pictures
        self.env = {**sandbox.env, "III_STATE_DIR": str(folder / "state")}

    @property
    def config(self) -> Config:
        return Config.from_env(self.env)

    def update(self) -> None:
        """Publish what is listed by now, and fetch it."""
        self.sandbox.publish()
        Updater(self.config.filter, self.config.state_dir).update()


def noise(path: Path) -> Path:
    """A picture like no other: of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((64, 64), 90).save(path)
    return path
