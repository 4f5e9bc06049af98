"""Comparisons of two models against scikit-learn, full enumeration by a slow loop, and simulated nulls."""

import gc
import time
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as oracle
from statsmodels.stats.proportion import proportion_confint

from mammolib import bootstrap, comparison
from mammolib.predictions import as_arrays

CLASSES = ["w", "x", "y", "z"]
SIZES = pytest.mark.parametrize("k", [2, 3, 4])


@pytest.fixture(autouse=True)
def _collect_no_garbage(monkeypatch):
    """multipletests does so at each call, which takes 0.1 s under pytest."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


def pair(patients=60, views=2, skills=(1.5, 1.5), seed=0, k=3):
    """Two predictions tables of the same images with correlated views; `skills` of 0 are models at chance."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(patients) % k, views)
    patient = np.repeat(np.arange(patients), views)
    known = pd.DataFrame({"image_id": [f"i{number:05d}" for number in range(len(truth))]})
    known["patient"] = [f"p{number:05d}" for number in patient]
    known["label"] = np.array(CLASSES)[truth]
    tables = []
    for skill in skills:
        own = rng.normal(size=(patients, k))[patient] + 0.5 * rng.normal(size=(len(truth), k))
        scores = np.exp(own + skill * np.eye(k)[truth])
        answers = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=columns(k))
        tables.append(known.join(answers).assign(split="test", fold=-1))
    return tables


def columns(k):
    return [f"p_{name}" for name in CLASSES[:k]]


def by_scikit_learn(truth, probabilities, ranks, k, ordered):
    """Every metric of one model, one by one."""
    said, every = probabilities.argmax(1), list(range(k))
    found = {"accuracy": oracle.accuracy_score(truth, said), "log_loss": oracle.log_loss(truth, probabilities)}
    found["balanced_accuracy"] = oracle.balanced_accuracy_score(truth, said)
    found["macro_f1"] = oracle.f1_score(truth, said, average="macro")
    found["kappa"] = oracle.cohen_kappa_score(truth, said, labels=every, weights="quadratic" if ordered else None)
    found["brier"] = ((probabilities - np.eye(k)[truth]) ** 2).sum(1).mean()
    for c in every:
        found["sensitivity", c] = oracle.recall_score(truth == c, said == c)
        found["specificity", c] = oracle.recall_score(truth != c, said != c)
        found["auc", c] = oracle.roc_auc_score(truth == c, ranks[:, c])
    return found | {"macro_auc": np.mean([found["auc", c] for c in every])}


