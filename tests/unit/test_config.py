"""Configuration: read strictly, explained when wrong, secrets masked."""

from pathlib import Path

import pytest

from iii_client.config import DEFAULT_VIEWS, VIEWS, Config, Secret
from iii_client.errors import ConfigurationError
from iii_client.filters.views import DEFAULT_ORIENTATIONS, Orientation
from iii_client.model import Mode


def test_without_a_mode_both_modes_are_explained() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.from_env({})
    assert "shadow" in caught.value.hint
    assert "enforce" in caught.value.hint


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "iii.toml"
    file.write_text('mode = "shadow"\n[service]\nurl = "https://a.example"\nprotocol = "v1"\n')
    config = Config.from_env(
        {"III_CONFIG": str(file), "III_SERVICE_URL": "https://b.example/", "III_MODE": "enforce"}
    )
    assert (config.mode, config.service.url, config.service.protocol) == (
        Mode.ENFORCE,
        "https://b.example",
        "v1",
    )


def test_an_applications_own_settings_win_over_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "iii.toml"
    file.write_text('mode = "shadow"\n[policy.rules]\nno_filter = "block"\nfilter_stale = "block"\n')
    config = Config.from_env(
        {"III_CONFIG": str(file), "III_SERVICE_URL": "https://b.example", "III_SERVICE_USERNAME": "me"},
        over={"service": {"url": "https://c.example"}, "policy": {"rules": {"no_filter": "allow"}}},
    )
    assert config.mode is Mode.SHADOW
    assert (config.service.url, config.service.username) == ("https://c.example", "me")
    assert config.policy.rules == {"no_filter": "allow", "filter_stale": "block"}


def test_a_secret_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    config = Config.from_env({"III_MODE": "shadow", "III_SERVICE_PASSWORD_FILE": str(file)})
    assert config.service.password.reveal() == "hunter2"
    assert "hunter2" not in repr(config) + str(config)
    assert "hunter2" not in f"{Secret('hunter2')}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("III_MODE", "on"),
        ("III_FILTER", "off"),
        ("III_SERVICE_PROTOCOL", "v3"),
        ("III_SERVICE_URL", "ftp://example.org"),
        ("III_SERVICE_URL", "https://user:secret@example.org"),
        ("III_SERVICE_URL", "user:secret@example.org"),
        ("III_SERVICE_URL", "https://"),
        ("III_SERVICE_URL", "http://example.org"),
        ("III_FILTER_URL", "http://192.0.2.1/filter"),
        ("III_SERVIC_URL", "https://example.org"),
        ("III_SERVICE_TIMEOUT_S", "0"),
        ("III_SERVICE_TIMEOUT_S", "nan"),
        ("III_SERVICE_TIMEOUT_S", "soon"),
        ("III_FILTER_MIN_EPOCH", "-1"),
        ("III_MAX_PICTURE_BYTES", "1.5"),
        ("III_SERVICE_V1_TEST", "maybe"),
        ("III_RECIPE", "slow"),
        ("III_FILTER_VIEWS", "sideways"),
        ("III_FILTER_VIEWS", "mirror"),
        ("III_FILTER_VIEWS", "upright,upright"),
    ],
)
def test_a_malformed_setting_is_named_without_a_secret(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.from_env({"III_MODE": "shadow", variable: value})
    assert "secret" not in str(caught.value)


def test_views_are_those_that_the_filter_knows() -> None:
    assert set(VIEWS) == {str(orientation) for orientation in Orientation}
    assert tuple(map(str, DEFAULT_ORIENTATIONS)) == DEFAULT_VIEWS
    config = Config.from_env({"III_MODE": "shadow", "III_FILTER_VIEWS": "upright, rotate-90"})
    assert config.filter.views == ("upright", "rotate-90")


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="urll") as caught:
        Config.from_mapping({"mode": "shadow", "service": {"urll": "x"}})
    assert "url" in caught.value.hint


def test_a_variable_and_its_file_twin_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both set"):
        Config.from_env(
            {"III_MODE": "shadow", "III_SERVICE_PASSWORD": "a", "III_SERVICE_PASSWORD_FILE": str(tmp_path)}
        )


def test_a_misspelt_variable_is_named_with_the_right_one() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.from_env({"III_MODE": "shadow", "III_SERVICE_TIMEOUT": "3"})
    assert "III_SERVICE_TIMEOUT_S" in caught.value.hint


def test_plain_http_is_for_this_machine_only() -> None:
    for url in ("http://127.0.0.1:8000", "http://localhost/x", "http://[::1]:1"):
        assert Config.from_env({"III_MODE": "shadow", "III_SERVICE_URL": url}).service.url == url


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 100_000])
def test_a_file_that_is_no_short_text_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    for env in ({"III_SERVICE_PASSWORD_FILE": str(file)}, {"III_CONFIG": str(file)}):
        with pytest.raises(ConfigurationError):
            Config.from_env({"III_MODE": "shadow", **env})


@pytest.mark.parametrize(
    "tree", [{"service": 5}, {"policy": {"blocking_categories": 5}}, {"policy": {"rules": [1]}}]
)
def test_a_value_of_another_shape_is_a_configuration_error(tmp_path: Path, tree: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Config.from_mapping({"mode": "shadow", **tree})
    file = tmp_path / "iii.toml"
    file.write_text("service = 5\n")
    with pytest.raises(ConfigurationError):
        Config.from_env(
            {"III_CONFIG": str(file), "III_MODE": "shadow", "III_SERVICE_URL": "https://a.example"}
        )


def test_an_empty_list_of_categories_blocks_none_of_them() -> None:
    config = Config.from_mapping({"mode": "shadow", "policy": {"blocking_categories": []}})
    assert config.policy.blocking_categories == ()


def test_a_missing_or_broken_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Config.from_toml(tmp_path / "missing.toml")
    (tmp_path / "broken.toml").write_text("mode = ")
    with pytest.raises(ConfigurationError, match="not TOML"):
        Config.from_toml(tmp_path / "broken.toml")
