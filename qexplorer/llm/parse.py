"""The grammar of a reply.

    reply = query { ";" query }          at most six queries, no two alike
    query = word { " " word }            one to eight words; two Han characters count as one
    word  = letters and digits, with single hyphens and apostrophes inside and dots between digits

All is lower case, so that no word can be read as a search operator.
"""

import re

from qexplorer.errors import ReplyError
from qexplorer.words import count_words, tokens

MAX_QUERIES = 6
MAX_WORDS = 8
MAX_QUERY_CHARS = 120
MAX_REPLY_CHARS = 2000

_PLACEHOLDER = re.compile(r"<(?:phone|email|handle)>", re.IGNORECASE)
_MARKUP = re.compile(r"<\s*[/|!a-z]|\|\s*>|```|\[/?inst\]|\[/?[a-z]+\s*=|^\s*[{\[]\s*[\"'{\[]", re.IGNORECASE)
_LEAD = re.compile(
    r"^\s*(?:[-*•·>#]+\s+|\(?\d{1,2}[.):]\s+|\(?\d{1,2}[)、]\s*)*"
    r"(?:(?:search\s+)?(?:quer(?:y|ies)|words|terms|answer|reply|output|搜索词|查询)\s*\d{0,2}\s*[:：]\s*)?",
    re.IGNORECASE,
)


def parse_reply(text: str, *, finished: bool = True) -> tuple[str, ...]:
    """Return the queries of a reply, in order.

    Numbering, bullets, quotes, a leading "Queries:", new lines or commas for semicolons, repeated queries and
    queries that are too long are forgiven, and so are queries after the sixth. With `finished` false the last
    piece was cut off and is dropped.
    Raises ReplyError when nothing usable is left, or when the reply is markup or is far too long.
    """
    if len(text) > MAX_REPLY_CHARS:
        raise ReplyError(f"The reply has {len(text)} characters; at most {MAX_REPLY_CHARS} are read")
    plain = _PLACEHOLDER.sub(" ", text)
    if markup := _MARKUP.search(plain):
        raise ReplyError(f"The reply contains markup: {markup.group().strip()!r}")
    pieces = _pieces(plain)
    if not pieces:
        raise ReplyError("The reply is empty")
    queries = [_query(piece) for piece in (pieces if finished else pieces[:-1])]
    kept = tuple(dict.fromkeys(query for query in queries if _fits(query)))[:MAX_QUERIES]
    if kept:
        return kept
    raise ReplyError(_why(queries, finished=finished))


def _pieces(text: str) -> list[str]:
    """Cut at semicolons and line ends; at commas only where a line has none of the former."""
    pieces = [piece for piece in re.split(r"[;；\n\r\v\f\x85\u2028\u2029]", text) if piece.strip()]
    if len(pieces) == 1:
        pieces = [piece for piece in re.split(r",\s|[，、]", pieces[0]) if piece.strip()]
    return pieces


def _query(piece: str) -> str:
    """Return the piece as words; stable when it is applied to its own result."""
    words = tokens(_LEAD.sub("", piece, count=1))
    return " ".join(words)


def _fits(query: str) -> bool:
    return 1 <= count_words(query) <= MAX_WORDS and len(query) <= MAX_QUERY_CHARS


def _why(queries: list[str], *, finished: bool) -> str:
    if not queries and not finished:
        return "The reply was cut off before its first query ended"
    if not any(queries):
        return "The reply has no words"
    return f"Every query of the reply is longer than {MAX_WORDS} words or {MAX_QUERY_CHARS} characters"
