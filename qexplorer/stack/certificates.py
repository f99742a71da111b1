"""Make a certificate authority and what it signs, with the keytool of the packaged Java."""

import os
import subprocess
from pathlib import Path

from pydantic import SecretStr

from qexplorer.errors import StackError
from qexplorer.stack.java import java_environment, java_path

NODE = "CN=qexplorer-node"
_DAYS = 3650
_SECONDS = 60
_KEY = ("-keyalg", "EC", "-groupname", "secp256r1", "-storetype", "PKCS12")


def make_authority(folder: Path, password: SecretStr) -> None:
    """Make an authority: `folder`/authority.p12 holds its key, `folder`/ca.pem its certificate."""
    signs = ("-ext", "bc:critical=ca:true", "-ext", "ku:critical=keyCertSign,cRLSign")
    store = _store(folder, "authority")
    name = ("-dname", "CN=QExplorer test authority", "-validity", str(_DAYS))
    _keytool(password, "-genkeypair", "-alias", "ca", *store, *_KEY, *name, *signs)
    _keytool(password, "-exportcert", "-rfc", "-alias", "ca", *store, "-file", str(folder / "ca.pem"))
    (folder / "authority.p12").chmod(0o600)


def issue(folder: Path, name: str, password: SecretStr, *, lasts_s: int | None = None) -> Path:
    """Return `folder`/`name`.p12: a key for 127.0.0.1 with a certificate of the authority, which it trusts.

    Without `lasts_s`, seconds from now, the certificate is valid for ten years.
    """
    path = folder / f"{name}.p12"
    authority = _store(folder, "authority")
    about = ("-dname", NODE, "-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "eku=serverAuth,clientAuth")
    # keytool counts validity in days, but a start to the second.
    time = ["-validity", str(_DAYS)] if lasts_s is None else ["-startdate", f"-1d+{lasts_s}S", "-validity", "1"]
    _keytool(password, "-genkeypair", "-alias", name, "-signer", "ca", *authority, *_KEY, *about, *time)
    given = (
        "-srckeystore",
        str(folder / "authority.p12"),
        "-srcstorepass:env",
        "STORE",
        "-srcalias",
        name,
        "-destalias",
        "node",
    )
    _keytool(password, "-importkeystore", *given, "-destkeystore", str(path), "-deststorepass:env", "STORE")
    trust = ("-alias", "ca", "-file", str(folder / "ca.pem"), "-noprompt")
    _keytool(password, "-importcert", *trust, *_store(folder, name))
    path.chmod(0o600)
    return path


def _store(folder: Path, name: str) -> tuple[str, ...]:
    # From the environment: a command line is for everybody to read.
    return ("-keystore", str(folder / f"{name}.p12"), "-storepass:env", "STORE")


def _keytool(password: SecretStr, *arguments: str) -> None:
    keytool = java_path().with_name("keytool")
    if not os.access(keytool, os.X_OK):
        raise StackError(f"The packaged Java has no keytool ({keytool})", remedy="Run the stack without users")
    done = subprocess.run(  # noqa: S603 - our own argument list
        [str(keytool), "-J-XX:TieredStopAtLevel=1", *arguments],
        env=java_environment() | {"STORE": password.get_secret_value()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise StackError(f"keytool {arguments[0]} failed: {done.stdout.strip()}", remedy="Check the data folder")
