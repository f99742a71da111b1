import pytest

from qexplorer.phones import find_phones


def _values(text: str) -> list[str]:
    return [phone.value for phone in find_phones(text)]


@pytest.mark.parametrize(
    "text",
    [
        "13812345678", "+86 138 1234 5678", "+8613812345678", "0086 138 1234 5678", "8613812345678", "138-1234-5678",
        "1 3 8 1 2 3 4 5 6 7 8", "1.3.8.1.2.3.4.5.6.7.8", "1*3*8*1*2*3*4*5*6*7*8", "1 38 1234 5678",
        "one three eight one two three four five six seven eight", "一三八一二三四五六七八", "幺三八1二三456七8",
        "tel13812345678", "微信13812345678", "call me on 13812345678 now", "138l234s678 or 138l2345678",
    ],
)  # fmt: skip
def test_one_mobile_number_is_the_same_however_it_is_written(text: str) -> None:
    """Spelling, gaps, look-alikes and the country code do not change what number it is."""
    assert _values(text)[-1] == "13812345678"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("call 07700 900123", "7700900123"),
        ("+44 7700 900123", "7700900123"),
        ("O7700 9oo123", "7700900123"),
        ("(412) 825-6512", "4128256512"),
        ("030 1234567", "301234567"),
        ("+49 30 1234567", "301234567"),
        ("0871-872-9755", "8718729755"),
        ("sms me at 96821456", "96821456"),
        ("+999 1234567", "9991234567"),
    ],
)
def test_numbers_of_several_countries(text: str, value: str) -> None:
    """The value is the national number without leading zeros; without a known country it is the digits."""
    assert _values(text) == [value]


@pytest.mark.parametrize(
    "text",
    [
        "iPhone 14 128gb", "iphone 14 128 256 512", "10000 mah", "2000000 mAh", "2023-10-11", "2023-10-11 12:30",
        "20231011",
        "11/10/2023", "2015-2020", "$1,299,000.00", "1,299,000", "price 1234567", "5000000 USD", "￥1234567",
        "1234567元",
        "1.299.000", "1234567.50", "36 37 38 39 40", "36,37,38,39,40", "1 2 3 4 5 6 7 8 9", "SM-G9910000",
        "B00745XYZ12", "ABC1234567", "1234567ABC", "1920x1080", "192.168.100.200", "ISBN 978-3-16-148410-0",
        "12 24 36 48 months", "100 200 300 400", "model 5901234", "order no. 12345678", "订单号是1401482205",
        "10-20-30-40",
        "12.50 13.50 14.50", "16GB 512GB 1TB", "5555555", "one two three", "一二三", "Lot 1234-5678", "123456",
        "1234567890123456",
    ],
)  # fmt: skip
def test_other_numbers_are_no_phones(text: str) -> None:
    """Prices, model numbers, dates, sizes and series are left alone."""
    assert _values(text) == []


def test_position_covers_the_number_only() -> None:
    """Start and end mark the number in the text."""
    text = "tel: +44 7700 900123, thanks"
    (phone,) = find_phones(text)
    assert text[phone.start : phone.end] == "+44 7700 900123"
