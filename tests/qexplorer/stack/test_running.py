import http.client
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from qexplorer.errors import StackError, StorageError
from qexplorer.stack import Endpoints, running

pytestmark = pytest.mark.engines

# Runs the stack, says so, and waits to be killed.
OWNER = """
import sys
import tempfile
from qexplorer.stack import running
with running() as endpoints:
    print("up", flush=True)
    sys.stdin.read()
"""


async def topics(address: str, *, create: str | None = None) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        if create:
            await admin.create_topics([NewTopic(create, num_partitions=1, replication_factor=1)])
        return list(await admin.list_topics())
    finally:
        await admin.close()


async def test_the_engines_die_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL to the process that runs the stack ends both engines and their guards."""
    with subprocess.Popen(  # noqa: ASYNC220, S603 - nothing else runs in this loop; our own argument list
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"TMPDIR": str(tmp_path)},  # nobody is left to throw the folder away
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        family = psutil.Process(owner.pid).children(recursive=True)
        assert [process.name() for process in family].count("java") == 2
        owner.kill()
        assert psutil.wait_procs(family, timeout=60)[1] == []


def put_and_count(address: str, path: str | None, index: str) -> int:
    """Index a document at `path`, where one is given, and return how many `index` holds."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    if path:
        connection.request("PUT", path, json.dumps({"a": 1}), {"Content-Type": "application/json"})
        connection.getresponse().read()
    connection.request("POST", f"/{index}/_refresh")
    connection.getresponse().read()
    connection.request("GET", f"/{index}/_count")
    count: int = json.loads(connection.getresponse().read())["count"]
    connection.close()
    return count


async def test_data_in_a_folder_of_the_users_are_kept(tmp_path: Path) -> None:
    """A topic and a document of one run are there in the next one on the same folder."""
    with running(data=tmp_path) as endpoints:
        assert endpoints.kafka is not None
        assert endpoints.opensearch is not None
        await topics(endpoints.kafka, create="kept")
        assert put_and_count(endpoints.opensearch, "/kept/_doc/1", "kept") == 1
    with running(data=tmp_path) as endpoints:
        assert endpoints.kafka is not None
        assert endpoints.opensearch is not None
        assert "kept" in await topics(endpoints.kafka)
        assert put_and_count(endpoints.opensearch, None, "kept") == 1


def test_data_without_a_folder_are_thrown_away() -> None:
    """The temporary folder is gone after the run, logs included."""
    with running(opensearch=False) as endpoints:
        assert (endpoints.data / "kafka" / "meta.properties").exists()
        assert (endpoints.logs / "kafka.log").stat().st_size > 0
    assert not endpoints.data.exists()


async def test_two_stacks_side_by_side(engines: Endpoints) -> None:
    """A second stack gets ports of its own, and the first one does not see its topics."""
    told: list[str] = []
    with running(on_progress=told.append) as second:
        assert engines.kafka is not None
        assert second.kafka is not None
        assert second.kafka != engines.kafka
        assert second.opensearch != engines.opensearch
        assert second.data != engines.data
        assert "second" in await topics(second.kafka, create="second")
        assert "second" not in await topics(engines.kafka)
    assert any(text.startswith("starting Kafka 4.") for text in told)
    assert any(text.startswith("OpenSearch is ") for text in told)


def test_an_engine_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heap that Java refuses is a StackError with Java's own words and a log that is still there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(StackError, match="Too small maximum heap") as caught,
        running(kafka=False, opensearch_heap_mb=1),
    ):
        pass
    assert Path(caught.value.remedy.removeprefix("Read ")).exists()


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the place of the data folder is a StorageError that names it."""
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageError, match="data"), running(data=tmp_path / "data"):
        pass
