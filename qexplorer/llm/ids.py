"""A prompt as tokens: the same for every engine of this process and for training."""

from typing import Any

from qexplorer.llm.engine import Prompt, chat_messages

_SENTINEL = "\ue000"


def frame_ids(tokenizer: Any, prompt: Prompt) -> tuple[list[int], list[int]]:
    """Return the tokens before and after the listing: the same for all prompts of one instruction."""
    opening, _, closing = prompt.parts()
    empty = Prompt(
        instruction=prompt.instruction,
        examples=prompt.examples,
        listing=f"{opening}{_SENTINEL}{closing}",
        max_listing_tokens=1,
    )
    chat: str = tokenizer.apply_chat_template(chat_messages(empty), tokenize=False, add_generation_prompt=True)
    before, _, after = chat.partition(_SENTINEL)
    return token_ids(tokenizer, before), token_ids(tokenizer, after)


def listing_ids(tokenizer: Any, prompt: Prompt) -> list[int]:
    """Return the tokens of the listing, cut to its limit and without any special one."""
    special = set(tokenizer.all_special_ids)
    ids = [token for token in token_ids(tokenizer, prompt.parts()[1]) if token not in special]
    return ids[: prompt.max_listing_tokens]


def reply_ids(tokenizer: Any, reply: str) -> list[int]:
    """Return the tokens of a reply with the one that ends it: what a model is trained to say."""
    return [*token_ids(tokenizer, reply), tokenizer.eos_token_id]


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text, no special ones added."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
