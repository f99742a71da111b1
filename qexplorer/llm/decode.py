"""Greedy decoding and sampling of many replies to many listings under one instruction.

The instruction's keys and values are computed once and shared by all rows: attention to them is one matrix
product for the whole batch, and no row has a copy. So are a listing's, by the rows of that listing. Rows that have
ended leave the batch.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qexplorer.llm.engine import GenerationSource, Sampling
from qexplorer.llm.parse import MAX_QUERIES

if TYPE_CHECKING:
    from torch import Tensor

ATTENTION = "qexplorer_shared_prefix"
# The nucleus is looked for among this many tokens; outside lie less than 1 % of a usual distribution.
_TOP = 512
# Moving the rows that are left together costs a copy, so it waits until this share has ended.
_COMPACT_AT = 0.125


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Keys and values of the tokens that all rows begin with: for each layer two tensors [kv heads, length, head].

    `listings` are what follows them, where the rows are replies.
    """

    length: int = 0
    layers: tuple[tuple["Tensor", "Tensor"], ...] = ()
    listings: "Listings | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listings:
    """Keys and values of the listings, for each layer two tensors [listings, kv heads, length, head].

    `mask`, [listings, 1, 1, length], is added to the scores; row r is the one at `places[r]` of listings · `most` rows.
    """

    layers: Sequence[tuple["Tensor", "Tensor"]]
    mask: "Tensor"
    places: "Tensor"
    most: int

    @classmethod
    def of(cls, layers: Sequence[tuple["Tensor", "Tensor"]], mask: "Tensor", of_rows: "Tensor") -> "Listings":
        """Return them for rows of these listings, the rows of each side by side; a listing without any is left out."""
        kept, within, counts = of_rows.unique(return_inverse=True, return_counts=True)
        if len(kept) < len(mask):
            layers = [(keys[kept], values[kept]) for keys, values in layers]
            mask = mask[kept]
        most = int(counts.max())
        first = counts.cumsum(0) - counts
        numbers = of_rows.new_tensor(range(len(of_rows))) - first[within]
        return cls(layers=layers, mask=mask, places=within * most + numbers, most=most)

    def keep(self, rows: "Tensor") -> "Listings":
        """Return them for some of the rows, in this order."""
        return self.of(self.layers, self.mask, self.places[rows] // self.most)

    def scores(self, query: "Tensor", layer: int) -> "Tensor":
        """Return the products of [rows, kv heads, queries, head] with the keys, masked: […, queries, length]."""
        keys = self.layers[layer][0]
        return self._apart(self._together(query) @ keys.transpose(2, 3) + self.mask)

    def mixed(self, weights: "Tensor", layer: int) -> "Tensor":
        """Return the values mixed by weights of the form of `scores`: [rows, kv heads, queries, head]."""
        return self._apart(self._together(weights) @ self.layers[layer][1])

    def _together(self, of_rows: "Tensor") -> "Tensor":
        """Put the rows of a listing side by side: [listings, kv heads, most · queries, …]."""
        _, heads, count, size = of_rows.shape
        padded = of_rows.new_zeros((len(self.mask) * self.most, heads, count, size))
        padded[self.places] = of_rows
        return (
            padded.view(-1, self.most, heads, count, size).transpose(1, 2).reshape(-1, heads, self.most * count, size)
        )

    def _apart(self, together: "Tensor") -> "Tensor":
        listings, heads, many, size = together.shape
        rows = together.view(listings, heads, self.most, many // self.most, size).transpose(1, 2)
        return rows.reshape(listings * self.most, heads, many // self.most, size)[self.places]


@dataclass(slots=True, kw_only=True)
class Row:
    """One reply in the making; `uniforms` are its random numbers, one a token, or empty for the greedy one."""

    prompt: int
    source: GenerationSource = "greedy"
    uniforms: Sequence[float] = ()
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """The tokens that end a reply.

    `ends` do always, `lines` (those with a line end) once something was said, and `separators` (those with a
    semicolon) at the sixth, for a reply has six queries at most.
    """

    ends: frozenset[int] = frozenset()
    lines: frozenset[int] = frozenset()
    separators: frozenset[int] = frozenset()

    def is_over(self, tokens: Sequence[int], token: int) -> bool:
        """Tell whether `token` after `tokens` ends the reply."""
        if token in self.ends or (bool(tokens) and token in self.lines):
            return True
        return token in self.separators and sum(map(self.separators.__contains__, tokens)) >= MAX_QUERIES - 1


def register_attention() -> None:
    """Make the attention of this module known to transformers; a second call changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def _attention(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: "Tensor | None",
    **kwargs: Any,
) -> tuple["Tensor", None]:
    """Attend to the shared prefix, the listing and the row's own keys; without the first two this is plain attention.

    query is [rows, heads, tokens, head]; key and value are [rows, kv heads, own length, head]; the mask is added
    to the scores of the own keys. Returns [rows, tokens, heads, head].
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    prefix: Prefix | None = kwargs.pop("shared_prefix", None)
    if prefix is None or (prefix.length == 0 and prefix.listings is None):
        output: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return output
    rows, heads, count, size = query.shape
    kv_heads = key.shape[1]
    grouped = (query * kwargs["scaling"]).reshape(rows, kv_heads, -1, size)
    own = grouped @ key.transpose(2, 3)
    if attention_mask is not None:
        own = own + attention_mask.repeat(1, 1, heads // kv_heads, 1)
    scores = [own]
    if prefix.listings is not None:
        scores.insert(0, prefix.listings.scores(grouped, module.layer_idx))
    if prefix.length:
        together = grouped.transpose(0, 1).reshape(kv_heads, -1, size)
        shared = together @ prefix.layers[module.layer_idx][0].transpose(1, 2)
        scores.insert(0, shared.view(kv_heads, rows, -1, prefix.length).transpose(0, 1))
    weights = torch.cat(scores, dim=-1).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    *of_others, of_own = weights.split([part.shape[-1] for part in scores], dim=-1)
    mixed = of_own @ value
    if prefix.listings is not None:
        mixed = mixed + prefix.listings.mixed(of_others.pop(), module.layer_idx)
    if prefix.length:
        of_shared = of_others.pop().transpose(0, 1).reshape(kv_heads, -1, prefix.length)
        of_shared = of_shared @ prefix.layers[module.layer_idx][1]
        mixed = mixed + of_shared.view(kv_heads, rows, -1, size).transpose(0, 1)
    return mixed.reshape(rows, heads, count, size).transpose(1, 2), None


class RowCache:
    """Own keys and values of the rows, in room set aside once; it stands in for the cache of transformers."""

    is_compileable = False

    def __init__(self, *, layers: int, room: int) -> None:
        self.length = 0
        self._room = room
        self._keys: list[Tensor | None] = [None] * layers
        self._values: list[Tensor | None] = [None] * layers

    def update(self, key: "Tensor", value: "Tensor", layer: int, *_: Any, **__: Any) -> tuple["Tensor", "Tensor"]:
        """Add a layer's new keys and values, and return all that it has; the caller then advances `length`."""
        end = self.length + key.shape[2]
        return self._put(self._keys, key, layer, end), self._put(self._values, value, layer, end)

    def get_seq_length(self, *_: Any) -> int:
        """Return how many tokens each row has."""
        return self.length

    def layers(self) -> list[tuple["Tensor", "Tensor"]]:
        """Return keys and values of all layers, [rows, kv heads, length, head]."""
        held = zip(self._keys, self._values, strict=True)
        return [(keys, values) for keys, values in held if keys is not None and values is not None]

    def select(self, rows: "Tensor") -> None:
        """Keep these rows, in this order."""
        for store in (self._keys, self._values):
            store[:] = [None if held is None else held.index_select(0, rows) for held in store]

    def _put(self, store: list["Tensor | None"], new: "Tensor", layer: int, end: int) -> "Tensor":
        held = store[layer]
        if held is None:
            held = new.new_empty((new.shape[0], new.shape[1], self._room, new.shape[3]))
            store[layer] = held
        held[:, :, self.length : end] = new
        return held[:, :, :end]


def compute_prefix(model: Any, ids: Sequence[int]) -> Prefix:
    """Run the model over the tokens once and keep their keys and values."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.tensor([list(ids)], device=model.device), past_key_values=cache, logits_to_keep=1)
    layers = tuple((layer.keys[0].contiguous(), layer.values[0].contiguous()) for layer in cache.layers)
    return Prefix(length=len(ids), layers=layers)


def can_share(model: Any) -> bool:
    """Try whether the model gives the same answer with a shared prefix as without.

    Not so for models that look at a window of tokens only, or whose code does not pass our argument on.
    """
    import torch

    config = model.config
    if any("full" not in kind for kind in getattr(config, "layer_types", None) or []):
        return False
    vocabulary = config.vocab_size
    ids = [(7 * i) % vocabulary for i in range(1, 17)]
    logits: list[Tensor] = []
    try:
        for length in (0, 10):
            prefix = compute_prefix(model, ids[:length]) if length else Prefix()
            decoder = Decoder(model, prefix, Stops(), lambda: None)
            with torch.inference_mode():
                cache = RowCache(layers=config.num_hidden_layers, room=len(ids))
                logits.append(decoder.read([ids[length:]], len(ids) - length, cache)[0])
    except (TypeError, AttributeError, KeyError, IndexError, RuntimeError, ValueError):
        return False
    plain, shared = logits
    return bool((plain - shared).abs().max() <= 0.05 * plain.abs().max())


def make_rows(prompt: int, sampling: Sampling, identity: str) -> list[Row]:
    """Return the greedy row and the sampled ones of a prompt.

    The random numbers depend on the seed, the prompt's text and the sample's number only, not on its batch.
    """
    rows = [Row(prompt=prompt)] if sampling.greedy else []
    for number in range(sampling.samples):
        chance = random.Random(f"{sampling.seed}:{number}:{identity}")
        uniforms = [chance.random() for _ in range(sampling.max_new_tokens)]
        rows.append(Row(prompt=prompt, source="sample", uniforms=uniforms))
    return rows


class Decoder:
    """Fill the rows of one batch, token by token."""

    def __init__(self, model: Any, prefix: Prefix, stops: Stops, check: Callable[[], None]) -> None:
        self._model = model
        self._prefix = prefix
        self._stops = stops
        self._check = check

    def fill(self, own_ids: Sequence[Sequence[int]], rows: Sequence[Row], sampling: Sampling) -> None:
        """Decode all rows; `own_ids` holds each prompt's tokens after the prefix, `rows` are ordered by prompt.

        `check` is called before each step and may raise to stop.
        """
        import torch

        with torch.inference_mode():
            width = max(map(len, own_ids))
            layers = self._model.config.num_hidden_layers
            read = RowCache(layers=layers, room=width)
            logits, mask, positions = self.read(own_ids, width, read)
            of_prompt = torch.tensor([row.prompt for row in rows], device=logits.device)
            prefix = replace(self._prefix, listings=Listings.of(read.layers(), mask, of_prompt))
            cache = RowCache(layers=layers, room=sampling.max_new_tokens)
            logits, positions = logits[of_prompt], positions[of_prompt]
            live = list(rows)
            for step in range(sampling.max_new_tokens):
                tokens = self._choose(live, logits, sampling, step)
                going = [i for i, row in enumerate(live) if not row.finished]
                if not going or step + 1 == sampling.max_new_tokens:
                    return
                if len(going) <= len(live) * (1 - _COMPACT_AT):
                    kept = torch.tensor(going, device=logits.device)
                    cache.select(kept)
                    prefix = replace(prefix, listings=prefix.listings.keep(kept) if prefix.listings else None)
                    tokens, positions = tokens[kept], positions[kept]
                    live = [live[i] for i in going]
                positions = positions + 1
                self._check()
                seen = logits.new_zeros((len(live), 1, 1, cache.length + 1), dtype=mask.dtype)
                logits = self._forward(tokens[:, None], seen, positions[:, None], cache, prefix)

    def read(
        self, own_ids: Sequence[Sequence[int]], width: int, cache: RowCache
    ) -> tuple["Tensor", "Tensor", "Tensor"]:
        """Pass the padded prompts; return the next logits, the mask over the prompts and the last positions."""
        import torch

        device, dtype = self._model.device, self._model.dtype
        pads = torch.tensor([width - len(ids) for ids in own_ids], device=device)
        ids = torch.tensor([[0] * (width - len(ids)) + list(ids) for ids in own_ids], device=device)
        columns = torch.arange(width, device=device)
        hidden = torch.finfo(dtype).min
        mask = torch.zeros(len(own_ids), 1, 1, width, dtype=dtype, device=device)
        mask.masked_fill_((columns[None] < pads[:, None])[:, None, None], hidden)
        later = torch.full((width, width), hidden, dtype=dtype, device=device).triu(1)
        causal = torch.minimum(mask.expand(-1, 1, width, -1), later)
        positions = self._prefix.length + (columns[None] - pads[:, None]).clamp(min=0)
        self._check()
        return self._forward(ids, causal, positions, cache, self._prefix), mask, positions[:, -1]

    def _forward(self, ids: "Tensor", mask: "Tensor", positions: "Tensor", cache: RowCache, prefix: Prefix) -> "Tensor":
        """Return the logits after the last token of each row, [rows, vocabulary] in float32."""
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=prefix,
        )
        cache.length += ids.shape[1]
        return output.logits[:, -1].float()

    def _choose(self, rows: Sequence[Row], logits: "Tensor", sampling: Sampling, step: int) -> "Tensor":
        """Choose the next token of each row and note it; a row that had ended is left as it is."""
        import torch

        tokens = logits.argmax(dim=-1)
        drawn = [i for i, row in enumerate(rows) if row.uniforms]
        if drawn:
            index = torch.tensor(drawn, device=logits.device)
            uniforms = torch.tensor([rows[i].uniforms[step] for i in drawn], device=logits.device)
            tokens[index] = draw(logits[index], uniforms, temperature=sampling.temperature, top_p=sampling.top_p)
        logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            if row.finished:
                continue
            row.logprobs.append(min(logprob, 0.0))
            row.finished = self._stops.is_over(row.tokens, token)
            if not row.finished:
                row.tokens.append(token)
        return tokens


def draw(logits: "Tensor", uniforms: "Tensor", *, temperature: float, top_p: float) -> "Tensor":
    """Draw one token a row from the nucleus: the fewest likeliest tokens that hold `top_p` of the probability.

    logits is [rows, vocabulary]; uniforms, one in [0, 1) a row, decide the draw by the inverse of the cumulative
    distribution.
    """
    scaled = logits / max(temperature, 1e-4)
    best, tokens = scaled.topk(min(_TOP, logits.shape[-1]), dim=-1)
    probabilities = (best - scaled.logsumexp(dim=-1, keepdim=True)).exp()
    before = probabilities.cumsum(dim=-1) - probabilities
    kept = probabilities * (before < top_p)
    reached = kept.cumsum(dim=-1)
    chosen = (reached <= uniforms[:, None] * reached[:, -1:]).sum(dim=-1, keepdim=True)
    chosen = chosen.clamp(max=kept.shape[-1] - 1)
    return tokens.gather(1, chosen)[:, 0]
