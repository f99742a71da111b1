"""A language model behind an OpenAI-compatible server: vLLM, SGLang, llama.cpp and the like."""

import math
import re
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from qexplorer.errors import AccessError, ModelError, ModelUnavailableError
from qexplorer.llm.engine import (
    EngineSettings,
    EngineVersion,
    Generation,
    GenerationSource,
    Prompt,
    Reply,
    Sampling,
    chat_messages,
    leaves_machine,
)

if TYPE_CHECKING:
    from openai import APIStatusError

_TRIES = 3
_FIRST_PAUSE_S = 0.25
# A cut by characters that no tokenizer is needed for; Latin text has about four a token.
_CHARS_PER_TOKEN = 4
# What servers say that give one choice a request.
_ONE_CHOICE = re.compile(
    r"one (?:completion )?choice|n_choices|\bn\b[^a-z]{0,9}(?:must|should|>|greater|is not supported)", re.IGNORECASE
)


class OpenAIEngine:
    """Answers prompts by chat completions, several at once.

    A busy or failing server (429, 5xx, no connection) is tried three times within the deadline. Beams are not
    part of the protocol: asked for, they come as samples. Close it when done.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        from openai import DefaultHttpxClient, OpenAI

        _check(settings)
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._asks_logprobs = True
        self._asks_many = True
        self._client = OpenAI(
            base_url=settings.base_url,
            api_key=settings.api_key.get_secret_value() or "none",
            timeout=settings.timeout_s,
            max_retries=0,
            # A proxy of the environment is another machine, to which text for a server on this one must not go.
            http_client=DefaultHttpxClient(trust_env=leaves_machine(settings)),
        )
        # As the library does with a client of its own: a command opens an engine and ends.
        weakref.finalize(self, self._client.close)

    @property
    def version(self) -> EngineVersion:
        """Name the model as the server does, and the server; a served adapter is a model of its own."""
        # What stands before an @ is a login, which goes into no record.
        server = self._settings.base_url.rpartition("@")[2]
        return EngineVersion(model=self._settings.model, server=server)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, *, deadline_s: float) -> list[Reply]:
        """Return one reply for each prompt, in the same order.

        Raises ModelUnavailableError when the server does not answer in time, AccessError when it refuses the key,
        ModelError when it does not know the model.
        """
        end = self._clock() + deadline_s
        self._left(end)
        pool = ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="openai-engine")
        try:
            futures = [pool.submit(self._answer, prompt, sampling, end) for prompt in prompts]
            self._await(futures, end)
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _await(self, futures: Sequence[Future[Reply]], end: float) -> None:
        """Wait for all, or for the first error, or for the deadline."""
        done, missing = wait(futures, timeout=min(self._left(end), 1e6), return_when=FIRST_EXCEPTION)
        for future in done:
            if error := future.exception():
                raise error
        if missing:
            raise self._unavailable(f"left {len(missing)} of {len(futures)} prompts unanswered at the deadline")

    def _answer(self, prompt: Prompt, sampling: Sampling, end: float) -> Reply:
        from openai import APIStatusError

        drawn = sampling.samples + sampling.beams
        try:
            asked = [*self._ask(prompt, sampling, end, samples=0)] if sampling.greedy else []
            number = 0
            while number < drawn:
                # Some servers give one choice whatever number is asked for.
                completions = self._ask(prompt, sampling, end, samples=drawn - number, first=number)
                asked += completions
                number += sum(len(completion.choices) for completion in completions)
            return _reply(asked, sampling)
        except APIStatusError as error:
            return Reply(error=f"The server answered {error.status_code}: {error.message[:200]}")
        except _NoChoiceError as error:
            return Reply(error=str(error))
        # The client checks no form: a part of another one is met where it is read.
        except (AttributeError, TypeError) as error:
            return Reply(error=f"The server's answer is of another form: {error}"[:200])

    def _ask(self, prompt: Prompt, sampling: Sampling, end: float, *, samples: int, first: int = 0) -> list[Any]:
        """Return the completion of one request as a list of one; `samples` 0 asks for the greedy answer."""
        before, body, after = prompt.parts()
        cut = f"{before}{body[: prompt.max_listing_tokens * _CHARS_PER_TOKEN]}{after}"
        messages = chat_messages(prompt)
        messages[-1]["content"] = cut
        request: dict[str, Any] = {
            "model": self._settings.model,
            "messages": messages,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature if samples else 0.0,
            "top_p": sampling.top_p if samples else 1.0,
            "seed": sampling.seed + first,
            "n": max(samples, 1),
        }
        completion = self._send(request, end)
        if not getattr(completion, "choices", None):
            raise _NoChoiceError("The server answered without a choice")
        return [completion]

    def _send(self, request: dict[str, Any], end: float) -> Any:
        """Send a request, again where that may help. Raises the server's error where the prompt is to blame."""
        from openai import APIConnectionError, APIError, APIStatusError

        for attempt in range(1, _TRIES + 1):
            try:
                return self._send_once(request, min(self._left(end), self._settings.timeout_s))
            except APIConnectionError as error:  # also a time-out
                cause: Exception = error
                pause, problem = _FIRST_PAUSE_S * 2**attempt, f"does not answer ({type(error).__name__})"
            except APIStatusError as error:
                self._raise_if_final(error)
                cause = error
                pause, problem = _retry_after(error, _FIRST_PAUSE_S * 2**attempt), f"answers {error.status_code}"
            except (APIError, ValueError) as error:
                raise _NoChoiceError(f"The server's answer cannot be read ({type(error).__name__})") from error
            if attempt == _TRIES or pause >= self._left(end):
                raise self._unavailable(problem) from cause
            self._sleep(pause)
        raise AssertionError

    def _send_once(self, request: dict[str, Any], timeout_s: float) -> Any:
        from openai import BadRequestError, InternalServerError, UnprocessableEntityError

        create = self._client.chat.completions.create
        if not self._asks_many:
            request = {**request, "n": 1}
        if self._asks_logprobs:
            try:
                return create(**request, logprobs=True, timeout=timeout_s)
            except (BadRequestError, UnprocessableEntityError) as error:
                if "logprob" not in str(error).lower():
                    return self._one_by_one(error, request, timeout_s)
                self._asks_logprobs = False
            except InternalServerError as error:
                return self._one_by_one(error, request, timeout_s)
        try:
            return create(**request, timeout=timeout_s)
        except (BadRequestError, UnprocessableEntityError, InternalServerError) as error:
            return self._one_by_one(error, request, timeout_s)

    def _one_by_one(self, error: "APIStatusError", request: dict[str, Any], timeout_s: float) -> Any:
        """Ask for one choice where the server gives no more, as llama.cpp's does not; else raise its error."""
        if request["n"] == 1 or not _ONE_CHOICE.search(str(error)):
            raise error
        self._asks_many = False
        return self._send_once(request, timeout_s)

    def _raise_if_final(self, error: "APIStatusError") -> None:
        status = error.status_code
        if status in {401, 403}:
            raise AccessError(
                f"The model server at {self._settings.base_url} refused the key ({status})", remedy="Set api_key"
            ) from error
        if status == 404:
            raise ModelError(
                f"The model server at {self._settings.base_url} does not know {self._settings.model!r}",
                remedy="Use a name from its /models; check that base_url ends where the server's API begins (/v1)",
            ) from error
        if status not in {408, 409, 429} and status < 500:
            raise error

    def _left(self, end: float) -> float:
        """Return the seconds left. Raises ModelUnavailableError when there are none."""
        left = end - self._clock()
        if left <= 0:
            raise self._unavailable("did not answer within the deadline")
        return left

    def _unavailable(self, problem: str) -> ModelUnavailableError:
        return ModelUnavailableError(
            f"The model server at {self._settings.base_url} {problem}",
            remedy="Check that it runs, or give it more time",
        )


