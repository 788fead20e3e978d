"""SQLite is refused on file systems that would lose its rows."""

from pathlib import Path

import pytest

from iii_client.errors import ConfigurationError
from iii_client.records.filesystem import filesystem_of, refuse_network_filesystem

TABLE = """\
/dev/vda1 / ext4 rw 0 0
nas:/export /srv/shared nfs4 rw 0 0
/dev/vdb1 /srv/shared/local\\040disk xfs rw 0 0
tmpfs /srv/twice tmpfs rw 0 0
//nas/x /srv/twice cifs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mounts"
    file.write_text(TABLE)
    return file


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/var/lib/iii", "ext4"),
        ("/srv/shared", "nfs4"),
        ("/srv/shared/iii/state", "nfs4"),
        ("/srv/shared2", "ext4"),
        ("/srv/shared/local disk/iii", "xfs"),
        ("/srv/twice/iii", "cifs"),
    ],
)
def test_the_nearest_mount_point_says_what_a_directory_lies_on(
    mounts: Path, directory: str, kind: str
) -> None:
    assert filesystem_of(Path(directory), mounts=mounts) == kind


def test_a_network_file_system_is_refused_with_a_way_out_and_no_path(mounts: Path) -> None:
    with pytest.raises(ConfigurationError, match="nfs4") as caught:
        refuse_network_filesystem(Path("/srv/shared/iii"), mounts=mounts)
    assert "/srv" not in str(caught.value)
    assert "III_DATABASE_URL" in caught.value.hint


def test_a_local_disk_is_taken_and_a_machine_without_a_table_is_not_judged(
    mounts: Path, tmp_path: Path
) -> None:
    refuse_network_filesystem(Path("/var/lib/iii"), mounts=mounts)
    refuse_network_filesystem(tmp_path / "not made yet", mounts=tmp_path / "no table")
