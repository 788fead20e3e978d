"""What the publisher puts into its folder, a real client fetches over HTTP, verifies, installs and finds."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from iii_client.errors import TrustError
from iii_client.model import Algorithm, HashValue
from iii_client.publisher import ListEntry
from iii_client.updates import FilterStore, Updater

from .conftest import Client, Publication, listed


def test_a_client_follows_deltas_and_bases(publication: Publication) -> None:
    publication.publish("a", "b")
    client = publication.client()
    assert client.update() == "1.0"
    assert publication.publish("a", "b", "c") == "1.1"
    assert publication.publish("a", "b", "c", "d") == "1.2"
    assert client.finds("a", "c", "d") == [True, False, False]
    assert client.update() == "1.2"
    assert client.finds("a", "c", "d", "x") == [True, True, True, False]
    assert publication.publish("b", "c", base=True) == "2.0"
    assert client.update() == "2.0"
    assert client.finds("a", "b", "c") == [False, True, True]


def test_a_fresh_client_takes_a_base_with_all_its_deltas(publication: Publication) -> None:
    names = [str(n) for n in range(8)]
    for count in range(1, 9):
        publication.publish(*names[:count])
    client = publication.client()
    assert client.update() == "1.7"
    assert all(client.finds(*names))


def test_both_kinds_of_client_have_the_same_bytes(publication: Publication) -> None:
    publication.publish("a")
    follower = publication.client()
    follower.update()
    for names in ("ab", "abc", "abcd"):
        publication.publish(*names)
        follower.update()
    fresh = publication.client()
    fresh.update()
    one, other = (client.updater.store.verify() for client in (follower, fresh))
    assert (one.id, one.sha256) == (other.id, other.sha256)


def test_as_much_as_a_publisher_adds_without_its_offline_keys_is_accepted(publication: Publication) -> None:
    """The publisher's allowance and the client's gate are two sides of one number."""
    publication.publish("a")
    steady, fresh = publication.client(), publication.client()
    steady.update()
    names = ["a", *map(str, range(2000))]
    for _ in range(4):
        publication.publish(*names, base=False)
        steady.update()
        publication.clock.ahead += timedelta(hours=25)
        publication.open().refresh()
        steady.update()
    fresh.update()
    installed = fresh.updater.store.installed()
    assert installed.id.sequence > 12
    assert installed.sha256 == steady.updater.store.installed().sha256


def test_a_client_that_pins_the_first_root_follows_twenty(publication: Publication) -> None:
    publication.publish("a")
    early, late = publication.client(), publication.client()
    early.update()
    for turn in range(19):
        repository = publication.open()
        names = sorted(repository.status().here.values())
        repository.rotate([names[turn % len(names)]])
        if turn % 6 == 0:
            early.update()
    assert publication.open().status().roles["root"][0] == 20
    publication.publish("a", "b")
    for client in (early, late):
        assert client.update() == "1.1"
        assert client.finds("a", "b") == [True, True]


def test_a_key_that_was_rotated_out_signs_nothing_that_a_client_takes(publication: Publication) -> None:
    """The thief of an online key is shut out by a rotation, also of clients that slept through it."""
    publication.publish("a")
    client = publication.client()
    client.update()
    metadata = publication.folder / "repository" / "public" / "metadata"
    stolen = (metadata / "timestamp.json").read_bytes()
    repository = publication.open()
    repository.rotate(["snapshot-1", "delta-1"])
    client.update()
    (metadata / "timestamp.json").write_bytes(stolen)
    with pytest.raises(TrustError):
        client.update()
    assert client.finds("a") == [True]


def test_the_client_knows_what_the_release_is_made_of(publication: Publication) -> None:
    publication.publish("a", "b")
    client = publication.client()
    client.update()
    for release in (
        client.updater.store.installed(),
        FilterStore(publication.folder / "client-1").installed(),
    ):
        rows = {(row.list_name, str(row.algorithm)): row.hashes for row in release.coverage}
        assert rows["list", "sha256"] == 2
        assert rows["iii-test", "sha256"] == 1


# --- tiers ----------------------------------------------------------------------------------------------


def pictures(count: int) -> list[ListEntry]:
    raw = random.Random(count).randbytes(32 * count)
    return [
        ListEntry(
            hash=HashValue(algorithm=Algorithm.PDQ, value=raw[i : i + 32]),
            quality=90,
            list_name="pictures",
            source="body",
        )
        for i in range(0, len(raw), 32)
    ]


def test_a_host_may_leave_near_segments_where_they_are_and_fetch_them_later(
    publication: Publication,
) -> None:
    publication.open().publish([listed("a"), *pictures(10_000)])
    client = publication.client()
    config = client.updater._config
    exact_only = Client(Updater(replace(config, near=False), publication.folder / "client-1"))
    report = exact_only.updater.update()
    assert report.bytes_fetched < 400_000
    assert exact_only.updater.store.installed().near == ()
    assert exact_only.finds("a") == [True]
    assert not exact_only.updater.update().changed
    publication.open().publish([listed("a"), listed("b"), *pictures(10_000)])
    assert exact_only.update() == "1.1"
    both = client.updater.update()
    assert (str(both.release), both.changed) == ("1.1", True)
    assert [segment.count for segment in client.updater.store.installed().near] == [10_000]
    again = exact_only.updater.update()
    assert again.changed
    assert exact_only.updater.store.installed().near == ()
    exact_only.updater.store.verify()
