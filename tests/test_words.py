"""Words, days, numbers and ids of a pathology list, in the ways in which people write them."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from mammolib import words

CLASSES = ["tubule_forming", "solid", "scirrhous"]
OTHER, UNSTATED, MIXED, NONE = "other_histology", "subtype_not_stated", "two_types", "no_invasion"
ERA_YEARS = [("昭和", "S", 1925, date(1926, 12, 25)), ("平成", "H", 1988, date(1989, 1, 8))]
ERA_YEARS.append(("令和", "R", 2018, date(2019, 5, 1)))


@pytest.fixture(scope="module")
def known(request):
    return words.read_label_map(request.config.rootpath / "params/labels_idc.csv", CLASSES)


@pytest.mark.parametrize(
    ("spellings", "said"),
    [
        (
            "乳頭腺管癌 乳頭腺管がん 乳頭腺管ガン 乳頭腺管ｶﾞﾝ 腺管形成型 ａ１ A1 Pap-Tub PAP‐TUB pap_tub 8500/31",
            "tubule_forming",
        ),
        ("充実腺管癌 充実型 浸潤性乳管癌（充実型） 浸潤性乳管癌【充実型】 a2 sol-tub Sol−Tub 8500/32", "solid"),
        ("硬癌 硬がん 硬性型 a3 sci sci. 8500/33 硬癌（狭義） 浸潤性乳管癌・硬性型 浸潤性乳管癌、硬癌", "scirrhous"),
        ("浸潤性乳管癌 IDC IDC-NOS NST 8500/3 非特殊型 不明", UNSTATED),
        ("管状癌 充実乳頭癌 髄様癌 浸潤性微小乳頭癌 粘液癌 浸潤性小葉がん その他 a4 b3 8520/3", OTHER),
        ("骨・軟骨化生を伴う癌 分泌癌（若年性癌） 8211/3", OTHER),
        ("DCIS 非浸潤性乳管がん 1a ﾍﾟｰｼﾞｪｯﾄ病 ペ－ジェット病 線維腺腫 良性", NONE),
    ],
)
def test_both_editions_codes_and_false_friends_have_their_meaning(known, spellings, said):
    assert {word: words.meaning(word, known) for word in spellings.split()} == dict.fromkeys(spellings.split(), said)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("Invasive  Ductal\tCarcinoma", UNSTATED),
        ("invasive carcinoma of no special type", UNSTATED),
        ("Invasive carcinoma, NST", UNSTATED),
        ("Invasive ductal carcinoma, scirrhous type", "scirrhous"),
        ("IDC ( solid  type )", "solid"),
        ("乳頭腺管 癌", "tubule_forming"),
        ("Solid-Tubular ca.", "solid"),
        ("Solid papillary carcinoma", OTHER),
        ("Tubular carcinoma", OTHER),
        ("medullary carcinoma", OTHER),
        ("carcinoma with cartilaginous and / or osseous metaplasia", OTHER),
    ],
)
def test_words_with_spaces_have_their_meaning(known, word, said):
    assert words.meaning(word, known) == said


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("硬癌＋充実腺管癌", MIXED),
        ("a2+a3", MIXED),
        ("a1/a2", MIXED),
        ("硬癌、粘液癌", MIXED),
        ("8500/31 + 8500/32", MIXED),
        ("solid-tubular > scirrhous", "solid"),
        ("硬癌＞充実腺管癌＞乳頭腺管癌", "scirrhous"),
        ("硬癌≫a1", "scirrhous"),
        ("a2>a3+a1", "solid"),
        ("a2+a3>a1", MIXED),
        ("硬癌・硬性型", "scirrhous"),
        ("粘液癌>硬癌", OTHER),
        ("浸潤性乳管癌>硬癌", UNSTATED),
        ("硬癌+DCIS", "scirrhous"),
        ("IDC+DCIS", UNSTATED),
        ("硬癌、DCIS", "scirrhous"),
        ("硬癌 (DCIS, solid)", "scirrhous"),
        ("DCIS>硬癌", "scirrhous"),
        ("DCIS (solid) + 硬癌", "scirrhous"),
        ("非浸潤性乳管癌（充実型）", NONE),
        ("DCIS, solid type", NONE),
        ("DCIS>線維腺腫", NONE),
        ("硬癌+8500/2", "scirrhous"),
        ("DCIS+謎", ""),
        ("粘液癌+DCIS", OTHER),
        ("DCIS+線維腺腫", NONE),
        ("硬癌>謎", ""),
        ("硬癌+謎", ""),
        ("a2/3", ""),
        ("+", ""),
        ("", UNSTATED),
        ("謎", ""),
    ],
)
def test_of_mixed_words_the_larger_counts_where_it_is_known(known, word, said):
    assert words.meaning(word, known) == said


def test_a_map_may_decide_a_mixed_word_as_a_whole(known):
    assert words.meaning("硬癌 ＋ ＤＣＩＳ", known) == "scirrhous"
    assert words.meaning("硬癌 ＋ ＤＣＩＳ", known | {words.folded("硬癌+DCIS"): OTHER}) == OTHER


def test_unknown_words_are_counted_the_most_frequent_first(known):
    list_words = pd.Series(["x", "謎", "硬癌", "謎", "a1+謎"])
    assert words.unknown_words(list_words, known) == "'謎' (2), 'x' (1), 'a1+謎' (1)"
    assert words.unknown_words(list_words[2:3], known) == ""
    assert words.meanings(list_words, known).isna().tolist() == [True, True, False, True, True]


def test_a_map_names_words_with_two_classes_and_strange_classes(tmp_path):
    path = tmp_path / "map.csv"
    path.write_text("word,class\n硬癌,scirrhous\n硬がん,solid\nx,lobular\n")
    with pytest.raises(
        ValueError, match=r"map\.csv: words with two classes: 硬癌; class lobular; allowed: .*no_invasion$"
    ):
        words.read_label_map(path, CLASSES)
    path.write_text("word,class\n硬癌,scirrhous\n硬がん, scirrhous\n管状癌,\n", encoding="utf-8-sig")
    assert words.read_label_map(path, CLASSES) == {"硬癌": "scirrhous", "管状癌": OTHER, "": UNSTATED}
    path.write_text("word,meaning\n")
    with pytest.raises(ValueError, match="no column class"):
        words.read_label_map(path, CLASSES)


def test_any_day_is_read_in_every_way_it_is_written():
    rng = np.random.default_rng(11)
    start = date(1926, 12, 25)
    for offset in rng.integers(0, (date(2035, 12, 31) - start).days, 300):
        found = start + timedelta(days=int(offset))
        name, letter, before, _ = [era for era in ERA_YEARS if era[3] <= found][-1]
        y, m, d = found.year, found.month, found.day
        era = "元" if y - before == 1 else str(y - before)
        forms = [f"{y}-{m:02d}-{d:02d}", f"{y}/{m}/{d}", f"{y}.{m}.{d}", f"{y}{m:02d}{d:02d}", f"{y}年{m}月{d}日"]
        forms += [f"{letter}{y - before}.{m}.{d}", f"{letter.lower()}{y - before:02d}/{m:02d}/{d:02d}"]
        forms += [f"{name}{era}年{m}月{d}日", f"{name} {era}年 {m:2d}月 {d:2d}日", f"{letter}.{era}.{m}.{d}"]
        forms += [f"{y}/{m}/{d} 0:00", f"{y}-{m:02d}-{d:02d} 00:00:00", f"{letter}{y - before}.{m}.{d}(土)"]
        wide = [form.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)}) for form in forms]
        assert set(words.days(pd.Series([*forms, *wide]))) == {pd.Timestamp(found)}, forms


@pytest.mark.parametrize(
    "text",
    [
        *("S64.1.8", "S1.12.24", "H1.1.7", "平成元年1月7日", "H31.5.1", "H32.1.5", "R0.5.1", "H0.1.1", "M45.1.1"),
        *("18.1.5", "06/1/5", "060105", "元年1月1日", "2006元.1.1", "H2006.1.5", "1899-12-31", "99991231"),
        *("2011-02-30", "2011-13-01", "2011-150", "2011-05", "2011", "2006-1/5", "2006年1月", "2011-05-30T10:00"),
        *("now", "########"),
    ],
)
def test_what_is_no_day_of_its_era_or_calendar_is_no_day(text):
    assert words.days(pd.Series([text])).isna().all()
    with pytest.raises(ValueError, match=r"diagnosed_to is '.*'; allowed: a day such as 2006-01-01, or null"):
        words.day(text, "diagnosed_to")


def test_the_last_and_first_days_of_eras_and_empty_columns_are_read():
    texts = pd.Series(["S64.1.7", "H1.1.8", "H31.4.30", "R1.5.1", "㍻18年1月5日", ""])
    expected = ["1989-01-07", "1989-01-08", "2019-04-30", "2019-05-01", "2006-01-05", None]
    pd.testing.assert_series_equal(words.days(texts), pd.Series(pd.to_datetime(expected)), check_dtype=False)
    assert words.days(pd.Series([], dtype=str)).dtype.kind == "M"
    assert words.days(pd.Series(["", "x"])).dtype.kind == "M"
    assert words.day("H18.1.5", "diagnosed_from") == pd.Timestamp("2006-01-05")


@pytest.mark.parametrize(
    ("text", "found"),
    [("15", "15"), ("１５．５ｍｍ", "15.5"), (" 15 MM ", "15"), ("0", "0"), ("300", "300")]
    + [(wrong, None) for wrong in ("300.1", "-5", "1.5cm", "15x10", "1,5", "", "nan", "1e2", "約15")],
)
def test_a_number_is_one_number_in_its_unit(text, found):
    assert words.number(text, 300, "mm") == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("15", "15"),
        ("１５×１２ｍｍ", "15"),
        ("1.5cm", "15"),
        ("1.2 x 2.1 x 1 cm", "21"),
        ("9*8", "9"),
        ("15mm x 2cm", "20"),
    ]
    + [(wrong, None) for wrong in ("301", "31cm", "-5", "15x", "1x2x3x4", "", "nan", "2in", "約15")],
)
def test_a_size_is_the_largest_diameter_in_millimetres(text, found):
    assert words.longest(text, 300) == found


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("007", "7", "leading_zeros"),
        ("７", "7", "full_width"),
        (" 7", "7 ", "spaces"),
        ("1　2", "12", "spaces"),
        ("００７", "7", "full_width+leading_zeros"),
        ("Ａ 12", "A12", "full_width+spaces"),
        ("0 12", "12", "spaces+leading_zeros"),
    ],
)
def test_ids_that_differ_in_spelling_alone_are_told_by_kind(one, other, kind):
    assert words.plain_id(one) == words.plain_id(other)
    assert words.spelling_difference(one, other) == words.spelling_difference(other, one) == kind


def test_an_id_stays_text():
    assert [words.plain_id(text) for text in ("00A1-0", "a1", "000", " ", "12.0")] == ["A1-0", "a1", "0", "", "12.0"]
