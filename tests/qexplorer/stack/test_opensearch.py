import socket
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from qexplorer.stack import Endpoints, OpenSearchVersion
from qexplorer.stack.opensearch import _is_ready, first_port, get_json
from qexplorer.stack.process import Start


def port_of(endpoints: Endpoints) -> int:
    assert endpoints.opensearch is not None
    return int(endpoints.opensearch.rpartition(":")[2])


def get(endpoints: Endpoints, path: str) -> dict[str, Any]:
    answer = get_json(port_of(endpoints), path)
    assert answer is not None
    return answer


def test_the_newest_version_serves(engines: Endpoints) -> None:
    """The newest OpenSearch answers with its version, healthy, under a name of this start alone."""
    root = get(engines, "/")
    assert root["version"]["number"].startswith(OpenSearchVersion.V3_5 + ".")
    assert root["cluster_name"].startswith("qexplorer-")
    assert get(engines, "/_cluster/health")["status"] in {"green", "yellow"}


def test_the_oldest_version_serves(opensearch_219: Endpoints) -> None:
    """OpenSearch 2.19 answers with its version, and no Kafka runs beside it."""
    assert get(opensearch_219, "/")["version"]["number"].startswith(OpenSearchVersion.V2_19 + ".")
    assert opensearch_219.kafka is None


def test_only_this_machine_reaches_it(engines: Endpoints) -> None:
    """HTTP and transport are bound to the loopback address and to no other one."""
    (node,) = get(engines, "/_nodes/_local/http,transport")["nodes"].values()
    bound = node["http"]["bound_address"] + node["transport"]["bound_address"]
    assert {address.rpartition(":")[0] for address in bound} == {"127.0.0.1"}


def test_another_nodes_answer_is_not_taken_for_ours(engines: Endpoints, tmp_path: Path) -> None:
    """A healthy node under another cluster name, on the port that ours named, is not our node."""
    start = Start(data=tmp_path, logs=tmp_path, on_progress=lambda _text: None, cancelled=Event())
    theirs = get(engines, "/")["cluster_name"]
    assert _is_ready(port_of(engines), theirs, start, set())
    assert not _is_ready(port_of(engines), "qexplorer-ours", start, set())
    assert not _is_ready(port_of(engines), theirs, start, set(), nodes=2)


def test_stacks_begin_at_ports_of_their_own(tmp_path: Path) -> None:
    """Folders are spread over the ports, each at the same one every time; a try after a taken port goes elsewhere."""
    folders = [tmp_path / str(number) for number in range(50)]
    begins = [first_port(folder, attempt=0, nodes=2) for folder in folders]
    assert begins == [first_port(folder, attempt=0, nodes=2) for folder in folders]
    assert len(set(begins)) > 20
    assert [first_port(folder, attempt=1, nodes=2) for folder in folders] != begins
    # The runner counts up to 9299, and the second node begins ten further on.
    assert all(9200 <= begin <= 9280 for begin in begins)


def test_a_node_comes_back_to_its_port(opensearch_219: Endpoints) -> None:
    """A node that is started again begins with its own port, whichever lower ones have become free."""
    (node,) = opensearch_219.search_nodes
    begins = int(node.command[node.command.index("-baseHttpPort") + 1])
    assert begins + 1 == port_of(opensearch_219)


def test_no_server_is_none() -> None:
    """A port where nobody listens gives None rather than an error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert get_json(port, "/") is None


@pytest.mark.parametrize("body", [b"not json", b"[1]", b""])
def test_another_kind_of_server_is_none(body: bytes) -> None:
    """A server that answers something else than a JSON object gives None."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        assert get_json(server.server_port, "/") is None
        thread.join()
