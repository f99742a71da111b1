"""What stands between the worker and the real servers: it can cut the line, or answer in their place."""

import asyncio
import contextlib
import json
from typing import Any, Self

import aiohttp
from aiohttp import web

SLOW_S = 6.0


class TcpProxy:
    """Passes bytes to a server; while it is cut, open connections end and new ones are refused by silence."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.is_cut = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """End all connections and let no new one through."""
        self.is_cut = True
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def heal(self) -> None:
        """Let connections through again."""
        self.is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        both = [
            asyncio.create_task(self._pass(reader, far_writer)),
            asyncio.create_task(self._pass(far_reader, writer)),
        ]
        self._tasks |= set(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, far_writer):
            each.transport.abort()
            self._open.discard(each)
        await asyncio.gather(*both, return_exceptions=True)
        self._tasks -= set(both)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()


class SearchProxy:
    """Passes requests to OpenSearch; `mode` says how it misbehaves, and is empty while it does not."""

    def __init__(self, url: str) -> None:
        self._target = url
        self._runner: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None
        self.url = ""
        self.mode = ""
        self._garbage = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._http = aiohttp.ClientSession(auto_decompress=True)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        assert self._http is not None
        await self._runner.cleanup()
        await self._http.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        mode = self.mode
        if mode == "gone":
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=503)
        if mode == "garbage":
            # Of two kinds in turn: what is no JSON, and what is, but nothing of OpenSearch's.
            self._garbage += 1
            if self._garbage % 2:
                return web.json_response({"message": "no upstream"})
            return web.Response(body=b"<html>502 Bad Gateway</html>", content_type="text/html")
        if mode in {"429", "503"}:
            refusal = {"error": {"type": "rejected", "reason": f"scripted {mode}"}, "status": int(mode)}
            return web.json_response(refusal, status=int(mode))
        if mode == "disk full" and request.path.endswith("/_bulk"):
            return await self._blocked(request)
        if mode == "slow":
            await asyncio.sleep(SLOW_S)
        status, body = await self.forward(request)
        if mode == "partial" and status == 200 and request.path.endswith("search"):
            body = _partial(body)
        return web.Response(body=body, status=status, content_type="application/json")

    async def _blocked(self, request: web.Request) -> web.Response:
        """Answer as a node beyond its flood stage does: each write of the bulk is refused by itself."""
        lines = (await request.read()).splitlines()[::2]
        error = {"type": "cluster_block_exception", "reason": "disk usage exceeded flood-stage watermark"}
        items = [{next(iter(json.loads(line))): {"_id": "x", "status": 429, "error": error}} for line in lines]
        return web.json_response({"took": 1, "errors": True, "items": items})

    async def forward(self, request: web.Request) -> tuple[int, bytes]:
        """Return status and body of the server's own answer."""
        assert self._http is not None
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        async with self._http.request(
            request.method, self._target + request.path_qs, data=await request.read(), headers=headers
        ) as answer:
            return answer.status, await answer.read()


def _partial(body: bytes) -> bytes:
    answer: Any = json.loads(body)
    for part in answer.get("responses", [answer]):
        if "_shards" in part:
            part["_shards"]["failed"] = 1
    return json.dumps(answer).encode()
