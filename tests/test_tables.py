"""A CSV that can't be read is named in one line."""

import pytest

from mammolib.tables import read_csv


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        (b"", "utf-8-sig", "not read as CSV"),
        (b"a,b\n1,2,3\n4,5,6\n", "utf-8-sig", "more values than the header"),
        (b"a,b\n1,2\n4,5,6\n", "utf-8-sig", "Expected 2 fields in line 3, saw 3"),
        ("a,b\n硬癌,2\n".encode("cp932"), "utf-8-sig", "not utf-8-sig; set `encoding`"),
        (b"a,b\n1,2\n", "utf-16", "not utf-16; set"),
        (b"a,b\n1,2\n", "klingon", "encoding 'klingon'"),
    ],
)
def test_what_is_wrong_with_a_csv_is_one_line(tmp_path, content, encoding, words):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_csv(tmp_path / "a.csv", encoding)
    assert str(tmp_path / "a.csv") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_folder_or_nothing_is_no_csv(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_csv(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_csv(tmp_path / "none.csv")


def test_utf16_with_its_name_is_read(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n硬癌,2\n", encoding="utf-16")
    assert read_csv(tmp_path / "a.csv", "utf-16")["a"].tolist() == ["硬癌"]
