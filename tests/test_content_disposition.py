"""Content-Disposition for any file name: parses back to it, and can never become another header."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenlang_async_storage._headers import MAX_FILENAME_BYTES, content_disposition, safe_filename

# RFC 6266 with RFC 8187's ext-value, as strict as a receiver may be.
_HEADER = re.compile(
    r"(?P<type>attachment|inline)"
    r'; filename="(?P<plain>[^"\\]*)"'
    r"(?:; filename\*=UTF-8''(?P<extended>(?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+))?"
)


def parsed(header: str) -> str:
    """The file name a browser takes from *header*."""
    match = _HEADER.fullmatch(header)
    assert match, header
    return unquote(match["extended"], errors="strict") if match["extended"] else match["plain"]


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("annual report; final.pdf", 'attachment; filename="annual report; final.pdf"'),
        ("Bericht für Zürich.pdf", None),
        ("100%.csv", "attachment; filename=\"100_.csv\"; filename*=UTF-8''100%25.csv"),
        ('say "hi".txt', "attachment; filename=\"say _hi_.txt\"; filename*=UTF-8''say%20%22hi%22.txt"),
        ("€.csv", "attachment; filename=\"_.csv\"; filename*=UTF-8''%E2%82%AC.csv"),
        ("日本語.parquet", None),
        ("👩‍🔬.txt", None),
    ],
)
def test_names_come_back(filename: str, header: str | None) -> None:
    """A receiver reads the name that was given; plain names need one parameter only."""
    made = content_disposition(filename)
    assert parsed(made) == filename
    assert header is None or made == header


@pytest.mark.parametrize(
    ("filename", "saved"),
    [
        ("a\r\nSet-Cookie: x=1", "aSet-Cookie: x=1"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("C:\\windows\\system.ini", "C:_windows_system.ini"),
        ("annexe\u202efdp.exe", "annexefdp.exe"),
        ("zero\u0000byte", "zerobyte"),
        ("lone\ud800surrogate", "lonesurrogate"),
        ("line\u2028separator", "lineseparator"),
        ("", "download"),
        ("..", "download"),
        (" . ", "download"),
        ("\u202e\r\n", "download"),
    ],
)
def test_s04_dangerous_names_are_made_safe(filename: str, saved: str) -> None:
    """Line breaks, separators, bidi overrides and empty names never reach the receiver."""
    assert safe_filename(filename) == saved
    assert parsed(content_disposition(filename)) == saved


def test_long_names_keep_their_extension() -> None:
    """A name of 10 kB is cut to 255 bytes of UTF-8, between characters, before its extension."""
    for name in ("n" * 10_000 + ".parquet", "日" * 5_000 + ".pdf"):
        cut = safe_filename(name)
        assert len(cut.encode()) <= MAX_FILENAME_BYTES
        assert cut.rpartition(".")[2] == name.rpartition(".")[2]
        assert name.startswith(cut.rpartition(".")[0])
    assert safe_filename("x" * 300) == "x" * 255
    assert safe_filename("x." + "y" * 300) == "x." + "y" * 253


def test_disposition_is_one_of_two() -> None:
    """Only `attachment` and `inline` exist."""
    assert content_disposition("a", "inline").startswith("inline; ")
    with pytest.raises(ValueError, match="disposition"):
        content_disposition("a", "form-data")  # type: ignore[arg-type]


@given(st.text(st.characters(), max_size=300))
@example("\r\n" * 5_000)
@example('"' * 10_000)
@example("\u202e\u2066ab\u2069")
@example("\ud83d")
def test_s04_any_text_is_safe(filename: str) -> None:
    """The header is short printable ASCII and parses back to the safe name, which is one path segment."""
    header = content_disposition(filename)
    assert header.isascii()
    assert header.isprintable()
    assert len(header) < 1100
    name = safe_filename(filename)
    assert parsed(header) == name
    assert name not in {"", ".", ".."}
    assert not set(name) & set("/\\\u202e\u2066\u200e")
    assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in name)
    assert safe_filename(name) == name
