"""Contacts in free text: find them, hide them, and compare them without storing them."""

import bisect
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from qexplorer.phones import find_phones

MOST_PASSES = 8
ContactKind = Literal["phone", "email", "handle", "domain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A way to reach a seller; `value` is the same for every way of writing it.

    A phone is its national number without leading zeros; a handle or e-mail address is lower case; a domain is
    lower case and has no www.
    """

    kind: ContactKind
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    start: int
    end: int
    contact: Contact
    replacement: str


def redact(text: str) -> str:
    """Replace phones, e-mail addresses and handles by <phone>, <email>, <handle>, and URLs by their domain.

    All else is left as it is. Redacting twice changes nothing more.
    """
    passes = 0
    while (shorter := _redact_once(text)) != text:
        passes += 1
        # Only who chains them has one contact make room for the next so often, and each pass reads the whole text.
        text = shorter if passes % MOST_PASSES else shorter.replace("@", " ").replace("://", " ")
    return text


def contacts(text: str) -> tuple[Contact, ...]:
    """Return the distinct contacts of the text in order of appearance."""
    return tuple(dict.fromkeys(span.contact for span in _spans(_Shadow.of(text).text)))


def contact_hash(contact: Contact, key: bytes) -> str:
    """Return 32 hex digits of HMAC-SHA256 over kind and value: equal contacts have equal hashes under one key."""
    return hmac.new(key, f"{contact.kind}:{contact.value}".encode(), hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shadow:
    """The text as it reads to a person (folded, nothing invisible), with the original position of each character."""

    text: str
    origin: Sequence[int]

    @classmethod
    def of(cls, text: str) -> "_Shadow":
        if text.isascii():
            return cls(text=text, origin=range(len(text)))
        chars: list[str] = []
        origin: list[int] = []
        for i, char in enumerate(text):
            shown = char if char.isascii() else _shown(char)
            chars += shown
            origin += [i] * len(shown)
        return cls(text="".join(chars), origin=tuple(origin))


def _shown(char: str) -> str:
    # Formats, marks on a character (U+FE0F and U+20E3 make a keycap emoji of a digit), letters that show nothing.
    if unicodedata.category(char) in {"Cf", "Mn", "Me"} or char in "\u3164\u115f\u1160\uffa0":
        return ""
    shown = unicodedata.normalize("NFKC", char)
    if len(shown) == 1 and not shown.isascii():
        if (digit := unicodedata.digit(shown, None)) is not None:
            return str(digit)
        if unicodedata.category(shown) == "Pd":
            return "-"
    return shown


def _redact_once(text: str) -> str:
    shadow = _Shadow.of(text)
    spans = _spans(shadow.text)
    if not spans:
        return text
    origin = (*shadow.origin, len(text))
    parts: list[str] = []
    done = 0
    for span in spans:
        # The invisible characters after a contact go with it.
        start, end = origin[span.start], max(origin[span.end - 1] + 1, origin[span.end])
        parts += [text[done:start], span.replacement]
        done = end
    return "".join([*parts, text[done:]])


def _spans(text: str) -> list[_Span]:
    """Return the contacts of a shadow text, left to right; where two overlap the more certain kind wins."""
    taken: list[_Span] = []
    for finder in (_emails, _links, _named_handles, _phones, _at_handles):
        for span in finder(text):
            place = bisect.bisect(taken, span.start, key=lambda other: other.start)
            is_free = place == 0 or taken[place - 1].end <= span.start
            if is_free and (place == len(taken) or span.end <= taken[place].start):
                taken.insert(place, span)
    return taken


_LOCAL = r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}"
_AT = r"(?:\s?@\s?|\s?[(\[{]\s?at\s?[)\]}]\s?|\s+at\s+)"
_DOT = r"(?:\.|\s?[(\[{]\s?dot\s?[)\]}]\s?|\s+dot\s+)"
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9._%+@-])({_LOCAL}){_AT}((?:[A-Za-z0-9-]{{1,63}}{_DOT}){{1,4}}[A-Za-z]{{2,12}})(?![A-Za-z0-9-])",
    re.IGNORECASE,
)


# With gaps in it, where the host says that it is one.
_GAPPED = re.compile(
    rf"(?<![A-Za-z0-9._%+@-])({_LOCAL})\s?@\s?((?:gmail|googlemail|hotmail|outlook|yahoo|icloud|proton(?:mail)?|live|aol|gmx|"
    r"mail|yandex|qq|163|126)\s?[.。]\s?(?:com|net|org|me|de|fr|it|es|ru|cn|co\s?[.]\s?uk))(?![A-Za-z0-9-])",
    re.IGNORECASE,
)


def _emails(text: str) -> Iterator[_Span]:
    # All ways to write one have the sign or the word.
    if "@" not in text and "at" not in text.lower():
        return
    for match in _EMAIL.finditer(text):
        # "meet me at home.now" has an at and a dot, but neither is written as a sign or as a word for both.
        if "@" not in match.group() and "." in match.group(2) and not re.search(r"[(\[{]", match.group()):
            continue
        domain = re.sub(_DOT, ".", match.group(2), flags=re.IGNORECASE).lower()
        value = f"{match.group(1).lower()}@{domain}"
        yield _span(match.start(), match.end(), "email", value)
    for match in _GAPPED.finditer(text):
        domain = re.sub(r"\s", "", match.group(2)).replace("。", ".").lower()
        yield _span(match.start(), match.end(), "email", f"{match.group(1).lower()}@{domain}")


_TLD = (
    "com|net|org|info|biz|shop|store|online|site|club|vip|xyz|top|onion|io|cc|ru|cn|de|fr|uk|us|eu|nl|jp|me|ly|to|"
    "link|live|app|dev|co|tv|in|gg"
)
_HOST = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+"
_LINK = re.compile(
    rf"(?:https?://(?:www\.)?|(?<![a-z0-9.@-])www\.|(?<![a-z0-9.@/-]))({_HOST}(?:{_TLD}))(?![a-z0-9.-]*[a-z0-9])"
    r"(?::\d{1,5})?([/?#][^\s<>\"'，。）)]*)?",
    re.IGNORECASE,
)
_ANY_LINK = re.compile(
    r"https?://(?:www\.)?((?:[a-z0-9-]+\.)+[a-z0-9-]{2,63})(?::\d{1,5})?([/?#][^\s<>\"'，。）)]*)?", re.IGNORECASE
)
_PROFILE_HOSTS = frozenset(
    {"t.me", "telegram.me", "instagram.com", "facebook.com", "fb.com", "m.me", "vk.com", "twitter.com", "x.com",
     "tiktok.com", "snapchat.com", "line.me", "discord.gg"}
)  # fmt: skip
_PROFILE = re.compile(r"/(?:add/|ti/p/|joinchat/|\+)?@?~?([A-Za-z0-9_.-]{3,32})/?$")
"""Hosts whose first path part is a person."""


def _links(text: str) -> Iterator[_Span]:
    if "." not in text:
        return
    for pattern in (_ANY_LINK, _LINK):
        for match in pattern.finditer(text):
            yield _link(match)


def _link(match: re.Match[str]) -> _Span:
    domain = match.group(1).lower()
    path = match.group(2) or ""
    if domain == "wa.me" and (number := re.match(r"/\+?(\d{7,15})", path)):
        phone = next(iter(find_phones(f"+{number.group(1)}")), None)
        value = phone.value if phone else number.group(1)
        return _span(match.start(), match.end(), "phone", value, f"{domain} <phone>")
    if domain in _PROFILE_HOSTS and (profile := _PROFILE.match(path)):
        return _span(match.start(), match.end(), "handle", _handle(profile.group(1)), f"{domain} <handle>")
    replacement = domain if match.group() != match.group(1) else match.group()
    return _span(match.start(), match.end(), "domain", domain, replacement)


_LATIN_NAMES = (
    r"(?:telegram|tg|wechat|we\s?chat|weixin|vx|whats\s?app|wickr|kik|snap\s?chat|skype|discord|insta(?:gram)?|"
    r"viber|threema|icq|jabber)"
)
_WEAK_NAMES = r"(?:tele|wx|wa|snap|signal|session|ig|line)"
_HAN_NAMES = r"(?:v信|薇信|微信|微❤|威信|维信|电报|纸飞机)"
_FILLER = r"(?:\s?(?:(?:id|me|us|on|at|is|name|user(?:name)?|contact)(?![A-Za-z0-9_])|号码?|群|[:=@~(]|是|为|加)){0,3}"
_VALUE = r"([A-Za-z0-9][A-Za-z0-9_.-]{2,31})(?![A-Za-z0-9_])"
_NAMED = re.compile(
    rf"(?:(?<![A-Za-z0-9_])(?:{_LATIN_NAMES}|({_WEAK_NAMES}))(?![A-Za-z0-9_])|{_HAN_NAMES})"
    rf"({_FILLER})\s{{0,3}}{_VALUE}",
    re.IGNORECASE,
)
_QQ = re.compile(
    r"(?:(?<![a-z])qq|扣扣|企鹅)(?:\s?(?:号码?|群|id|[:=是为加])){0,3}\s{0,3}(\d{5,12})(?!\d)", re.IGNORECASE
)
_CONNECTOR = re.compile(r"[:=@~是为]|id|号|name|user", re.IGNORECASE)


def _named_handles(text: str) -> Iterator[_Span]:
    """Yield the accounts that follow the name of a messenger; bare numbers are left to the phones."""
    for match in _QQ.finditer(text):
        yield _span(match.start(1), match.end(1), "handle", match.group(1))
    for match in _NAMED.finditer(text):
        is_weak, filler = match.group(1), match.group(2)
        value = match.group(3).rstrip("._-")
        has_digit = any(char.isdigit() for char in value)
        is_sure = _CONNECTOR.search(filler) or (not is_weak and (has_digit or "_" in value))
        # "signal booster" and "wechat pay" name no account; a bare number is a phone or nothing.
        if is_sure and any(char.isalpha() for char in value) and len(value) >= 3:
            start = match.start(3)
            yield _span(start, start + len(value), "handle", _handle(value))


def _phones(text: str) -> Iterator[_Span]:
    for phone in find_phones(text):
        yield _span(phone.start, phone.end, "phone", phone.value)


_NO_HANDLE = frozenset({"home", "work", "school", "only", "just"})
_AT_HANDLE = re.compile(r"@\s?([A-Za-z][A-Za-z0-9_.]{2,31})")


def _at_handles(text: str) -> Iterator[_Span]:
    if "@" not in text:
        return
    end = 0
    for match in _AT_HANDLE.finditer(text):
        start = match.start()
        # Within an address, unless what stands before it is a handle itself.
        if start != end and re.match(r"[A-Za-z0-9._@]", text[start - 1]):
            continue
        value = match.group(1).rstrip("._")
        if " " in match.group() and not re.search(r"[\d_]", value):
            continue  # "3 pieces @ discount"
        if len(value) >= 3 and value.lower() not in _NO_HANDLE:
            end = match.start(1) + len(value)
            yield _span(start, end, "handle", _handle(value))


def _handle(value: str) -> str:
    return value.lower().strip("@._-")


def _span(start: int, end: int, kind: ContactKind, value: str, replacement: str = "") -> _Span:
    contact = Contact(kind=kind, value=value)
    return _Span(start=start, end=end, contact=contact, replacement=replacement or f"<{kind}>")