class _NoChoiceError(Exception):
    """An answer with nothing in it."""


def _check(settings: EngineSettings) -> None:
    if not settings.base_url:
        raise ModelError(
            "An openai engine needs a base_url", remedy="Set it to the server's, such as http://host:8000/v1"
        )
    if settings.model == "packaged":
        raise ModelError("An openai engine has no packaged model", remedy="Set model to a name that the server knows")
    if settings.adapter:
        raise ModelError(
            "An openai engine takes no adapter path", remedy="Serve the adapter, and set model to its name"
        )


def _retry_after(error: "APIStatusError", default_s: float) -> float:
    try:
        pause = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return default_s
    return max(pause, 0.0) if math.isfinite(pause) else default_s


def _reply(completions: Sequence[Any], sampling: Sampling) -> Reply:
    choices = [choice for completion in completions for choice in completion.choices]
    sources: list[GenerationSource] = ["greedy"] if sampling.greedy else []
    sources += ["sample"] * (sampling.samples + sampling.beams)
    usages = [completion.usage for completion in completions if completion.usage]
    return Reply(
        generations=tuple(_generation(choice, source) for choice, source in zip(choices, sources, strict=False)),
        prompt_tokens=usages[0].prompt_tokens or 0 if usages else 0,
        completion_tokens=sum(usage.completion_tokens or 0 for usage in usages),
    )


def _generation(choice: Any, source: GenerationSource) -> Generation:
    """Read one choice; queries that stand one a line are joined by semicolons."""
    said = (choice.message.content or "") if choice.message else ""
    if not isinstance(said, str):
        said = "".join(part.get("text") or "" for part in said if isinstance(part, dict))
    lines = [line.strip() for line in said.splitlines()]
    logprobs = [token.logprob for token in (choice.logprobs.content or ())] if choice.logprobs else []
    # Of some tokens alone they say nothing of the whole.
    whole = all(isinstance(each, (int, float)) and math.isfinite(each) for each in logprobs)
    return Generation(
        text="; ".join(line for line in lines if line),
        source=source,
        logprobs=tuple(min(each, 0.0) for each in logprobs) if whole else (),
        finished=choice.finish_reason != "length",
    )
