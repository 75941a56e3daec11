"""What is taken out of text and values: a secret in every form in which programs pass text on, and nothing else."""

from __future__ import annotations

import base64
import html
import json
import logging
import shlex
import textwrap
from urllib.parse import quote, quote_plus, urlencode

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from treadle.drivers.local.logs import StepLogger
from treadle.secrets import Mask
from treadle.values import encode_payload

ODD = "pä\"s\\w'o/rd+ %\n&x<€"
MARK = "[secret TOKEN]"


def mask_of(**secrets: str) -> Mask:
    mask = Mask()
    for name, value in secrets.items():
        mask.hold(name, value)
    return mask


@pytest.mark.parametrize(
    "shown",
    [
        ODD,
        repr(ODD),
        repr(ODD + "'\""),
        ascii(ODD),
        repr(ODD.encode()),
        str(KeyError(ODD)),
        json.dumps({"a": ODD}),
        json.dumps({"a": ODD}, ensure_ascii=False),
        json.dumps({"a": json.dumps({"b": ODD})}),
        json.dumps(ODD).replace("/", r"\/"),
        quote(ODD),
        quote(ODD, safe=""),
        quote_plus(ODD).lower(),
        f"https://x/?{urlencode({'a': ODD})}&b=1",
        html.escape(ODD),
        shlex.quote(ODD),
        ODD.encode().hex(),
        ODD.encode().hex().upper(),
        ODD.encode().hex(":"),
        ODD.encode().hex(" ").upper(),
        "".join(f"%{byte:02x}" for byte in ODD.encode()),
        quote(quote(ODD, safe=""), safe=""),
        f"https://x/?{urlencode({'next': '/y?' + urlencode({'a': ODD})})}",
        html.escape(ODD).replace("&#x27;", "&#39;"),
        html.escape(ODD).replace("&#x27;", "&apos;"),
        json.dumps(json.dumps(json.dumps(ODD))),
        json.dumps(json.dumps(json.dumps(ODD)), ensure_ascii=False),
        json.dumps(ODD, ensure_ascii=False).replace("<", r"\u003c").replace("&", r"\u0026"),  # Go
        json.dumps(ODD, ensure_ascii=False)
        .replace("<", r"\u003c")
        .replace("&", r"\u0026")
        .replace("'", r"\u0027"),  # Gson
        (
            json.dumps(ODD).replace(r"\"", r"\u0022").replace("<", r"\u003C").replace("&", r"\u0026")  # .NET
        )
        .replace("'", r"\u0027")
        .replace("+", r"\u002B")
        .replace(r"\u20ac", r"\u20AC")
        .replace(r"\u00e4", r"\u00E4"),
    ],
)
def test_a_secret_is_taken_out_in_every_form(shown: str) -> None:
    masked = mask_of(TOKEN=ODD).text(f"before {shown} behind")
    assert MARK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" behind")
    assert ODD[-3:] not in masked


@given(st.binary(max_size=5), st.text(min_size=6, max_size=40), st.binary(max_size=5), st.booleans())
@example(b"user:", "hunter2hunter2", b"", False)
def test_base64_is_taken_out_whatever_stands_around_it(before: bytes, value: str, behind: bytes, is_url: bool) -> None:
    assume(len(value.strip()) >= 6)
    encode = base64.urlsafe_b64encode if is_url else base64.b64encode
    text = encode(before + value.encode() + behind).decode()
    masked = mask_of(TOKEN=value).text(text)
    assert MARK in masked
    # What is left stands for what stood around it, and for nothing of the secret.
    left, _, right = masked.partition(MARK)
    assert len(left) <= (len(before) * 8) // 6
    assert len(right) <= (len(behind) * 8) // 6 + 3


BASIC = base64.b64encode(f"user:{ODD}".encode()).decode()


@pytest.mark.parametrize(
    "shown",
    [
        quote(BASIC, safe=""),
        BASIC.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d"),
        BASIC.replace("/", r"\/"),
        BASIC.replace("+", r"\u002B"),
        base64.b64encode(json.dumps({"password": ODD}).encode()).decode(),
        base64.b64encode(json.dumps({"password": ODD}, ensure_ascii=False).encode()).decode(),
        base64.b64encode(f"id:{quote(ODD, safe='')}".encode()).decode(),
        base64.urlsafe_b64encode(f"id:{quote_plus(ODD)}".encode()).decode(),
    ],
)
def test_base64_is_found_where_it_or_what_it_holds_was_quoted(shown: str) -> None:
    masked = mask_of(TOKEN=ODD).text(f"Basic {shown}")
    assert masked.startswith("Basic ")
    assert MARK in masked
    assert len(masked) < len("Basic ") + len(MARK) + 24, "what is left stands for what stood around it"


LONG = "a long secret, " * 8 + "end"


