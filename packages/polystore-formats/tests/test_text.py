from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core import formats
from polystore_core.errors import DamagedDataError, InvalidOptionError, UnsupportedFileError
from polystore_testing import FormatTests, overrides

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT: Any = formats().of("x.txt")


class TestConformance(FormatTests):
    format_ = TEXT
    values: ClassVar[list[Any]] = [
        "a\r\nb\rc\n\x0b\x1c\u2028d",
        "",
        "\ufeffmark",
        "\0",
        "naïve 細胞 \U0001f52c",
    ]
    refused: ClassVar[list[Any]] = [
        b"bytes",
        1,
        None,
        ["a"],
        np.array("a"),
        np.str_("a"),
        "\ud800",
    ]

    @overrides("a text that was cut is still a text")
    def test_cut_bytes_are_damage(self) -> None:
        assert TEXT.load(io.BytesIO(b"ab")) == "ab"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_come_back(text: str) -> None:
    for encoding in ("utf-8", "utf-16", "utf-32-be"):
        file = io.BytesIO()
        TEXT.save(text, file, encoding=encoding)
        file.seek(0)
        assert TEXT.load(file, encoding=encoding) == text


def test_bytes_are_exact(encode: Callable[..., bytes]) -> None:
    assert encode(TEXT, "a\r\nµ\n") == b"a\r\n\xc2\xb5\n"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "shift_jis"])
def test_missing_character_is_refused(
    encoding: str, encode: Callable[..., bytes], refusal: Callable[..., str]
) -> None:
    with pytest.raises(TypeError, match="can't encode"):
        encode(TEXT, "細\u2603胞", encoding=encoding)


@pytest.mark.parametrize("encoding", ["rot13", "hex", "no such", "a\0b", "undefined"])
def test_encoding_must_be_known(
    encoding: str, encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    with pytest.raises(InvalidOptionError, match="a text encoding such as 'utf-8'"):
        encode(TEXT, "a", encoding=encoding)
    with pytest.raises(InvalidOptionError, match="a text encoding such as 'utf-8'"):
        read(TEXT, b"a", encoding=encoding)


def test_changed_text_is_refused(encode: Callable[..., bytes]) -> None:
    with pytest.raises(TypeError, match="shift_jis would change the text"):
        encode(TEXT, "¥", encoding="shift_jis")


@pytest.mark.parametrize("cut", [b"a\xc3", "\u7d30".encode()[:2], b"a\n\xff\0"])
def test_cut_character_is_damage(cut: bytes, read: Callable[..., Any]) -> None:
    with pytest.raises(DamagedDataError, match=r"line \d"):
        read(TEXT, cut)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            "5 µm\n".encode("cp1252"),
            r"line 1 has the byte b'\\xb5', which is not utf-8 text: pass enc",
        ),
        ("µm".encode("utf-16"), "utf-16 text, not utf-8 text"),  # PowerShell's ">"
        (b"\xfe\xff" + "µm".encode("utf-16-be"), "utf-16 text, not utf-8 text"),
        ("µm".encode("utf-32"), "utf-32 text, not utf-8 text"),
        (b"a\n\xed\xa0\x80", "line 2 "),
    ],
)
def test_other_encodings_are_not_damage(
    data: bytes, reason: str, read: Callable[..., Any]
) -> None:
    with pytest.raises(UnsupportedFileError, match=reason):
        read(TEXT, data)


def test_mutations_never_crash(
    encode: Callable[..., bytes], survivors: Callable[..., list[Any]]
) -> None:
    assert all(
        type(text) is str for text in survivors(TEXT, encode(TEXT, "µ 細胞 text\n" * 40))
    )
