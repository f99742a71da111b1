"""Taking new policies and new versions of the model while the worker runs."""

import asyncio

import structlog

from qexplorer.errors import QExplorerError, SearchUnavailableError
from qexplorer.metrics import Metrics
from qexplorer.search.client import OpenSearchClient
from worker.handler import Handler
from worker.inference import InferenceProcess
from worker.release import Release, Releases
from worker.wiring import checked

log = structlog.get_logger()

EVERY_S = 2.0


class Follower:
    """Looks at the files now and then; what cannot work is refused and the release before it stays."""

    def __init__(
        self,
        releases: Releases,
        handler: Handler,
        inference: InferenceProcess,
        search: OpenSearchClient,
        metrics: Metrics,
    ) -> None:
        self._releases = releases
        self._handler = handler
        self._inference = inference
        self._search = search
        self._metrics = metrics

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            if await asyncio.to_thread(self._releases.changed):
                await self.take()

    async def take(self) -> None:
        """Take what the files describe now, or refuse it; what may pass is tried again."""
        try:
            release = await checked(await asyncio.to_thread(self._releases.read), self._search)
            await self._inference.use(release.used)
        except SearchUnavailableError as error:
            # It says nothing of the change, which is looked at again in a moment.
            log.warning("change not taken yet", error=error.message, remedy=error.remedy)
            return
        except QExplorerError as error:
            self._metrics.reloads.labels("refused").inc()
            log.warning("change refused, the release before it stays", error=error.message, remedy=error.remedy)
            if not error.retryable:
                self._releases.settle()
            return
        self._releases.settle()
        self._handler.use(release)
        self._metrics.reloads.labels("taken").inc()
        show(release, self._metrics)


def show(release: Release, metrics: Metrics) -> None:
    """Let the metrics say what answers now."""
    metrics.release.clear()
    default = release.used[0]
    prompts = sorted({policy.prompt for policy in release.policies.policies})
    metrics.release.labels(
        release.name, default.model, default.adapter, " ".join(prompts), release.triage, release.policies_hash
    ).set(1)
    log.info("release", release=release.name, policies=release.policies_hash, triage=release.triage)
