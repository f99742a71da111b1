from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from qexplorer.errors import StackError
from qexplorer.settings import Settings
from qexplorer.stack.access import ADMIN, WORKER, Access, make_access, read_access, scram


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Access:
    return make_access(tmp_path_factory.mktemp("data") / "access")


def test_an_access_is_made_once(access: Access) -> None:
    """A second start on the same data finds the same passwords and certificates."""
    before = access.ca_file.read_bytes()
    again = make_access(access.folder)
    assert again == access == read_access(access.folder)
    assert access.ca_file.read_bytes() == before
    assert len({password.get_secret_value() for password in access.passwords().values()}) == 2


def test_settings_files_log_in(access: Access) -> None:
    """Each user's file is what `--config` takes, and nobody else can read it."""
    access.write_settings("127.0.0.1:1", "https://127.0.0.1:2")
    for user in (ADMIN, WORKER):
        path = access.settings_file(user)
        assert path.stat().st_mode & 0o777 == 0o600
        settings = Settings(**yaml.safe_load(path.read_text()))
        assert (settings.kafka.user, settings.search.user) == (user, user)
        assert settings.kafka.password == settings.search.password == access.passwords()[user]
        assert settings.kafka.security == "SASL_SSL"
        assert settings.search.url == "https://127.0.0.1:2"
    assert access.folder.stat().st_mode & 0o777 == 0o700


def test_no_secret_is_shown(access: Access) -> None:
    """Neither the value's own text nor what Kafka's tool is given on its command line has a password in it."""
    secrets = [secret.get_secret_value() for secret in (access.admin, access.worker, access.store)]
    shown = repr(access) + str(access) + "".join(scram(user, secret) for user, secret in access.passwords().items())
    assert not [secret for secret in secrets if secret in shown]


def test_a_scram_user_is_salted_anew_each_time() -> None:
    """The same password gives another salted one, for the salt is random."""
    assert scram("u", SecretStr("p")) != scram("u", SecretStr("p"))
    assert scram("u", SecretStr("p")).startswith("SCRAM-SHA-512=[name=u,salt=")


def test_a_spoilt_file_is_named(tmp_path: Path) -> None:
    """Secrets that cannot be read name their file."""
    (tmp_path / "secrets.json").write_text("{}")
    with pytest.raises(StackError, match=r"secrets\.json"):
        read_access(tmp_path)
