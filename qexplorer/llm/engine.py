"""The seam to the language model: prompts in, replies out.

An engine is synchronous; its host runs it in a thread or a process of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

GenerationSource = Literal["greedy", "sample", "beam"]
NOBODY_WAITS_S = 3600.0
"""The deadline of what runs beside no queue: what the busiest machine needs for a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """An instruction, examples, and a fenced, redacted listing.

    `instruction` and `examples` (pairs of a fenced listing and its reply) are the same for all prompts of a
    template, kind and locale, so that an engine can compute them once. `listing` is three lines: the opening
    fence, the listing, the closing fence; an engine cuts the middle line to `max_listing_tokens` of its tokens.
    """

    instruction: str
    listing: str
    max_listing_tokens: int
    examples: tuple[tuple[str, str], ...] = ()

    def parts(self) -> tuple[str, str, str]:
        """Return what stands before, in and after the line that may be cut; joined they are `listing`."""
        lines = self.listing.split("\n")
        if len(lines) != 3:
            return "", self.listing, ""
        return f"{lines[0]}\n", lines[1], f"\n{lines[2]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Which generations to make of each prompt: the greedy one, `samples` drawn ones, the best of `beams` beams."""

    greedy: bool = True
    samples: int = 0
    beams: int = 0
    temperature: float = 1.0
    top_p: float = 0.95
    max_new_tokens: int = 48
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generated text.

    `logprobs` holds the natural log-probability of each token under the model at temperature 1, the end token
    included; it is empty where a server gives none. `finished` is false when the text was cut off.
    """

    text: str
    source: GenerationSource
    logprobs: tuple[float, ...] = ()
    finished: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """All generations of one prompt, in the order greedy, samples, beams; or the error that this prompt met."""

    generations: tuple[Generation, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineVersion:
    """What answers: the model and the adapter, each as `name@hash`; the adapter is empty where there is none.

    `dtype` is the number format where the engine knows it: other formats write other replies. `server` is where a
    served model is, which its name alone does not tell.
    """

    model: str
    adapter: str = ""
    dtype: str = ""
    server: str = ""


class Engine(Protocol):
    """A language model that answers prompts."""

    @property
    def version(self) -> EngineVersion:
        """Name the model and the adapter."""
        ...

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, deadline_s: float) -> list[Reply]:
        """Return one reply for each prompt, in the same order.

        A prompt that alone breaks the model gets a reply with `error` set.
        Raises ModelUnavailableError when the engine as a whole does not answer, or not within `deadline_s`.
        """
        ...


class EngineSettings(BaseModel):
    """Which engine to open, and how it may use the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Literal["transformers", "openai", "scripted"] = "transformers"
    model: str = "packaged"
    """A path, a hub id, "packaged", or the name of the model on the server."""
    adapter: str = ""
    base_url: str = ""
    api_key: SecretStr = SecretStr("")
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    concurrency: Annotated[int, Field(ge=1)] = 8
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 16


def leaves_machine(engine: EngineSettings) -> bool:
    """Whether the engine sends a listing's text to another machine."""
    host = urlsplit(engine.base_url).hostname
    return engine.kind == "openai" and host not in {"127.0.0.1", "localhost", "::1"}


def chat_messages(prompt: Prompt) -> list[dict[str, str]]:
    """Return the chat that every engine, and training, makes of a prompt: examples are earlier turns."""
    turns = [("system", prompt.instruction)]
    for listing, reply in prompt.examples:
        turns += [("user", listing), ("assistant", reply)]
    turns.append(("user", prompt.listing))
    return [{"role": role, "content": content} for role, content in turns]
