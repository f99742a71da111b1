"""A small server that speaks the chat completions protocol, and misbehaves on demand. For tests and dry runs."""

import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

Misbehaviour = Literal["drop", "hang", "garbage", "empty"] | int
"""Close the connection, never answer, answer no JSON, answer no choice, or answer that status."""


def echo_words(messages: Sequence[dict[str, str]], seed: int) -> str:
    """Answer with words of the last message, another one for each seed."""
    words = messages[-1]["content"].split()
    return f"{words[seed % len(words)]} {words[-1]}; {words[0]}".replace("<", "").replace(">", "")


class FakeOpenAIServer:
    """Listens on a free local port while it is entered; `requests` holds the body of each request.

    `answer` makes the text of a choice from the messages and the choice's seed. With `one_choice` the server
    ignores how many were asked for, with `refuses_many` it fails where that is more; without `logprobs` it refuses
    requests that ask for them. `alter` changes an answer before it is sent.
    """

    def __init__(
        self,
        *,
        answer: Callable[[Sequence[dict[str, str]], int], str] = echo_words,
        model: str = "fake",
        one_choice: bool = False,
        refuses_many: bool = False,
        logprobs: bool = True,
        alter: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._answer = answer
        self._model = model
        self._one_choice = one_choice
        self._refuses_many = refuses_many
        self._alter = alter
        self._logprobs = logprobs
        self._misbehaviours: deque[tuple[Misbehaviour, dict[str, str]]] = deque()
        self._lock = threading.Lock()
        self._at_once = 0
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def base_url(self) -> str:
        """Return what a client is given."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def misbehave(self, *how: Misbehaviour, headers: dict[str, str] | None = None) -> None:
        """Treat the next requests so, one each; the headers go with a status."""
        self._misbehaviours.extend((each, headers or {}) for each in how)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def respond(self, body: dict[str, Any]) -> tuple[int, bytes | None, dict[str, str]]:
        """Return status, body (None drops the connection) and headers for a request."""
        with self._lock:
            self.requests.append(body)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            how, headers = self._misbehaviours.popleft() if self._misbehaviours else (None, {})
        try:
            if how == "hang":
                self._closing.wait()
            if how in {"hang", "drop"}:
                return 0, None, {}
            if how == "garbage":
                return 200, b"<html>", {}
            if isinstance(how, int):
                return how, _error(f"told to answer {how}"), headers
            return *self._completion(body, empty=how == "empty"), {}
        finally:
            with self._lock:
                self._at_once -= 1

    def _completion(self, body: dict[str, Any], *, empty: bool) -> tuple[int, bytes]:
        if body["model"] != self._model:
            return 404, _error(f"The model {body['model']} does not exist")
        if body.get("logprobs") and not self._logprobs:
            return 400, _error("logprobs are not supported")
        if body.get("n", 1) > 1 and self._refuses_many:
            return 500, _error("Only one completion choice is allowed")
        count = 0 if empty else 1 if self._one_choice else body.get("n", 1)
        choices = [self._choice(body, number) for number in range(count)]
        tokens = sum(len(choice["message"]["content"].split()) for choice in choices)
        usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": 9 + tokens}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": self._model,
            "choices": choices,
            "usage": usage,
        }
        self._alter(answer)
        return 200, json.dumps(answer).encode()

    def _choice(self, body: dict[str, Any], number: int) -> dict[str, Any]:
        text = self._answer(body["messages"], body.get("seed", 0) + number)
        entries: list[dict[str, Any]] = [
            {"token": word, "logprob": -0.5, "bytes": None, "top_logprobs": []} for word in text.split()
        ]
        return {
            "index": number,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop" if len(entries) < body["max_tokens"] else "length",
            "logprobs": {"content": entries} if body.get("logprobs") else None,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, answer, headers = fake.respond(body)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in {
                    "content-type": "application/json",
                    "content-length": str(len(answer)),
                    **headers,
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Keep the terminal clean."""

        return Handler


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode()
