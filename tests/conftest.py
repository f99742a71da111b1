"""The real engines, started once for all the tests that ask for them."""

from collections.abc import Iterator

import pytest

from qexplorer.stack import Endpoints, OpenSearchVersion, running

ENGINE_FIXTURES = {"engines", "opensearch_219"}


@pytest.hookimpl(tryfirst=True)  # before pytest itself looks at the markers for -m
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the engines, so that none is left out of `-m "not engines"`."""
    for item in items:
        if ENGINE_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.engines)


@pytest.fixture(scope="session")
def engines() -> Iterator[Endpoints]:
    """Run Kafka and the newest OpenSearch; tests share them, so each uses names of its own."""
    with running() as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def opensearch_219() -> Iterator[Endpoints]:
    """Run OpenSearch 2.19, the oldest version that is supported."""
    with running(kafka=False, opensearch_version=OpenSearchVersion.V2_19) as endpoints:
        yield endpoints
