"""Settings: sources, precedence, secrets."""

from pathlib import Path

import pytest

from qexplorer.errors import ConfigError
from qexplorer.settings import load_settings


def test_sources_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments win over the environment, that over the file, that over the defaults, field by field."""
    config = tmp_path / "s.yaml"
    config.write_text("search: {url: 'http://file', max_per_seed: 3, hits: 7}\n")
    monkeypatch.setenv("QEXPLORER_SEARCH__URL", "http://environment")
    monkeypatch.setenv("QEXPLORER_SEARCH__MAX_PER_SEED", "4")
    settings = load_settings(config, search={"url": "http://argument"})
    assert (settings.search.url, settings.search.max_per_seed, settings.search.hits) == ("http://argument", 4, 7)
    assert settings.search.slow_ms == 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("serch: {}", "serch", id="unknown section"),
        pytest.param("search: {urll: x}", "search.urll", id="unknown field"),
        pytest.param("worker: {batch_size: many}", "worker.batch_size", id="wrong type"),
        pytest.param("kafka: {security: SASL_SSL}", "kafka.user and kafka.password are needed", id="half a login"),
        pytest.param("search: {url: 'https://worker:pw@host:9200/x'}", "it holds a login", id="a login in an address"),
        pytest.param("a: [", "is not YAML", id="not YAML"),
        pytest.param("- search", "holds no settings by name", id="a list"),
        pytest.param("search", "holds no settings by name", id="a word"),
        pytest.param("1: {}", "holds no settings by name", id="a number for a name"),
        pytest.param("worker: {run_id: 2026-13-45}", "month must be in 1..12", id="a date that there is not"),
        pytest.param("search: {hits: 5}\nsearch: {max_qps: 9}", "search stands twice", id="a section twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    """The setting and the file stand in the error."""
    config = tmp_path / "s.yaml"
    config.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(config)
    assert says in str(caught.value)
    assert "s.yaml" in str(caught.value)


@pytest.mark.parametrize("url", ["", "http://", "host:port", "http://a:9200,http://b:9200", "htps://host"])
def test_what_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An empty variable of a deployment, two addresses, a slip: before anything connects to it."""
    monkeypatch.setenv("QEXPLORER_SEARCH__URL", url)
    with pytest.raises(ConfigError, match=r"search\.url is wrong: .*it is no address such as"):
        load_settings()


@pytest.mark.parametrize("url", ["host", "host:9200", "http://[::1]:9200", "https://search.internal/behind/a/path"])
def test_an_address_may_be_short(url: str) -> None:
    """What the client takes for one is one."""
    assert load_settings(search={"url": url}).search.url == url


@pytest.mark.parametrize("flags", ["urgent,flagged", "urgent, flagged", '["urgent", "flagged"]'])
def test_topics_may_be_listed_in_the_environment(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    """With commas as in a file, or as JSON."""
    monkeypatch.setenv("QEXPLORER_KAFKA__TOPICS__FLAGS", flags)
    assert load_settings().kafka.topics.flags == ("urgent", "flagged")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("QEXPLORER_SEARCH_MAX_QPS", "Write it QEXPLORER_SEARCH__MAX_QPS", id="one underscore"),
        pytest.param("qexplorer_kafka_brokers", "Write it QEXPLORER_KAFKA__BROKERS", id="in small letters"),
        pytest.param("QEXPLORER_SERCH__MAX_QPS", "There are search, kafka, ", id="no such section"),
    ],
)
def test_a_slip_in_a_variable_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    """The default would hold instead, and a search be asked 200 times a second that may be asked 5 times."""
    monkeypatch.setenv(name, "5")
    with pytest.raises(ConfigError, match=f"{name.upper()} names no setting. {says}"):
        load_settings()


@pytest.mark.parametrize("name", ["QEXPLORER_WORKER_PORT", "QEXPLORER_WORKER_SERVICE_HOST", "QEXPLORER_CACHE"])
def test_what_others_set_is_no_slip(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Kubernetes tells each pod of the service `qexplorer-worker` by such variables."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:8080")
    assert load_settings() == load_settings()


def test_a_variable_of_another_form_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map is JSON there; what is none is a setting to mend, not a bug of ours."""
    monkeypatch.setenv("QEXPLORER_WORKER__EVENT_MAP", "a=b")
    with pytest.raises(ConfigError, match="worker"):
        load_settings()


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """One that was saved in another encoding, or a file without settings, which leaves the defaults."""
    config = tmp_path / "s.yaml"
    config.write_bytes("search: {user: café}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"s\.yaml is not UTF-8"):
        load_settings(config)
    config.write_text("# all as it is\n")
    assert load_settings(config).search.hits == load_settings().search.hits


def test_a_missing_file_is_named() -> None:
    """A settings file that does not exist is no reason to run with defaults."""
    with pytest.raises(ConfigError, match=r"/nowhere\.yaml does not exist"):
        load_settings(Path("/nowhere.yaml"))


def test_secrets_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither `repr` nor a wrong value's error shows a password."""
    monkeypatch.setenv("QEXPLORER_SEARCH__PASSWORD", "hunter2")
    monkeypatch.setenv("QEXPLORER_KAFKA__PASSWORD", "hunter2")
    assert "hunter2" not in repr(load_settings())
    monkeypatch.setenv("QEXPLORER_SEARCH__URL", "https://worker:hunter2@host")
    with pytest.raises(ConfigError, match="it holds a login") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("QEXPLORER_SEARCH__URL")
    config = tmp_path / "s.yaml"
    config.write_text('search:\n  password: "hunter2" x\n')
    with pytest.raises(ConfigError, match=r"is not YAML: .*, line 2") as caught:
        load_settings(config)
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("QEXPLORER_KAFKA__SECURITY", "hunter2")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
