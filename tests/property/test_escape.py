from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from kmwatch.wire.escape import clip, encodable, json_line, visible
from tests.support.findings import texts

UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Format characters that neither hide nor reorder anything: number signs of scripts, musical and shorthand marks.
HARMLESS = {chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) == "Cf"} - {
    chr(c)
    for low, high in (
        (0xAD, 0xAD),
        (0x61C, 0x61C),
        (0x180E, 0x180E),
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
        (0xE0000, 0xE007F),
    )
    for c in range(low, high + 1)
}


def is_safe(character: str) -> bool:
    return unicodedata.category(character) not in UNSAFE or character in HARMLESS


@given(texts)
def test_visible_text_holds_no_character_that_moves_hides_or_reorders(text: str) -> None:
    assert all(map(is_safe, visible(text)))


@given(texts)
def test_visible_text_is_one_line_for_every_reader_and_encodes(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(texts)
def test_visible_is_idempotent(text: str) -> None:
    assert visible(visible(text)) == visible(text)


@given(texts.filter(lambda text: all(map(is_safe, text))))
def test_harmless_text_is_left_alone(text: str) -> None:
    assert visible(text) == text


@given(texts)
def test_newlines_alone_survive_where_the_format_escapes_them_itself(text: str) -> None:
    assert visible(text, keep_newlines=True).split("\n") == [visible(part) for part in text.split("\n")]


@given(texts, st.integers(12, 80))
def test_a_cut_text_is_short_enough_and_says_how_much_is_missing(text: str, limit: int) -> None:
    cut = clip(text, limit)
    assert len(cut) <= limit
    if cut != text:
        kept, _, missing = cut.rpartition("…(+")
        assert text.startswith(kept)
        assert int(missing.removesuffix(")")) == len(text) - len(kept)


@given(texts)
def test_a_json_line_keeps_its_value_and_loses_what_is_unsafe(text: str) -> None:
    line = json_line(json.dumps({encodable(text): [encodable(text)]}, ensure_ascii=False).encode())
    assert json.loads(line) == {encodable(text): [encodable(text)]}
    assert all(map(is_safe, line.decode()))


def test_escapes_name_the_character() -> None:
    assert visible("\x1b[2J\u202e\ud800\U000e0041") == r"\x1b[2J\u202e\ud800\U000e0041"
