"""Phone numbers in free text, also spelled out, spaced out, or written with other digits."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_ASKED = 100
REGIONS = ("CN", "US", "GB", "DE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """A phone number at text[start:end]; `value` is its national number, digits only, without leading zeros."""

    start: int
    end: int
    value: str


_NAMES = {
    "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9",
}  # fmt: skip
_HAN = dict(zip("零〇一二三四五六七八九幺壹贰叁肆伍陆柒捌玖", "001234567891123456789", strict=True))
_LOOKS = {"o": "0", "l": "1", "i": "1", "|": "1"}

_NAMED = "|".join(_NAMES)
_DIGIT = rf"(?:[0-9]|[{''.join(_HAN)}]|{_NAMED}|(?<=[0-9oli])[oli|](?=[\s.-]?[0-9oli|]))"
_SEPARATOR = r"[\s\-./()_*~·•+]"
_RUN = re.compile(
    rf"(?:\+\s?|\(\+?)?(?:(?![a-z]){_DIGIT}|(?<![a-z])(?:{_NAMED}|o(?=[0-9]{{3}})))(?:{_SEPARATOR}{{0,3}}{_DIGIT}){{6,29}}",
    re.IGNORECASE,
)
_UNIT_AFTER = re.compile(
    r"\s?(?:mah|gb|tb|mb|kb|mm|cm|km|kg|mg|ml|hz|khz|mhz|ghz|rpm|lm|lumens?|wh|kw|volts?|px|pcs|pieces|dpi|"
    r"usd|eur|gbp|cny|rmb|btc|元|块|万|人|件|￥|[€$£¥%℃°])(?![a-z])",
    re.IGNORECASE,
)
_NOT_PHONE_BEFORE = re.compile(
    r"(?:[$€£¥￥]|(?<![a-z])(?:price|cost|usd|eur|gbp|rs\.?|inr|isbn(?:-1[03])?|ean|upc|asin|sku|imei|serial|s/n|model|item|order|"
    r"invoice|ref|part|art|patent|version)|价格?|型号|[订定]单号?|单号|编号|货号|条码)\s?(?:no|nr|id|number|#|号)?[\s.:：#是为-]{0,3}$",
    re.IGNORECASE,
)
_CALL_BEFORE = re.compile(
    r"(?:(?<![a-z])(?:call|calls|tel|telephone|phone|ph|mobile|mob|cell|txt|text|sms|ring|fax|contact|whats?\s?app|wechat|signal|"
    r"telegram)(?![a-z])|电话|手机|致电|联系|热线|拨打|微信|号码)[a-z\s]{0,12}[\s.:：#-]{0,3}$",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(?:(?:19|20)\d\d([-./\s]?)(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])([-./\s])(?:0?[1-9]|[12]\d|3[01])\2(?:19|20)\d\d)(?:[\s.-]*\d{1,2}){0,3}"
    r"|(?:19|20)\d\d[\s./~-]{1,3}(?:19|20)\d\d"
)

# Where another number may begin: before its country code or trunk prefix, or between two that have no gaps.
_NEXT = re.compile(r"[\s/]+(?=\+|0\d)|(?<=\d{7})[\s/]+(?=\d{7})")


def find_phones(text: str) -> Iterator[Phone]:
    """Yield the phone numbers of the text, left to right.

    A phone is a run of 7 to 15 digits. Written with gaps it must be disguised digit by digit, or look like a number
    of a country in REGIONS, or be international, or follow a word such as "call". Amounts, dates, number series
    and numbers with a unit or with a letter beside them are none.
    """
    place = 0
    asked = itertools.count()
    while match := _RUN.search(text, place):
        start = match.start()
        written = _first(match.group())
        end = place = start + len(written)
        digits = _digits(written)
        if _is_excluded(text, start, end, written, digits):
            continue
        if _is_phone(text[max(0, start - 40) : start], written, digits, asked):
            yield Phone(start=start, end=end, value=_national(written, digits))


def _first(written: str) -> str:
    """Return the first number of a run: one with more digits than a phone has may be several beside each other."""
    if len(_digits(written)) > 15:
        for cut in _NEXT.finditer(written):
            if 8 <= len(_digits(written[: cut.start()])) <= 15:
                return written[: cut.start()]
    return written


def _digits(written: str) -> str:
    return "".join(char for char in _plain(written) if char.isdecimal())


def _plain(written: str) -> str:
    """Write every digit as 0 to 9 and keep the separators."""
    named = re.sub(_NAMED, lambda match: _NAMES[match.group().lower()], written, flags=re.IGNORECASE)
    return "".join(_HAN.get(char, _LOOKS.get(char.lower(), char)) for char in named)


def _is_excluded(text: str, start: int, end: int, written: str, digits: str) -> bool:
    if not 7 <= len(digits) <= 15:
        return True
    before, after = text[max(0, start - 24) : start], text[end : end + 12]
    if re.search(r"[A-Za-z]$", before) or re.match(r"[A-Za-z]", after):
        # A model number, unless it is as sure a mobile number as "tel13812345678".
        return not (re.fullmatch(r"1[3-9]\d{9}", written) or _CALL_BEFORE.search(before))
    if re.search(r"\d[.,]$", before) or re.match(r"[.,]\d|,\d{3}", after):
        return True
    if _UNIT_AFTER.match(after) or _NOT_PHONE_BEFORE.search(before) or _DATE.fullmatch(written.strip()):
        return True
    return _is_amount_or_series(written, digits)


def _is_amount_or_series(written: str, digits: str) -> bool:
    if len(set(digits)) == 1:
        return True
    if re.fullmatch(r"\d+\.\d+|\d{1,3}(?:\.\d{3})+|\d{1,3}(?:\.\d{1,3}){3}", written):
        return True  # a decimal, a number with points for thousands, an IP address
    groups = re.findall(r"\d+", written)
    if len(groups) < 3:
        return False
    steps = {int(b) - int(a) for a, b in itertools.pairwise(groups)}
    return len(steps) == 1


def _is_phone(before: str, written: str, digits: str, asked: Iterator[int]) -> bool:
    groups = [group for group in re.split(rf"{_SEPARATOR}+", written) if group]
    if len(groups) == 1 or written.startswith(("+", "00")) or _CALL_BEFORE.search(before):
        return True
    sizes = [len(_digits(group)) for group in groups]
    if max(sizes) in {1, *range(7, 16)}:
        return True
    # A mobile number that is broken where nobody would break it.
    if min(sizes) == 1 and re.fullmatch(r"1[3-9]\d{9}", digits):
        return True
    # Each takes milliseconds: of a text with so many, those behind count as phones.
    return next(asked) >= MOST_ASKED or _has_shape(written, digits)


def _has_shape(written: str, digits: str) -> bool:
    """Tell whether a library of numbering plans takes the groups for a phone of one of our countries."""
    import phonenumbers

    shown = re.sub(r"[_*~·•|]", "-", _plain(written))
    leniency = phonenumbers.Leniency.VALID if digits.startswith("0") else phonenumbers.Leniency.STRICT_GROUPING
    return any(phonenumbers.PhoneNumberMatcher(shown, region, leniency=leniency).has_next() for region in REGIONS)


def _national(written: str, digits: str) -> str:
    """Return the national number, where the country can be told, else the digits without leading zeros."""
    import phonenumbers

    is_international = written.lstrip(" (").startswith("+") or digits.startswith("00")
    if re.fullmatch(r"86" + r"1[3-9]\d{9}", digits):
        is_international = True
    tries = [(f"+{digits.lstrip('0')}", None)] if is_international else [(digits, region) for region in REGIONS]
    for number, region in tries:
        try:
            parsed = phonenumbers.parse(number, region)
        except phonenumbers.NumberParseException:
            continue
        if is_international or phonenumbers.is_valid_number(parsed):
            return str(parsed.national_number)
    return digits.lstrip("0") or "0"
