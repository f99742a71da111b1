"""The core without Kafka: what its models are asked."""

from qexplorer.llm.engine import EngineSettings
from qexplorer.llm.fake_openai import FakeOpenAIServer
from qexplorer.offline import Engines
from qexplorer.policies import Policy
from qexplorer.settings import ExploreSettings, Settings
from qexplorer.testing import WordTriage, a_flag


def test_a_model_is_told_of_known_flags() -> None:
    """Where its prompt wants that and there is a triage; the scripted one repeats the longest words that it sees."""
    settings = Settings(engines={"default": EngineSettings(kind="scripted")})
    policy = Policy(id="drugs", kinds=("drugs",), prompt="known")
    for triage, told in ((WordTriage(wanted=frozenset({"gummies", "cartridges"})), True), (None, False)):
        (reply,), _ = Engines(settings, triage).reply([(a_flag(), policy)])
        assert ("cartridges" in reply.generations[0].text) is told


def test_a_slow_model_costs_files_no_answer() -> None:
    """The worker's limit on a batch is not theirs: nobody waits behind them, and a busy machine is often slower."""
    with FakeOpenAIServer() as server:
        engine = EngineSettings(kind="openai", model="fake", base_url=server.base_url)
        settings = Settings(engines={"default": engine}, explore=ExploreSettings(generate_timeout_s=1e-6))
        (reply,), _ = Engines(settings, None).reply([(a_flag(), Policy(id="drugs", kinds=("drugs",)))])
    assert reply.generations
