import gzip
import itertools
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qexplorer.phones
import qexplorer.redact
from qexplorer.redact import Contact, contact_hash, contacts, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call 07700 900123 now", "call <phone> now"),
        ("1️⃣3️⃣8️⃣1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣8️⃣ me", "<phone> me"),
        ("１３８\u200b１２３４５６７８", "<phone>"),
        ("mail John.Doe@Mail.Example.org!", "mail <email>!"),
        ("john at gmail dot com", "<email>"),
        ("john [at] gmail.com", "<email>"),
        ("telegram: dealer", "telegram: <handle>"),
        ("tg @Dealer_X", "tg @<handle>"),
        ("加v信 hello88", "加v信 <handle>"),
        ("微信号码为jxhf0我们", "微信号码为<handle>我们"),
        ("QQ12345678", "QQ<handle>"),
        ("whatsapp +44 7700 900123", "whatsapp <phone>"),
        ("kik: sexy_girl.", "kik: <handle>."),
        ("dm @dealer99", "dm <handle>"),
        ("see https://www.Foo.com/abc?x=1, ok", "see foo.com ok"),
        ("t.me/dealerx", "t.me <handle>"),
        ("wa.me/447700900123", "wa.me <phone>"),
        ("StarTech.com cable", "StarTech.com cable"),
    ],
)
def test_contacts_are_hidden(text: str, expected: str) -> None:
    """Each kind of contact is replaced by its placeholder, a URL by its domain."""
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "iPhone 14 128gb", "10000 mah", "2023-10-11", "3 pieces @ discount", "@home table", "signal booster",
        "snap on wheels",
        "line dance class", "wechat pay accepted", "meet me at home.now", "TL-WA730RE", "VX1000E", "KX-TG6644B",
        "chat session at 11pm", "walter_e_kurtz", "㎡ ½ ＡＢ stay", "",
    ],
)  # fmt: skip
def test_all_else_stays(text: str) -> None:
    """Text without a contact is returned as it is."""
    assert redact(text) == text


@pytest.mark.parametrize(
    ("texts", "contact"),
    [
        (["+86 138 1234 5678", "call 1-3-8-1-2-3-4-5-6-7-8", "vx 13812345678"], Contact(kind="phone",
        value="13812345678")),
        (["A@B.com", "a (at) b (dot) com", "a@b.com"], Contact(kind="email", value="a@b.com")),
        (["telegram @Dealer_X", "t.me/dealer_x", "tg: dealer_x", "@DEALER_X"], Contact(kind="handle",
        value="dealer_x")),
        (["http://www.Shop.com/a", "shop.com", "www.shop.com"], Contact(kind="domain", value="shop.com")),
    ],
    ids=["phone", "email", "handle", "domain"],
)  # fmt: skip
def test_same_contact_is_equal_however_it_is_written(texts: list[str], contact: Contact) -> None:
    """Different ways of writing one contact give one value."""
    assert [contacts(text) for text in texts] == [(contact,)] * len(texts)


def test_contacts_come_in_order_and_once() -> None:
    """A text's contacts are distinct and in order of appearance."""
    found = contacts("a@b.com, 13812345678, a@b.com")
    assert [contact.kind for contact in found] == ["email", "phone"]


def test_hash_depends_on_kind_value_and_key() -> None:
    """Only the same contact under the same key has the same hash of 32 hex digits."""
    phone = Contact(kind="phone", value="1234567")
    hashes = {
        contact_hash(phone, b"k"),
        contact_hash(phone, b"other"),
        contact_hash(Contact(kind="handle", value="1234567"), b"k"),
    }
    assert len(hashes) == 3
    assert contact_hash(Contact(kind="phone", value="1234567"), b"k") in hashes
    assert all(len(digest) == 32 for digest in hashes)