@pytest.mark.parametrize(
    ("folded", "left"),
    [
        (base64.encodebytes(b"user:" + LONG.encode() + b"; more").decode(), 18),
        ("\r\n\t".join(textwrap.wrap(LONG.encode().hex(), 40)), 0),
        (LONG[:20] + "\n" + LONG[20:50] + "\r\n    " + LONG[50:], 0),
    ],
)
def test_a_secret_is_found_across_the_line_breaks_that_tools_put_in(folded: str, left: int) -> None:
    mask = mask_of(TOKEN=LONG)
    text = f"before\n  it {folded}\n  behind\n"
    masked = mask.text(text)
    assert masked.startswith("before\n  it ")
    assert masked.endswith("\n  behind\n")
    assert len(masked) <= len("before\n  it \n  behind\n") + len(MARK) + left
    data = msgspec.json.decode(mask.payload(encode_payload({"a": text, "b": "C:\\new\nline"})))
    assert data == {"a": masked, "b": "C:\\new\nline"}


def test_a_backslash_before_an_n_is_no_line_break() -> None:
    value = "C:\\new\\report"
    mask = mask_of(TOKEN=value, LINES="first line\nsecond line")
    assert msgspec.json.decode(mask.payload(encode_payload([value, "first line\nsecond line"]))) == [
        MARK,
        "[secret LINES]",
    ]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert mask_of(TOKEN="a long secret that is not in it").text(text) == text


def test_marks_are_not_looked_into_and_the_longer_secret_goes_first() -> None:
    mask = mask_of(A="secret", B="my secret", C="TOKEN-")
    assert mask.text("this is my secret, a secret and TOKEN-1") == "this is [secret B], a [secret A] and [secret C]1"


def test_values_lose_secrets_in_keys_and_numbers_too() -> None:
    mask = mask_of(PIN="123456", KEY="hunter2")
    data = encode_payload({"hunter2": [1, 99123456, True, None, 1.5, "x123456"], "other": {"a": "HUNTER2"}})
    assert msgspec.json.decode(mask.payload(data)) == {
        "[secret KEY]": [1, "99[secret PIN]", True, None, 1.5, "x[secret PIN]"],
        "other": {"a": "HUNTER2"},
    }


def test_bytes_without_a_secret_are_the_very_same() -> None:
    data = encode_payload({"a": [1, "text"]})
    assert mask_of(KEY="hunter2").payload(data) is data


def test_each_line_of_a_secret_with_several_is_one() -> None:
    key = "-----BEGIN KEY-----\nMIIEvgIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    text = "-----BEGIN KEY-----\n  log: MIIEvgIBADANBg"
    assert mask_of(KEY=key).text(text) == "-----BEGIN KEY-----\n  log: [secret KEY]"


def test_what_is_in_use_is_remembered_and_what_was_used_longest_ago_is_forgotten() -> None:
    mask = Mask()
    mask.hold("HELD", "held for long")
    for number in range(300):
        mask.hold("T", f"token {number:04}")
        mask.let_go([f"token {number:04}"])
    assert mask.text("held for long, token 0000, token 0299") == "[secret HELD], token 0000, [secret T]"
    mask.hold("T", "token 0299")  # twice in use, once let go
    mask.hold("T", "token 0299")
    mask.let_go(["token 0299"])
    for number in range(300, 600):
        mask.hold("T", f"token {number:04}")
        mask.let_go([f"token {number:04}"])
    assert mask.text("token 0299") == "[secret T]"


def raise_because_of(cause: Exception | None, error: Exception) -> None:
    raise error from cause


class TestTheLoggerOfAStep:
    def log(self, caplog: pytest.LogCaptureFixture) -> StepLogger:
        caplog.set_level(logging.INFO, "treadle.actions")
        return StepLogger({"step": "a"}, mask_of(TOKEN=ODD))

    def test_messages_and_arguments_lose_secrets(self, caplog: pytest.LogCaptureFixture) -> None:
        logger = self.log(caplog)
        logger.info("got %s", ODD)
        logger.info("got %r and %d", [ODD], 5)
        logger.warning(ODD)
        logger.info("plain %s", "text")
        logger.debug("not enabled %s", ODD)
        assert [one.getMessage() for one in caplog.records] == [
            f"got {MARK}",
            f"got ['{MARK}'] and 5",
            MARK,
            "plain text",
        ]
        assert caplog.records[-1].args == ("text",)
        assert all(one.step == "a" for one in caplog.records)  # type: ignore[attr-defined]

    def test_so_do_arguments_that_do_not_fit(self, caplog: pytest.LogCaptureFixture) -> None:
        self.log(caplog).info("got %d", ODD)
        assert caplog.messages == [f"got %d ('{MARK}',)"]

    def test_so_do_errors_with_all_that_caused_them(self, caplog: pytest.LogCaptureFixture) -> None:
        logger = self.log(caplog)
        try:
            raise_because_of(RuntimeError(ODD), ValueError("outer"))
        except ValueError:
            logger.exception("it failed")
        assert "RuntimeError" in caplog.text
        assert "ValueError: outer" in caplog.text
        assert MARK in caplog.text
        assert ODD not in caplog.text
        try:
            raise_because_of(None, ValueError("harmless"))
        except ValueError as error:
            logger.error("again", exc_info=error)  # noqa: TRY400 - that form too
        assert caplog.records[-1].exc_info is not None

    def test_a_record_names_the_line_that_logged_it(self, caplog: pytest.LogCaptureFixture) -> None:
        logger = self.log(caplog)
        logger.info("one")
        logger.log(logging.INFO, "two")
        assert {one.filename for one in caplog.records} == {"test_masking.py"}
