"""What the two parts share: names, pixels, and one exposure that was changed."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from mammolib import cache, leakage
from mammolib.images import breast_mask, fit_to_network
from mammolib.phantom import Case, draw

THRESHOLD = 0.75


def network(pixels: np.ndarray) -> np.ndarray:
    return fit_to_network(pixels, breast_mask(pixels), 112, 112)[0]


@pytest.fixture(scope="module")
def drawn():
    """Sources of 12 phantoms, both views of 6 patients, (233, 179) uint16."""
    signs, pairs = ("solid", "scirrhous", "tubule_forming"), itertools.product(range(6), ("CC", "MLO"))
    cases = [Case(7, k, view, "LR"[k % 2], signs[k % 3]) for k, view in pairs]
    return [np.rint(draw(case, 1.0) * 65535).astype(np.uint16) for case in cases]


@pytest.fixture(scope="module")
def images(drawn):
    return np.stack([network(pixels) for pixels in drawn])


def other_window(pixels: np.ndarray) -> np.ndarray:
    return np.rint(65535 * np.clip((pixels / 65535 - 0.05) / 0.6, 0, 1) ** 0.7).astype(np.uint16)


def noisy_8_bits(pixels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 2, pixels.shape)
    return (np.clip(np.rint(pixels / 257 + noise), 0, 255) * 257).astype(np.uint16)


@pytest.fixture
def near_duplicates(tmp_path):
    """Pairs that correlate above the threshold."""

    def found(images, patients, parts, workers=1) -> list[tuple]:
        pairs, correlations = leakage.compare(images, range(len(images)), patients, parts, tmp_path, workers)
        assert list(tmp_path.iterdir()) == [], "what is too much to hold is removed"
        return [tuple(pair) for pair in pairs[correlations > THRESHOLD].tolist()]

    return found


COPIES = {
    "itself": lambda pixels: pixels,
    "other window": other_window,
    "8 bits and noise": noisy_8_bits,
    "mirrored": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "turned round": lambda pixels: pixels[::-1, ::-1],
    "larger": lambda pixels: np.rint(ndimage.zoom(pixels.astype(float), 1.3, order=1)).astype(np.uint16),
    "top cut": lambda pixels: pixels[8:],
    "all sides cut": lambda pixels: pixels[6:-6, 5:-5],
    "all of it": lambda pixels: other_window(noisy_8_bits(pixels)[4:-4, 4:-4])[:, ::-1],
}


@pytest.mark.parametrize("copy", COPIES)
def test_one_exposure_is_found_however_it_was_changed(drawn, images, copy, near_duplicates):
    copies = np.stack([network(np.ascontiguousarray(COPIES[copy](pixels))) for pixels in drawn])
    patients = np.array([*np.repeat(list("abcdef"), 2), *np.repeat(list("uvwxyz"), 2)])
    parts = np.repeat(["development", "test"], 12)
    pairs = near_duplicates(np.concatenate([images, copies]), patients, parts)
    assert pairs == [(k, k + 12) for k in range(12)]


@pytest.mark.parametrize("change", [np.fliplr, lambda image: np.where(image > 0, 65536 - image.astype(int), 0)])
def test_an_image_mirrored_or_a_negative_in_the_networks_frame_is_found(images, near_duplicates, change):
    pair = np.stack([images[0], change(images[0])]).astype(np.uint16)
    assert near_duplicates(pair, np.array(["a", "b"]), np.array(["test", "test"])) == [(0, 1)]


def test_two_breasts_and_two_views_are_no_copies(images, near_duplicates):
    ids = np.arange(12)
    highest = [
        leakage.best_correlation(leakage.at_every_scale(one), other)
        for one, other in itertools.combinations(map(leakage.fine_structure, images), 2)
    ]
    assert max(highest) < 0.5, "far from the threshold"
    assert near_duplicates(images, ids, ids) == []


def test_near_duplicates_of_one_patient_in_one_part_are_no_leak(images, near_duplicates):
    same = images[[0, 0, 0]]
    for patients, parts, pairs in (
        ("aaa", "ddd", []),
        ("aaa", "ddt", [(0, 2), (1, 2)]),
        ("aab", "ddd", [(0, 2), (1, 2)]),
        ("abc", "ddt", [(0, 1), (0, 2), (1, 2)]),
    ):
        assert near_duplicates(same, np.array(list(patients)), np.array(list(parts))) == pairs


def test_blocks_and_processes_change_nothing(images, monkeypatch, near_duplicates):
    both = np.concatenate([images, images[::-1]])
    patients, parts = np.arange(24), np.repeat(["development", "test"], 12)
    whole = near_duplicates(both, patients, parts)
    monkeypatch.setattr(leakage, "BLOCK", 5)
    for workers in (1, 2):
        assert near_duplicates(both, patients, parts, workers) == whole == [(k, 23 - k) for k in range(12)]


def test_what_is_compared_is_what_a_slow_search_over_all_pairs_has(images, tmp_path, monkeypatch):
    monkeypatch.setattr(leakage, "LEAST_ALIKE", 0.3)
    pairs, correlations = leakage.compare(images, range(12), np.repeat(range(6), 2), np.zeros(12), tmp_path, 1)
    fine = [leakage.fine_structure(image).astype(np.float16).astype(np.float32) for image in images]
    likeness = {}
    for i, j in itertools.combinations(range(12), 2):
        one, other = leakage.spectrum(fine[i]), leakage.spectrum(fine[j])
        if i // 2 != j // 2:  # of 12 images all are among the 20 nearest
            likeness[i, j] = max((one * other).sum(), (one * other[::-1]).sum())
    assert [tuple(pair) for pair in pairs.tolist()] == [pair for pair in likeness if likeness[pair] > 0.3]
    assert 5 < len(pairs) < len(likeness)
    expected = [leakage.best_correlation(leakage.at_every_scale(fine[i]), fine[j]) for i, j in pairs]
    assert correlations.tolist() == pytest.approx(expected, abs=1e-6)


def held_pages(file: str) -> int:
    """Kilobytes of a mapped file that stand in this process' memory; 0 where it is not mapped."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(int(next(line for line in lines if line.startswith("Rss:")).split()[1]) for row in lines if file in row)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="this system does not tell what is held")
