"""What a results file says of its making: configuration, versions, hashes, time, and each opening of a test part."""

import hashlib
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from qexplorer.corpus import Corpus
from qexplorer.evaluation.case import indexed
from qexplorer.evaluation.run import Plan

LIBRARIES = ("qexplorer", "numpy", "scikit-learn", "torch", "transformers", "peft", "opensearch-py")


def describe(
    inputs: Mapping[str, Any], corpora: Mapping[Path, Corpus], *, began: datetime, ended: datetime, release: str
) -> dict[str, Any]:
    """Return the JSON of a results folder."""
    return {
        "began": began.isoformat(),
        "seconds": round((ended - began).total_seconds(), 1),
        **inputs,
        "openings": [
            {
                "part": "test",
                "release": release,
                "corpus": corpus.name,
                "digest": corpus.digest,
                "at": began.isoformat(),
            }
            for corpus in corpora.values()
            if release
        ],
    }


def describe_inputs(corpora: Mapping[Path, Corpus], plan: Plan, *, opensearch: str) -> dict[str, Any]:
    """Return what the rows of an evaluation depend on."""
    return {
        "configuration": {
            **asdict(plan.case),
            "methods": list(plan.methods),
            "extractors": {name: replies.version for name, replies in plan.extractors.items()},
            "searches": list(plan.loads),
            "protocols": list(plan.protocols),
            "with_triage": list(plan.triage),
            "reviews": plan.reviews,
            "human": {seed: list(queries) for seed, queries in plan.human.items()},
        },
        "corpora": [_corpus(path, corpus, plan) for path, corpus in corpora.items()],
        "versions": {
            "python": platform.python_version(),
            "opensearch": opensearch,
            **{name: _version(name) for name in LIBRARIES},
        },
    }


def _corpus(path: Path, corpus: Corpus, plan: Plan) -> dict[str, Any]:
    judged = corpus.of(plan.case.part)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "name": corpus.name,
        "sha256": digest,
        "digest": corpus.digest,
        "refused_rows": corpus.refused,
        "indexed": len(indexed(corpus, plan.case.part)),
        "known_flags": len(corpus.of("train")),
        "prohibited": len(judged),
        "campaigns": len({item.campaign for item in judged}),
        "clusters": len({item.cluster for item in judged}),
        "kinds": dict(Counter(item.kind for item in judged)),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
