"""What killed its worker is remembered, up to a bound."""

from iii_client.fingerprint.isolation import DeathsInThisProcess, poison


def test_deaths_are_counted_by_content() -> None:
    memory = DeathsInThisProcess()
    assert memory.deaths(b"a") == 0
    memory.record_death(b"a")
    memory.record_death(b"a")
    memory.record_death(b"b")
    assert (memory.deaths(b"a"), memory.deaths(b"b")) == (2, 1)


def test_the_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = DeathsInThisProcess()
    for number in range(poison._MOST_REMEMBERED + 10):
        memory.record_death(number.to_bytes(4, "big"))
    assert memory.deaths((0).to_bytes(4, "big")) == 0
    assert memory.deaths((poison._MOST_REMEMBERED + 9).to_bytes(4, "big")) == 1
    assert len(memory._deaths) == poison._MOST_REMEMBERED