def test_mapped_images_do_not_stay_in_memory(images, tmp_path, capsys):
    many = np.concatenate([images] * 3)
    many.tofile(tmp_path / "images.uint16")
    mapped = cache.mapped(tmp_path / "images.uint16", (112, 112))
    slots, patients = [35, *range(12)], np.arange(13)
    pairs, correlations = leakage.compare(mapped, slots, patients, patients, tmp_path, 1)
    assert held_pages("images.uint16") == 0
    out = capsys.readouterr().out
    assert "13 of 13 images looked at for copies" in out
    assert "images compared with those most like them" in out
    assert pairs[correlations > THRESHOLD].tolist() == [[0, 12]]
    assert mapped[:, 0, 0].sum() > 0
    assert held_pages("images.uint16") > 0, "what is read through the map is held"


def test_the_best_correlation_is_that_of_a_slow_search():
    rng, middle = np.random.default_rng(3), np.zeros((64, 64))
    one, other = middle.copy(), middle.copy()
    one[10:50, 12:52] = ndimage.gaussian_filter(rng.normal(size=(40, 40)), 1)
    one /= np.linalg.norm(one)
    other[16:56, 9:49] = one[10:50, 12:52][:, ::-1]  # mirrored, 6 down; the columns 12 to 51 mirror to 12 to 51
    slow = max(
        abs((np.roll(turned, (down, right), (0, 1)) * other).sum())
        for turned in (one, one[:, ::-1], one[::-1], one[::-1, ::-1])
        for down in range(-8, 9)
        for right in range(-8, 9)
    )
    assert slow == pytest.approx(1)
    assert leakage.best_correlation(leakage.at_every_scale(one), other) == pytest.approx(slow, abs=1e-6)
    away = np.roll(one, 12, axis=0)  # farther than is looked
    assert leakage.best_correlation(leakage.at_every_scale(one), away) < 0.7


