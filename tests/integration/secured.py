"""A stack with TLS and users on which the worker has the rights of k8s/access and no other ones."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.admin import CreateAclsRequest

from qexplorer.search.backend import WriteMode
from qexplorer.search.client import OpenSearchClient
from qexplorer.search.load import document
from qexplorer.search.mapping import listings_body
from qexplorer.settings import SearchSettings, Topics
from qexplorer.stack import Endpoints
from qexplorer.stack.access import ADMIN, WORKER, Access
from qexplorer.testing import a_listing
from tests.integration.site import FLAGS

RIGHTS = Path(__file__).parents[2] / "k8s" / "access"
INDEX, OTHER, READ_ONLY = "listings", "somebody-elses", "only-to-look-at"
# Numbers of Kafka's protocol.
RESOURCES = {"topic": 2, "group": 3, "cluster": 4, "transactionalId": 5}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {"All": 2, "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8}
ALLOW = 3


class SecuredSite:
    """Topics, an index and the worker's rights; `settings` hold no password, which comes by the environment."""

    def __init__(self, endpoints: Endpoints, folder: Path) -> None:
        assert endpoints.access is not None
        self.endpoints, self.folder = endpoints, folder
        self.access: Access = endpoints.access
        policy = {"id": "drugs", "kinds": ["drugs"], "index": INDEX, "candidates": 0, "max_flag_age": "P9999D"}
        self.policies = folder / "policies.yaml"
        self.policies.write_text(yaml.safe_dump({"version": 1, "policies": [policy]}))
        self.settings: dict[str, Any] = yaml.safe_load(self.access.settings_file(WORKER).read_text()) | {
            "worker": {"batch_size": 4, "batch_wait_s": 0.2},
            "engines": {"default": {"kind": "scripted"}},
            "policies": str(self.policies),
        }
        self.told: list[str] = []
        del self.settings["kafka"]["password"], self.settings["search"]["password"]

    def environment(self) -> dict[str, str]:
        """Return the passwords as a Secret gives them to the worker."""
        password = self.access.worker.get_secret_value()
        return {"QEXPLORER_KAFKA__PASSWORD": password, "QEXPLORER_SEARCH__PASSWORD": password}

    def leaks(self) -> list[str]:
        """Return where a password stands: in what was printed, in logs of the engines, in files of the worker."""
        secrets = [self.access.admin, self.access.worker, self.access.store]
        words = [word.get_secret_value() for word in secrets]
        words += [
            header.partition(" ")[2] for user in (ADMIN, WORKER) for header in self.access.http_header(user).values()
        ]
        files = [*self.endpoints.data.rglob("*.log"), *filter(Path.is_file, self.folder.rglob("*"))]
        texts = [(str(path), path.read_text("utf-8", "replace")) for path in files]
        texts += [(f"told {number}", text) for number, text in enumerate(self.told)]
        return [where for where, text in texts if any(word in text for word in words)]

    def search(self, user: str) -> OpenSearchClient:
        """Return a client that is logged in."""
        read = yaml.safe_load(self.access.settings_file(user).read_text())["search"]
        return OpenSearchClient(SearchSettings(**read))

    async def prepare(self) -> None:
        """Create what the platform brings, then give the worker its rights."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.endpoints.kafka, **self.access.kafka_client(ADMIN))
        await admin.start()
        try:
            topics = Topics()
            names = [*topics.flags, topics.suspects, topics.audit, topics.dead_letters, topics.control]
            await admin.create_topics([NewTopic(name, 1, 1) for name in [*names, OTHER, READ_ONLY]])
            for request in [*acls(RIGHTS / "kafka-user.yaml", WORKER), _right("topic", READ_ONLY, "Describe")]:
                answer = await admin._send_request(request)
                assert [code for code, _message in answer.creation_responses] == [0]
        finally:
            await admin.close()
        async with self.search(ADMIN) as client:
            await self._fill(client)
            roles = yaml.safe_load((RIGHTS / "opensearch-role.yml").read_text())
            (name,) = roles.keys() - {"_meta"}
            await client.request("PUT", f"/_plugins/_security/api/roles/{name}", roles[name])
            await client.request("PUT", f"/_plugins/_security/api/rolesmapping/{name}", {"users": [WORKER]})

    async def _fill(self, client: OpenSearchClient) -> None:
        for index in (INDEX, OTHER):
            await client.ensure_index(index, listings_body())
        rows = [a_listing(f"sib{n}", f"zaza{n}x lean{n}x fresh", updated_at=datetime.now(UTC)) for n in range(FLAGS)]
        await client.write(INDEX, [document(row, b"") for row in rows], WriteMode.REPLACE)
        await client.request("POST", f"/{INDEX}/_refresh")


def acls(path: Path, user: str) -> list[CreateAclsRequest]:
    """Return the rights of a KafkaUser of Strimzi as requests to Kafka, as Strimzi's operator makes them."""
    rules = yaml.safe_load(path.read_text())["spec"]["authorization"]["acls"]
    return [
        _right(**rule["resource"], operation=operation, user=user, host=rule.get("host", "*"))
        for rule in rules
        for operation in rule["operations"]
    ]


def _right(
    type: str,  # noqa: A002 - as Strimzi names it
    name: str,
    operation: str,
    user: str = WORKER,
    patternType: str = "literal",  # noqa: N803 - likewise
    host: str = "*",
) -> CreateAclsRequest:
    return CreateAclsRequest(
        RESOURCES[type], name, PATTERNS[patternType], f"User:{user}", host, OPERATIONS[operation], ALLOW
    )
