"""Run the real Kafka and the real OpenSearch as child processes, from packages alone."""

from qexplorer.stack.node import Node
from qexplorer.stack.opensearch import NEWEST, OpenSearchVersion
from qexplorer.stack.running import Endpoints, running

__all__ = ["NEWEST", "Endpoints", "Node", "OpenSearchVersion", "running"]
