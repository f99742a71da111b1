"""The core without Kafka: what its models are asked."""

from qexplorer.llm.engine import EngineSettings
from qexplorer.offline import Engines
from qexplorer.policies import Policy
from qexplorer.settings import Settings
from qexplorer.testing import WordTriage, a_flag


def test_a_model_is_told_of_known_flags() -> None:
    """Where its prompt wants that and there is a triage; the scripted one repeats the longest words that it sees."""
    settings = Settings(engines={"default": EngineSettings(kind="scripted")})
    policy = Policy(id="drugs", kinds=("drugs",), prompt="known")
    for triage, told in ((WordTriage(wanted=frozenset({"gummies", "cartridges"})), True), (None, False)):
        (reply,), _ = Engines(settings, triage).reply([(a_flag(), policy)])
        assert ("cartridges" in reply.generations[0].text) is told