def test_fine_structure_has_no_mean_length_one_and_knows_no_window(images):
    rows = np.stack([leakage.fine_structure(image).ravel() for image in images[:3]])
    assert rows.shape == (3, 64 * 64)
    np.testing.assert_allclose(rows.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    linear = np.where(images[:3] > 0, images[:3] // 2 + 9000, 0).astype(np.uint16)
    for image, row in zip(linear, rows, strict=True):
        assert leakage.fine_structure(image).ravel() @ row > 0.999
    assert not leakage.fine_structure(np.zeros((32, 32), np.uint16)).any()


def test_signatures_are_kept_in_order_in_a_private_file_that_goes(images, tmp_path):
    with leakage.signatures(images, [3, 0, 7], tmp_path / "private", 2) as file:
        assert file.parent == tmp_path / "private"
        assert file.stat().st_size == 3 * 64 * 64 * 2
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        for first, slots in ((0, [3, 0, 7]), (1, [0, 7])):
            expected = [leakage.fine_structure(images[slot]) for slot in slots]
            found = leakage.read_signatures(file, first, 5)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=2e-4)  # float16 has 11 bits, the largest is 0.1
    assert not file.exists()


@pytest.fixture
def table():
    cohort = pd.DataFrame({"patient": list("abcdef"), "image_id": list("123456"), "sha256": list("uvwxyz")})
    cohort = cohort.assign(split=["development"] * 4 + ["test"] * 2, study=["S0", "S1", "S1", "", "", "S2"])
    return cohort.assign(slot=[3, 2, 1, 0, 5, 4])


NOTHING = {"shared_patients": [], "shared_studies": [], "shared_pixels": [], "near_duplicates": []}


def find_leaks(table, images, folder) -> dict:
    return leakage.find_leaks(table, images, THRESHOLD, folder, 1)[0]


def test_the_gate_finds_what_is_shared_and_nothing_else(table, images, tmp_path):
    assert find_leaks(table, images[:6], tmp_path) == NOTHING
    leaky = table.assign(patient=list("abcdea"), sha256=list("uvwxvz"), study=["S0", "S1", "S1", "", "", "S1"])
    mapped = images[:6].copy()
    mapped[4] = other_window(mapped[3])  # slots of images 6 and 1
    leaks = find_leaks(leaky, mapped, tmp_path)
    assert leaks == {
        "shared_patients": ["a"],
        "shared_studies": ["2 and 6"],
        "shared_pixels": ["2 and 5"],
        "near_duplicates": ["1 and 6"],
    }
    with pytest.raises(ValueError, match=r"shared_patients: a \(1 in all\); shared_studies: 2 and 6 .*: 1 and 6 \(1"):
        leakage.require_no_leaks(leaks)
    leakage.require_no_leaks(NOTHING)


def test_the_gate_tells_what_it_compared(table, images, tmp_path, monkeypatch):
    copied = images[:6].copy()
    copied[4] = other_window(copied[3])  # slots of images 6 and 1
    monkeypatch.setattr(leakage, "LEAST_ALIKE", -0.9)  # all pairs
    leaks, compared = leakage.find_leaks(table, copied, THRESHOLD, tmp_path, 1)
    assert leaks["near_duplicates"] == ["1 and 6"]
    pairs, correlations = leakage.compare(copied, table["slot"], np.arange(6), np.arange(6), tmp_path, 1)
    assert compared["pairs"] == len(pairs) == 15
    assert compared["highest"] == round(np.sort(correlations)[-2], 3) < 0.5, "the copy is no near miss"
    alone = leakage.find_leaks(table.assign(split="test", patient="a"), images[:6], THRESHOLD, tmp_path, 1)
    assert alone == (NOTHING, {"pairs": 0, "highest": None})


def test_a_cohort_of_one_part_shares_nothing(table, images, tmp_path):
    assert find_leaks(table.assign(split="development", patient="a"), images[:6], tmp_path) == NOTHING


def test_images_without_a_study_share_none(table, images, tmp_path):
    assert find_leaks(table.assign(study=""), images[:6], tmp_path) == NOTHING


def test_a_split_by_image_may_share_patients_and_says_so(table):
    meant = NOTHING | {"shared_patients": ["a"], "shared_studies": ["2 and 6"]}
    leakage.require_no_leaks(meant, "by_image")
    for name in ("shared_pixels", "near_duplicates"):
        with pytest.raises(ValueError, match=f"two patients: {name}: 1 and 5"):
            leakage.require_no_leaks(meant | {name: ["1 and 5"]}, "by_image")
    shared = table.assign(patient=list("abcdab"))
    assert leakage.split_note("by_image", shared) == "split by image: 2 patients in both parts"
    for split in (None, "by_patient", "by_date", "from_registry"):
        assert leakage.split_note(split, shared) == ""
        with pytest.raises(ValueError, match="shared_patients: a"):
            leakage.require_no_leaks(meant, split)


def test_of_many_leaks_ten_are_listed():
    with pytest.raises(ValueError, match=r"near_duplicates: (\w+, ){9}\w+ \(25 in all\)$"):
        leakage.require_no_leaks(NOTHING | {"near_duplicates": [f"pair{k}" for k in range(25)]})