def behind_of(name, k):
    """Patients, of 24, that a share's interval counts on."""
    return 24 if isinstance(name, str) else {"sensitivity": 24 // k, "specificity": 24 - 24 // k}[name[0]]


def entry_of(found, name):
    return found[name] if isinstance(name, str) else found["one_vs_rest"][CLASSES[name[1]]][name[0]]


def entries(found):
    """All differences, overall and of each class."""
    return [found[name] for name in comparison.OVERALL] + [
        entry for of_class in found["one_vs_rest"].values() for entry in of_class.values()
    ]


@SIZES
def test_values_and_intervals_equal_a_slow_loop_over_scikit_learn(k):
    first, second = pair(patients=24, skills=(2.0, 0.5), k=k)
    truth, ours, patient = as_arrays(first, CLASSES[:k])
    theirs = as_arrays(second, CLASSES[:k])[1]
    found = comparison.compare(first, second, CLASSES[:k], True, 25, 5)

    def difference(rows):
        one, other = (by_scikit_learn(truth[rows], p[rows], p[rows], k, True) for p in (ours, theirs))
        return {name: one[name] - other[name] for name in one}

    strata = bootstrap.patient_strata(truth, patient)
    left_out = [difference(np.flatnonzero(patient != one)) for one in range(24)]
    weights = bootstrap.patient_weights(strata, 25, 5, len(truth))
    draws = [difference(np.repeat(np.arange(len(truth)), w[patient].astype(int))) for w in np.concatenate([*weights])]
    for name, value in difference(np.arange(len(truth))).items():
        entry = entry_of(found, name)
        assert entry["value"] == pytest.approx(value, abs=1e-6), name
        if (name if isinstance(name, str) else name[0]) not in comparison.SHARES:
            values = [drawn[name] for drawn in draws]
            assert min(*values, value) - 1e-6 <= entry["low"] < entry["high"] <= max(*values, value) + 1e-6, name
            continue
        values = pd.Series([without[name] for without in left_out]).groupby(strata)
        variance = sum((len(own) - 1) ** 2 / len(own) * own.var() for _, own in values)  # of the jackknife, by stratum
        widest, behind = comparison.WIDEST.get(name, 1.0), behind_of(name, k)
        share = (value / widest + 1) / 2  # one more patient, whose share is one half, on either side of the ratio
        effect = (behind**2 * variance / (2 * widest) ** 2 + 0.25) / (behind * share * (1 - share) + 0.25)
        ends = proportion_confint(share * behind / effect, behind / effect, method="wilson")
        assert (entry["low"], entry["high"]) == pytest.approx([widest * (2 * end - 1) for end in ends], abs=2e-6), name
    assert found["accuracy"] == comparison.accuracy_difference(first, second, CLASSES[:k], 25, 5) | {
        "p": found["accuracy"]["p"]
    }
    sensitivity = found["one_vs_rest"]["w"]["sensitivity"]
    assert (sensitivity["n"], sensitivity["patients"]) == (48 // k, 24 // k)
    assert (found["n_images"], found["n_patients"]) == (48, 24)


@SIZES
def test_p_equals_all_exchanges_of_patients_by_a_slow_loop(k):
    first, second = pair(patients=5, skills=(1.5, 0.5), k=k, seed=3)
    same = first["patient"] == "p00001"  # equal probabilities, but other ranks
    second.loc[same, columns(k)] = first.loc[same, columns(k)]
    truth, ours, patient = as_arrays(first, CLASSES[:k])
    models = [(p, stats.rankdata(p, axis=0)) for p in (ours, as_arrays(second, CLASSES[:k])[1])]
    found = comparison.compare(first, second, CLASSES[:k], False, 32, 0)
    assert (found["permutations"], found["exact"]) == (32, True)
    by_chance = comparison.compare(first, second, CLASSES[:k], False, 31, 0)
    assert (by_chance["permutations"], by_chance["exact"]) == (31, False)
    results = []
    for swapped in product([False, True], repeat=5):
        mine = np.array(swapped)[patient][:, None]
        one, other = ([np.where(mine == turn, *both) for both in zip(*models, strict=True)] for turn in (False, True))
        one, other = (by_scikit_learn(truth, *model, k, False) for model in (one, other))
        results.append({name: one[name] - other[name] for name in one})
    for name in results[0]:
        values = np.abs([result[name] for result in results])
        exact, p = np.mean(values >= values[0] - 1e-9), entry_of(by_chance, name)["p"]
        assert entry_of(found, name)["p"] == exact, name
        assert p * 32 == pytest.approx(round(p * 32)), "(b + 1) / (m + 1)"
        # 31 random ones: four standard errors of a share, and what the 1 adds
        assert abs(p - exact) <= 4 * np.sqrt(exact * (1 - exact) / 31) + 1 / 32


def test_only_patients_that_differ_are_exchanged():
    differs = np.array([True, False, True])
    every = np.concatenate(list(comparison.swaps(differs, 4, 0, 3)))
    assert sorted(map(tuple, every.tolist())) == [(0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1)]
    some = np.concatenate(list(comparison.swaps(np.repeat(differs, 4), 1000, 0, 300)))
    assert some.shape == (256, 12)
    assert len(np.unique(some, axis=0)) == 256
    blocks = list(comparison.swaps(np.repeat(differs, 20), 5000, 0, 1000))
    assert [len(block) for block in blocks] == [400] * 12 + [200], "no more at once than fits into memory"
    shares = np.concatenate(blocks).mean(axis=0)
    assert (shares[20:40] == 1).all()
    assert np.abs(shares[:20] - 0.5).max() < 4 * 0.5 / np.sqrt(5000)  # four standard errors


def test_p_is_uniform_where_two_models_are_equally_good():
    pairs = [pair(patients=24, skills=(1.0, 1.0), seed=seed) for seed in range(150)]
    all_found = [comparison.compare(*both, CLASSES[:3], False, 99, seed) for seed, both in enumerate(pairs)]
    for name in comparison.OVERALL:
        p = np.array([found[name]["p"] for found in all_found])
        for level in (0.05, 0.2, 0.5):  # 21 shares of 150: four standard errors
            assert (p <= level).mean() <= level + 4 * np.sqrt(level * (1 - level) / 150), name
        assert (p <= 0.5).mean() > 0.35, name  # fewer than half: shares of few images are often equal


def test_a_real_difference_is_found_and_chance_is_not():
    skilled, chance = pair(patients=90, skills=(2.0, 0.0))
    found = comparison.compare(skilled, chance, CLASSES[:3], False, 999, 0)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "kappa", "macro_auc"):
        assert found[name]["low"] > 0
        assert found[name]["p"] == 1 / 1000
    assert found["brier"]["high"] < 0
    assert all(entry["auc"]["p_holm"] == 3 / 1000 for entry in found["one_vs_rest"].values())
    both_at_chance = comparison.compare(*pair(patients=90, skills=(0, 0), seed=1), CLASSES[:3], False, 999, 0)
    assert both_at_chance["macro_auc"]["p"] > 0.05
    assert both_at_chance["macro_auc"]["low"] < 0 < both_at_chance["macro_auc"]["high"]


@SIZES
def test_turned_round_the_values_change_sign_and_p_stays(k):
    first, second = pair(patients=40, skills=(1.5, 0.8), k=k)
    both = [comparison.compare(*pair_, CLASSES[:k], True, 200, 0) for pair_ in ((first, second), (second, first))]
    one, other = (pd.DataFrame(entries(found)) for found in both)
    assert one["value"].tolist() == (-other["value"]).tolist()
    np.testing.assert_allclose(one["low"], -other["high"], atol=2e-6)  # each end rounded to 6 digits
    pd.testing.assert_frame_equal(one[["p", "p_holm", "n", "patients"]], other[["p", "p_holm", "n", "patients"]])
    text = comparison.difference_table(both[0])
    assert text["difference"].iloc[0].startswith(f"{one['value'].iloc[0]:.3f} [")
    assert len(text) == len(one)


@SIZES
def test_neither_row_order_nor_class_names_matter(k):
    first, second = pair(patients=40, skills=(1.5, 0.8), k=k)
    found = comparison.compare(first, second, CLASSES[:k], True, 100, 0)
    shuffled = [table.sample(frac=1, random_state=seed) for seed, table in enumerate((first, second))]
    assert comparison.compare(*shuffled, CLASSES[:k], True, 100, 0) == found
    names = dict(zip(CLASSES[:k], ["s", "r", "u", "t"][:k], strict=True))
    renamed = [
        table.rename(columns={f"p_{a}": f"p_{b}" for a, b in names.items()}).assign(label=table["label"].map(names))
        for table in (first, second)
    ]
    other = comparison.compare(*renamed, list(names.values()), True, 100, 0)
    assert other.pop("one_vs_rest") == {names[label]: entry for label, entry in found.pop("one_vs_rest").items()}
    assert other == found


def test_a_copy_of_every_image_makes_nothing_surer():
    tables = pair(patients=30, views=1, skills=(1.5, 0.8))
    twice = [pd.concat([table, table.assign(image_id=table["image_id"] + "b")]) for table in tables]
    one, two = (comparison.compare(*both, CLASSES[:3], False, 500, 0) for both in (tables, twice))
    for name in comparison.OVERALL:
        assert one[name]["p"] == two[name]["p"]
        assert one[name]["low"] == pytest.approx(two[name]["low"], abs=2e-6)


def test_another_scale_of_the_probabilities_is_no_difference_of_ranks():
    first, chance = pair(patients=60, skills=(1.5, 0.0), k=2)
    second = first.copy()
    second["p_w"] = first["p_w"] ** 4  # any rising function
    second["p_x"] = 1 - second["p_w"]
    found = comparison.compare(first, second, CLASSES[:2], False, 999, 0)
    assert found["macro_auc"]["value"] == 0
    assert found["macro_auc"]["p"] == 1
    assert found["brier"]["p"] < 0.05
    assert comparison.compare(second, chance, CLASSES[:2], False, 999, 0)["macro_auc"]["p"] == 1 / 1000


def test_holm_by_hand():
    entries = [{"p": p} for p in (0.04, 0.01, None, 0.03)]
    comparison.add_holm(entries)
    # 3 x 0.01, then 2 x 0.03, then 1 x 0.04, which may not be less than the one before
    assert [entry["p_holm"] for entry in entries] == pytest.approx([0.06, 0.03, None, 0.06])
    nothing = [{"p": None}]
    comparison.add_holm(nothing)
    assert nothing == [{"p": None, "p_holm": None}]


def test_a_class_without_a_case_and_models_that_agree_have_no_certain_answer():
    first, second = (table[table["label"] != "y"].reset_index(drop=True) for table in pair())
    found = comparison.compare(first, second, CLASSES[:3], False, 100, 0)
    assert found["macro_auc"]["note"] == found["one_vs_rest"]["y"]["sensitivity"]["note"] == "not estimable: no case"
    assert found["one_vs_rest"]["y"]["auc"]["p_holm"] is None
    found = comparison.compare(first, first, CLASSES[:3], False, 100, 0)
    assert (found["permutations"], found["exact"]) == (1, True)
    for name, widest in (("accuracy", 1), ("kappa", 2), ("brier", 2)):
        assert found[name]["p"] == 1
        limit = (
            widest * 1.96 / (40 + 2)
        )  # Agresti and Min 2005, Statist. Med. 24:729, for 40 pairs of which none differs
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((-limit, limit), rel=0.05)
    assert found["one_vs_rest"]["x"]["auc"]["high"] > found["one_vs_rest"]["x"]["auc"]["value"] == 0


def test_a_difference_without_interval_or_p_is_still_a_row():
    row = comparison.as_row({"value": 0.0, "low": None, "high": None, "p": None, "p_holm": None, "note": "all agree"})
    assert row == {"difference": "all agree", "p": "", "p_holm": ""}


def test_five_thousand_draws_of_131_images_are_quick():
    tables = [table.iloc[:131] for table in pair(patients=66)]
    start = time.process_time()
    comparison.compare(*tables, CLASSES[:3], False, 5000, 0)
    assert time.process_time() - start < 2  # seen: 1.0 s


def test_difference_is_paired_and_never_certain():
    first, second = pair(skills=(1.5, 0.0), seed=1)
    found = comparison.accuracy_difference(first, second, CLASSES[:3], 1000, 0)
    accuracies = [bootstrap.evaluate(t, CLASSES[:3], False, 100, 0)["accuracy"]["value"] for t in (first, second)]
    assert found["value"] == pytest.approx(accuracies[0] - accuracies[1], abs=1e-5)
    assert found["low"] > 0
    turned = comparison.accuracy_difference(first, second.sample(frac=1, random_state=0), CLASSES[:3], 1000, 0)
    assert turned == found
    same = comparison.accuracy_difference(first, first, CLASSES[:3], 1000, 0)
    assert same["low"] < same["value"] == 0 < same["high"]
    for tables in ((first, second.iloc[:-1]), (first.iloc[:-1], second)):
        with pytest.raises(ValueError, match="second predictions: other images than ours; i00119 stands in one"):
            comparison.accuracy_difference(*tables, CLASSES[:3], 100, 0)


def test_over_seeds_by_hand_with_the_ensemble_apart():
    """Two seeds that are right on other images; their mean probabilities are right on all."""
    known = pd.DataFrame({"image_id": list("abcd"), "patient": list("pqrs"), "label": list("wwxx")})
    known = known.assign(split="test", fold=-1)
    one, two = known.assign(p_w=[0.9, 0.4, 0.1, 0.1]), known.assign(p_w=[0.9, 0.8, 0.6, 0.7])
    tables = {"one": one.assign(p_x=1 - one["p_w"]), "two": two.assign(p_x=1 - two["p_w"]).iloc[::-1]}
    found = comparison.over_seeds(tables, CLASSES[:2], False)
    assert found.index.tolist() == ["one", "two", "mean", "SD", "min", "max", "ensemble"]
    assert found["accuracy"].tolist() == pytest.approx([0.75, 0.5, 0.625, np.std([0.75, 0.5], ddof=1), 0.5, 0.75, 1.0])
    assert found.loc["ensemble", "brier"] == pytest.approx(2 * np.mean([0.1, 0.4, 0.35, 0.4] ** np.array(2)))
    assert found.columns.tolist() == comparison.OF_SEEDS
    with pytest.raises(ValueError, match="over_seeds: 1 table; two or more"):
        comparison.over_seeds({"one": one}, CLASSES[:2], False)
    with pytest.raises(ValueError, match="other: other images"):
        comparison.over_seeds(tables | {"other": tables["one"].iloc[1:]}, CLASSES[:2], False)


@SIZES
def test_over_seeds_equals_evaluate(k):
    tables = dict(zip("abc", pair(skills=(0.5, 1.0, 1.5), k=k), strict=True))
    found = comparison.over_seeds(tables, CLASSES[:k], True)
    for name, table in tables.items():
        whole = bootstrap.evaluate(table, CLASSES[:k], True, 2, 0)
        for metric in comparison.OF_SEEDS:
            value = (whole | whole["calibration"])[metric]["value"]
            assert found.loc[name, metric] == pytest.approx(value, abs=1e-6)  # evaluate rounds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[1:], "other images than ours; i00000 stands in one of the two"),
        (lambda t: t.assign(image_id="j" + t["image_id"]), "other images than ours"),
        (lambda t: t.assign(patient="q" + t["patient"]), "patient of image i00000 is qp00000, ours is p00000"),
        (lambda t: t.assign(label=["x", *t["label"][1:]]), "label of image i00000 is x, ours is w"),
        (lambda t: t.drop(columns="p_x"), "no column p_x"),
        (lambda t: t.assign(**pair()[0][columns(3)]), "its probabilities are those of this run"),
    ],
)
def test_a_file_that_cannot_be_compared_is_named_with_the_reason(tmp_path, change, message):
    ours, other = pair()
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    other.sample(frac=1, random_state=0).to_csv(good, index=False)
    change(other).to_csv(bad, index=False)
    found = comparison.read_others([good], CLASSES[:3], ours)
    np.testing.assert_allclose(found[str(good)][columns(3)], other[columns(3)], rtol=1e-12)  # text and back
    with pytest.raises(ValueError, match=r"bad\.csv: ") as error:
        comparison.read_others([good, bad], CLASSES[:3], ours)
    assert message in str(error.value)
    with pytest.raises(ValueError, match=r"good\.csv: its probabilities are those of .*good\.csv"):
        comparison.read_others([good, good], CLASSES[:3], ours)
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        comparison.read_others([tmp_path / "none.csv"], CLASSES[:3], ours)


def test_nothing_passed_in_is_changed():
    first, second = pair(patients=20)
    before = first.copy(), second.copy()
    comparison.compare(first, second, CLASSES[:3], False, 20, 0)
    comparison.over_seeds({"a": first, "b": second}, CLASSES[:3], False)
    for table, was in zip((first, second), before, strict=True):
        pd.testing.assert_frame_equal(table, was)
