"""What a stack with TLS and users is reached with: an authority, passwords, and a settings file for each user."""

import base64
import hashlib
import json
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from qexplorer.errors import StackError
from qexplorer.stack.certificates import issue, make_authority

# May do everything; the engines use it among themselves.
ADMIN = "admin"
# May do nothing until it is given rights.
WORKER = "qexplorer-worker"
MECHANISM = "SCRAM-SHA-512"
_ITERATIONS = 4096  # the least that Kafka takes; the passwords are random and long
_FILE = "secrets.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The certificates and passwords of one stack, in a folder that only its owner can read."""

    folder: Path
    admin: SecretStr
    worker: SecretStr
    store: SecretStr  # of the key stores

    @property
    def ca_file(self) -> Path:
        """Return the certificate of the authority, as PEM."""
        return self.folder / "ca.pem"

    @property
    def key_store(self) -> Path:
        """Return the nodes' key and certificate, and the authority they trust, as PKCS#12."""
        return self.folder / "node.p12"

    def passwords(self) -> dict[str, SecretStr]:
        """Return user → password, the same for both engines."""
        return {ADMIN: self.admin, WORKER: self.worker}

    def settings_file(self, user: str) -> Path:
        """Return the settings file with which `user` reaches both engines."""
        return self.folder / f"{user}.yaml"

    def kafka_client(self, user: str = ADMIN) -> dict[str, Any]:
        """Return the options of an aiokafka client."""
        return {
            "security_protocol": "SASL_SSL",
            "ssl_context": self.tls(),
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": user,
            "sasl_plain_password": self.passwords()[user].get_secret_value(),
        }

    def tls(self) -> ssl.SSLContext:
        """Return a context that trusts this stack's authority alone."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def http_header(self, user: str = ADMIN) -> dict[str, str]:
        """Return the header of a login by HTTP."""
        login = f"{user}:{self.passwords()[user].get_secret_value()}"
        return {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}

    def write_settings(self, kafka: str | None, opensearch: str | None) -> None:
        """Write a settings file for each user, readable by its owner alone."""
        for user, password in self.passwords().items():
            login = {"user": user, "password": password.get_secret_value(), "ca_file": str(self.ca_file)}
            settings: dict[str, Any] = {}
            if kafka:
                settings["kafka"] = {
                    "brokers": kafka,
                    "security": "SASL_SSL",
                    "sasl_mechanism": MECHANISM,
                    **login,
                }
            if opensearch:
                settings["search"] = {"url": opensearch, **login}
            write_private(self.settings_file(user), yaml.safe_dump(settings, sort_keys=False))


def make_access(folder: Path) -> Access:
    """Return the access of the stack whose data lie beside `folder`, made anew where there is none yet."""
    path = folder / _FILE
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = {name: secrets.token_urlsafe(24) for name in ("admin", "worker", "store")}
        store = SecretStr(made["store"])
        for old in folder.glob("*.p12"):  # of a start that was cut off
            old.unlink()
        make_authority(folder, store)
        issue(folder, "node", store)
        write_private(path, json.dumps(made))
    return read_access(folder)


def read_access(folder: Path) -> Access:
    """Return the access in `folder`; raises StackError where it cannot be read."""
    path = folder / _FILE
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Access(folder=folder, **{name: SecretStr(kept[name]) for name in ("admin", "worker", "store")})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(f"{path} cannot be read", remedy="Choose another data folder") from error


def scram(user: str, password: SecretStr) -> str:
    """Return a user for `kafka-storage format --add-scram`, with the salted password (RFC 5802) for the password."""
    salt = secrets.token_bytes(24)
    salted = hashlib.pbkdf2_hmac("sha512", password.get_secret_value().encode(), salt, _ITERATIONS)
    fields = {
        "name": user,
        "salt": f'"{base64.b64encode(salt).decode()}"',
        "saltedpassword": f'"{base64.b64encode(salted).decode()}"',
        "iterations": str(_ITERATIONS),
    }
    return f"{MECHANISM}=[{','.join(f'{name}={value}' for name, value in fields.items())}]"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600, exist_ok=True)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")