_PIECES = st.lists(
    st.sampled_from(
        ["13812345678", "1 3 8", "@", "a@b.com", "vx", "wechat", "abc_1", "http://", "x.com/", "t.me/", " ", ":",
        "qq", "12345",
         "<phone>", "<handle>", "one", "0", "\u200b", "．", "①", "电话", "at", "dot", "/", "+"]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(_PIECES | st.text())
def test_redaction_is_complete(text: str) -> None:
    """Redacting twice changes nothing, and no phone, address or handle is left."""
    hidden = redact(text)
    assert redact(hidden) == hidden
    assert {contact.kind for contact in contacts(hidden)} <= {"domain"}


def _corpus(name: str) -> list[dict[str, object]]:
    folder = Path(os.environ.get("QEXPLORER_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    path = folder / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("name", "most"), [("market-en", 0.01), ("sms-en", 0.002), ("sms-zh", 0.002)], ids=["market", "sms", "zh"]
)
def test_few_harmless_texts_hold_a_phone_or_handle(name: str, most: float) -> None:
    """In real harmless texts, whose phones were removed before, few numbers are taken for one."""
    texts = [str(row["text"]) for row in _corpus(name) if not row["toxic"]][::4]
    wrong = [text for text in texts if {"phone", "handle"} & {contact.kind for contact in contacts(text)}]
    assert len(wrong) / len(texts) <= most


@pytest.mark.parametrize(
    "text",
    [
        "@abcd" * 4_000,
        "http://" * 2_850 + "a.com",
        "http://a.com" * 1_600,
        "x@y.com" * 2_800,
        "a@b.com@c.com" * 1_500,
        "12 34 56 78 90, " * 1_250,
        "telegram me " * 1_600,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_keeps_a_worker_busy(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Contacts that are chained so that hiding one makes room for the next are hidden in a few passes."""
    passes, asked = itertools.count(1), itertools.count(1)
    once, shape = qexplorer.redact._redact_once, qexplorer.phones._has_shape
    monkeypatch.setattr(qexplorer.redact, "_redact_once", lambda part: (next(passes), once(part))[1])
    monkeypatch.setattr(qexplorer.phones, "_has_shape", lambda *number: (next(asked), shape(*number))[1])
    hidden = redact(text)
    assert next(passes) <= 15
    assert next(asked) <= 1_000
    assert redact(hidden) == hidden
    assert not any(part in hidden for part in ("@", "abcd", "://"))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("For orders: 07700900123", "For orders: <phone>"),
        ("Opening hours 07700 900123", "Opening hours <phone>"),
        ("super clean 07700900123 w", "super clean <phone> w"),
        ("电话13812345678 V信同号", "电话<phone> V信同号"),
        ("Telegram: meth_king1", "Telegram: <handle>"),
        ("insta: isabel_22, Telegram username joe_dealer1", "insta: <handle>, Telegram username <handle>"),
        ("واتساب ٠٥٠١٢٣٤٥٦٧", "واتساب <phone>"),
        ("फोन ९८७६५४३२१०", "फोन <phone>"),
        ("❶❸❽❶❷❸❹❺❻❼❽ or 555–123–4567", "<phone> or <phone>"),
        ("138\u034f1234\u034f5678", "<phone>"),
        ("john @ gmail . com", "<email>"),
        ("mail john@gmail.com. In stock", "mail <email>. In stock"),
    ],
)
def test_contacts_are_hidden_in_other_letters_and_behind_other_words(text: str, hidden: str) -> None:
    """Digits of other scripts, other dashes, marks that nobody sees, gaps; words that only end like "rs" or "ean"."""
    assert redact(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "Rs. 1234567",
        "order no 12345678",
        "EAN 4006381333931",
        "café élan",
        "2020–01–01",
        "see me @ shop. in stock",
        "20000mAh",
    ],
)
def test_what_looks_like_a_contact_stays(text: str) -> None:
    """Amounts, numbers of goods, dates and words are what a query needs."""
    assert redact(text) == text


def test_an_account_is_the_same_with_its_messenger_and_without() -> None:
    """Else a search for the same contact would miss one of them."""
    assert contacts("Telegram: meth_king1") == contacts("@meth_king1")
