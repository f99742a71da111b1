"""OpenSearch's security plugin: its jars beside OpenSearch's own, its settings, its users."""

import json
import re
import subprocess
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from qexplorer.errors import StackError
from qexplorer.stack.access import ADMIN, Access, write_private
from qexplorer.stack.certificates import NODE
from qexplorer.stack.java import java_environment, java_path
from qexplorer.stack.process import START_SECONDS

PLUGIN = "org.opensearch.security.OpenSearchSecurityPlugin"
_HASHER = "org.opensearch.security.tools.Hasher"
# The plugin's own first settings that are taken as they are; its demonstration users are not.
_TAKEN = ("config.yml", "action_groups.yml", "roles.yml", "tenants.yml", "nodes_dn.yml", "allowlist.yml", "audit.yml")
_VERSION = re.compile(r"-\d.*$")


class SecurityPlugin:
    """The plugin, unpacked into `folder` for an OpenSearch of these `jars`."""

    def __init__(self, archive: Path, jars: Iterable[Path], folder: Path, access: Access) -> None:
        self._folder = folder
        self._access = access
        with zipfile.ZipFile(archive) as content:
            content.extractall(folder)
        present = {_VERSION.sub("", jar.name) for jar in jars}
        # Those that OpenSearch does not bring in any version.
        self.jars = sorted(jar for jar in folder.glob("*.jar") if _VERSION.sub("", jar.name) not in present)
        class_path = [*jars, *self.jars]
        with ThreadPoolExecutor() as pool:
            hashes = pool.map(lambda password: _hashed(class_path, password), access.passwords().values())
            self._hashes = dict(zip(access.passwords(), hashes, strict=True))

    def settings(self) -> str:
        """Return the lines of opensearch.yml: TLS everywhere, nodes known by their certificate, logins asked for."""
        lines: dict[str, Any] = {
            "plugins.security.ssl.http.enabled": True,
            "plugins.security.nodes_dn": [NODE],
            "plugins.security.allow_default_init_securityindex": True,
            "plugins.security.restapi.roles_enabled": ["all_access"],
        }
        for layer in ("transport", "http"):
            prefix = f"plugins.security.ssl.{layer}"
            for store, alias in (("keystore", "node"), ("truststore", "ca")):
                lines[f"{prefix}.{store}_type"] = "PKCS12"
                lines[f"{prefix}.{store}_filepath"] = self._access.key_store.name
                lines[f"{prefix}.{store}_alias"] = alias
                lines[f"{prefix}.{store}_password"] = self._access.store.get_secret_value()
        return yaml.safe_dump(lines)

    def write(self, config: Path) -> None:
        """Put the key store, the users and the plugin's first settings into a node's `config` folder."""
        (config / self._access.key_store.name).write_bytes(self._access.key_store.read_bytes())
        (config / self._access.key_store.name).chmod(0o600)
        folder = config / "opensearch-security"
        folder.mkdir(exist_ok=True)
        for name in _TAKEN:
            (folder / name).write_bytes((self._folder / "config" / name).read_bytes())
        users = {
            user: {"hash": text, "backend_roles": ["admin"] if user == ADMIN else []}
            for user, text in self._hashes.items()
        }
        meta = {"type": "internalusers", "config_version": 2}
        write_private(folder / "internal_users.yml", yaml.safe_dump({"_meta": meta, **users}))
        mapping = {"_meta": {"type": "rolesmapping", "config_version": 2}, "all_access": {"backend_roles": ["admin"]}}
        (folder / "roles_mapping.yml").write_text(yaml.safe_dump(mapping), encoding="utf-8")


def _hashed(class_path: list[Path], password: SecretStr) -> str:
    """Return the bcrypt hash of a password, as the plugin's own tool makes it."""
    java = [str(java_path()), "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, class_path))]
    done = subprocess.run(  # noqa: S603 - our own argument list
        [*java, _HASHER, "-env", "PASSWORD"],
        env=java_environment() | {"PASSWORD": password.get_secret_value()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    found = re.search(r"^\$2[aby]\$\S+$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise StackError(f"A password cannot be hashed: {json.dumps(done.stderr[-300:])}", remedy="Start again")
    return found[0]
