import ssl
from pathlib import Path

from pydantic import SecretStr

from qexplorer.stack.certificates import issue, make_authority

PASSWORD = SecretStr("of-the-stores")


def test_an_authority_and_what_it_signs_are_private_files(tmp_path: Path) -> None:
    """The authority's certificate is one that Python trusts as such; keys are for their owner alone."""
    make_authority(tmp_path, PASSWORD)
    node = issue(tmp_path, "node", PASSWORD)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    (authority,) = context.get_ca_certs()
    assert authority["subject"] == ((("commonName", "QExplorer test authority"),),)
    assert context.cert_store_stats()["x509_ca"] == 1
    assert {path.stat().st_mode & 0o777 for path in (node, tmp_path / "authority.p12")} == {0o600}
