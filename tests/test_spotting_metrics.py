"""Scores of intervals against brute force, scorers written plainly, and cases derived by hand."""

import itertools
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from melib import DataError, metrics

CONFORMANCE = Path(__file__).parent / "conformance"
EXPECTED = pd.read_csv(
    CONFORMANCE / "expected.csv", keep_default_na=False, na_values=["nan"], dtype={"emotions": str}
)
RULES = ("strict", "megc", "boosting")
COLUMNS = ["subject", "video", "onset", "offset", "emotion"]
COUNTS = ["tp", "fp", "fn"]


def table(*rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def frames(row):
    return set(range(row.onset, row.offset + 1))


def iou_of(p, t):
    same_video = (p.subject, p.video) == (t.subject, t.video)
    union = frames(p) | frames(t)
    return len(frames(p) & frames(t)) / len(union) if same_video and union else 0


EMOTIONS = ("negative", "positive", "others")
PLACE = st.tuples(st.sampled_from("12"), st.sampled_from("ab"))


@st.composite
def scenes(draw):
    """A few true intervals and predictions, most of them near a true one."""
    truth = draw(
        st.lists(
            st.tuples(PLACE, st.integers(-3, 15), st.integers(0, 9), st.sampled_from(EMOTIONS)), max_size=5
        )
    )
    near = (
        st.tuples(st.sampled_from(truth), st.integers(-2, 2), st.integers(-2, 2), st.sampled_from(EMOTIONS))
        if truth
        else st.nothing()
    )
    anywhere = st.tuples(PLACE, st.integers(-3, 15), st.integers(0, 9), st.sampled_from(EMOTIONS))
    predicted = draw(
        st.lists(
            near.map(lambda n: (n[0][0], n[0][1] + n[1], max(0, n[0][2] + n[2]), n[3])) | anywhere, max_size=5
        )
    )
    return tuple(table(*((*w, on, on + more, e) for w, on, more, e in rows)) for rows in (predicted, truth))


def matchings(predicted, truth, fits):
    """Every one-to-one matching, as lists of (predicted, truth)."""
    p, t = list(predicted.itertuples()), list(truth.itertuples())
    allowed = [[None, *(b for b in t if fits(a, b))] for a in p]
    for choice in itertools.product(*allowed):
        taken = [b.Index for b in choice if b]
        if len(taken) == len(set(taken)):
            yield [(a, b) for a, b in zip(p, choice, strict=True) if b]


def best_matchings(predicted, truth, fits):
    """All matchings of most pairs and, among these, of largest total IoU."""
    every = list(matchings(predicted, truth, fits))
    rank = [(len(m), round(sum(iou_of(a, b) for a, b in m), 9)) for m in every]
    return [m for m, r in zip(every, rank, strict=True) if r == max(rank)]


# Scorers written for clarity, the oracle of strs
# ------------------------------------------------------------------------------------------


def megc_pairs(predicted, truth):
    pairs, fp, fn = [], 0, 0
    for subject in set(predicted["subject"]):
        events = truth[truth["subject"] == subject]
        for video in set(events["video"]):
            free = list(events[events["video"] == video].itertuples())
            for p in predicted[
                (predicted["subject"] == subject) & (predicted["video"] == video)
            ].itertuples():
                taken = [t for t in free if iou_of(p, t) >= 0.5]
                free = [t for t in free if iou_of(p, t) < 0.5]
                pairs += [(p, t) for t in taken]
                fp += len(taken) == 0
            fn += len(free)
    return pairs, fp, fn


def boosting_pairs(predicted, truth):
    pairs, fp, fn = [], 0, 0
    for place, events in truth.groupby(["subject", "video"]):
        events, taken = list(events.itertuples()), set()
        inside = [p for p in predicted.itertuples() if (p.subject, p.video) == place]
        for p in sorted(inside, key=lambda p: p.onset):
            best = max(range(len(events)), key=lambda i: (iou_of(p, events[i]), i))
            if iou_of(p, events[best]) >= 0.5 and best not in taken:
                taken.add(best)
                pairs.append((p, events[best]))
            else:
                fp += 1
        fn += len(events) - len(taken)
    return pairs, fp, fn


def recognition_f1(pairs, emotions, rule):
    pairs = [(p.emotion, t.emotion) for p, t in pairs if t.emotion in emotions]
    precisions, recalls = [], []
    for emotion in emotions:
        binary = [(predicted == emotion, true == emotion) for predicted, true in pairs]
        one_cell = len({label for pair in binary for label in pair}) < 2
        if one_cell and rule == "boosting":
            continue
        if one_cell and rule == "megc":
            binary = []
        tp, fp, fn = (binary.count(cell) for cell in ((True, True), (True, False), (False, True)))
        precisions.append(tp / (tp + fp) if tp + fp else 0)
        recalls.append(tp / (tp + fn) if tp + fn else 0)
    p, r = (np.mean(values) if values else 0 for values in (precisions, recalls))
    return 2 * p * r / (p + r) if p + r else (0 if rule == "strict" else math.nan)


# Cases
# ------------------------------------------------------------------------------------------


@given(scenes(), st.lists(st.tuples(st.booleans(), st.integers(1, 20)), min_size=10, max_size=10))
def test_by_megc_a_row_that_ends_before_it_begins_overlaps_none_and_elsewhere_it_is_refused(scene, turns):
    """The public scorer lists a row's frames; one listed backwards is empty."""
    predicted, truth = (frame.copy() for frame in scene)
    for frame in (predicted, truth):
        for (turned, by), at in zip(turns, frame.index, strict=False):
            if turned:
                frame.loc[at, "offset"] = frame.loc[at, "onset"] - by
    score = metrics.strs(predicted, truth, EMOTIONS, rule="megc")
    pairs, fp, fn = megc_pairs(predicted, truth)
    assert [score[count] for count in COUNTS] == [len(pairs), fp, fn]
    if any((frame["offset"] < frame["onset"]).any() for frame in (predicted, truth)):
        with pytest.raises(DataError, match="before onset"):
            metrics.strs(predicted, truth, EMOTIONS)


@pytest.mark.parametrize("name", ["Negative", "negative ", "a "])
@pytest.mark.parametrize("rule", RULES)
def test_a_predicted_class_that_no_truth_has_is_said_and_counts_as_wrong(name, rule):
    truth = table(("1", "a", 0, 9, "negative"), ("1", "a", 20, 29, "positive"))
    with pytest.warns(UserWarning, match=f'1 "{name}"'):
        score = metrics.strs(truth.replace({"emotion": {"negative": name}}), truth, rule=rule)
    assert score["tp"] == 2 and score["recognition_f1"] != 1
    with pytest.warns(UserWarning, match=f'1 "{name}"'):
        metrics.uf1(["negative", "positive"], [name, "positive"], ["negative", "positive"])


def read_case(name):
    case = pd.read_csv(CONFORMANCE / "cases" / f"{name}.csv", dtype={"subject": str})
    return tuple(
        case[case["role"] == role][COLUMNS].reset_index(drop=True) for role in ("predicted", "truth")
    )


@pytest.mark.parametrize("expected", list(EXPECTED.itertuples()), ids=lambda row: f"{row.case}-{row.rule}")
def test_every_case_scores_what_was_derived_by_hand(expected):
    predicted, truth = read_case(expected.case)
    emotions = expected.emotions.split() or sorted(set(truth["emotion"]))
    score = metrics.strs(predicted, truth, expected.emotions.split() or None, expected.rule)
    for name, value in score.items():
        assert value == pytest.approx(getattr(expected, name), rel=1e-5, nan_ok=True), name
    if expected.rule == "strict":
        options = best_matchings(predicted, truth, lambda p, t: iou_of(p, t) >= 0.5)
        assert len({recognition_f1(m, emotions, "strict") for m in options}) == 1  # no value hangs on a tie
        pairs, fp, fn = options[0], len(predicted) - len(options[0]), len(truth) - len(options[0])
    else:
        pairs, fp, fn = {"megc": megc_pairs, "boosting": boosting_pairs}[expected.rule](predicted, truth)
    assert (len(pairs), fp, fn) == (expected.tp, expected.fp, expected.fn)
    oracle = recognition_f1(pairs, emotions, expected.rule)
    assert oracle == pytest.approx(expected.recognition_f1, rel=1e-5, nan_ok=True)


def test_the_suite_is_complete():
    cases = {path.stem for path in (CONFORMANCE / "cases").iterdir()}
    assert len(cases) >= 30
    assert sorted(zip(EXPECTED["case"], EXPECTED["rule"], strict=True)) == sorted(
        itertools.product(cases, RULES)
    )
    readme = (CONFORMANCE / "README.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line.split(" | ") for line in readme.splitlines() if line.startswith("| `")}
    assert set(rows) == cases
    for row in EXPECTED.itertuples():
        cell = rows[row.case][1 + RULES.index(row.rule)]
        assert cell.split()[0] == f"{row.tp}/{row.fp}/{row.fn}"
        assert float(cell.split()[1]) == pytest.approx(row.strs, abs=6e-4, nan_ok=True)


def test_the_folder_checks_anybody_s_scorer_and_names_the_case_that_differs(tmp_path):
    folder = shutil.copytree(CONFORMANCE, tmp_path / "copied")
    (tmp_path / "theirs.py").write_text(
        "import pandas as pd\nfrom melib import metrics\n\n"
        "def strs(predicted, truth, emotions):\n"
        "    return metrics.strs(pd.DataFrame(predicted), pd.DataFrame(truth), emotions)\n"
    )

    def check(*arguments):
        command = [sys.executable, str(folder / "check.py"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    ours = check("strict", "theirs:strs")
    assert (ours.returncode, ours.stdout) == (0, "strict: 35 of 35 cases agree\n"), ours.stderr
    table = EXPECTED[EXPECTED["rule"] == "megc"][["case", "tp", "strs"]].reset_index(drop=True)
    table.to_csv(tmp_path / "mine.csv", index=False)
    assert check("megc", "mine.csv").returncode == 0
    assert "megc: 35 of 35" in check("mine.csv").stdout
    table.assign(tp=table["tp"] + (table["case"] == "perfect")).to_csv(tmp_path / "mine.csv", index=False)
    wrong = check("megc", "mine.csv")
    assert wrong.returncode == 1 and "34 of 35" in wrong.stdout and "perfect: tp" in wrong.stdout


# Laws
# ------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(scenes(), st.sampled_from([0.3, 0.5, 0.7]), st.booleans())
def test_the_matching_is_the_best_of_all(scene, iou, same_class):
    predicted, truth = scene

    def fits(p, t):
        return iou_of(p, t) >= iou and (not same_class or p.emotion == t.emotion)

    score = (metrics.end_to_end if same_class else metrics.spotting)(predicted, truth, iou)
    best = best_matchings(predicted, truth, fits)[0]
    assert (score["tp"], score["fp"], score["fn"]) == (
        len(best),
        len(predicted) - len(best),
        len(truth) - len(best),
    )
    assert score["matches"]["iou"].sum() == pytest.approx(sum(iou_of(p, t) for p, t in best))
    for row in score["matches"].itertuples():
        p, t = next(predicted.loc[[row.predicted]].itertuples()), next(truth.loc[[row.truth]].itertuples())
        assert fits(p, t) and row.iou == pytest.approx(iou_of(p, t))
    assert score["matches"]["predicted"].is_unique and score["matches"]["truth"].is_unique
    assert same_class or metrics.f1_over_iou(predicted, truth, [iou]) == [score["f1"]]


@settings(max_examples=200)
@given(scenes(), st.sampled_from([None, ("negative", "positive", "surprise")]))
def test_each_rule_is_its_scorer(scene, emotions):
    predicted, truth = scene
    judged = sorted(set(truth["emotion"])) if emotions is None else emotions
    for rule, pairing in (("megc", megc_pairs), ("boosting", boosting_pairs)):
        pairs, fp, fn = pairing(predicted, truth)
        score = metrics.strs(predicted, truth, emotions, rule)
        assert (score["tp"], score["fp"], score["fn"]) == (len(pairs), fp, fn)
        oracle = recognition_f1(pairs, judged, rule)
        assert score["recognition_f1"] == pytest.approx(oracle, nan_ok=True)
        assert score["strs"] == pytest.approx(score["spotting_f1"] * oracle, nan_ok=True)
    strict = metrics.strs(predicted, truth, emotions)
    options = best_matchings(predicted, truth, lambda p, t: iou_of(p, t) >= 0.5)
    assert strict["tp"] == len(options[0])
    oracles = [recognition_f1(m, judged, "strict") for m in options]
    assert any(strict["recognition_f1"] == pytest.approx(oracle) for oracle in oracles)


@given(scenes(), st.randoms(use_true_random=False))
def test_neither_order_nor_other_subjects_change_a_strict_score(scene, random):
    predicted, truth = scene
    shuffled = [part.iloc[random.sample(range(len(part)), len(part))] for part in scene]
    assert metrics.strs(*shuffled) == metrics.strs(predicted, truth)
    whole = metrics.spotting(predicted, truth)
    parts = [metrics.spotting(*(part[part["subject"] == s] for part in scene)) for s in "12"]
    for name in COUNTS:
        assert whole[name] == sum(part[name] for part in parts)
    pairs = pd.concat([part["matches"] for part in parts]).sort_values("predicted")
    assert pairs["iou"].sum() == pytest.approx(whole["matches"]["iou"].sum())


@given(scenes(), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_average_precision_is_the_area_under_its_thresholds(scene, scores):
    predicted, truth = scene
    predicted = predicted.assign(score=np.array(scores[: len(predicted)], float))
    ap = metrics.average_precision(predicted, truth)
    if truth.empty:
        assert math.isnan(ap)
        return
    order = ["score", "subject", "video", "onset", "offset"]
    ranked = predicted.sort_values(order, ascending=[False, True, True, True, True])
    points = []
    for threshold in set(ranked["score"]):
        chosen, taken = ranked[ranked["score"] >= threshold], set()
        for p in chosen.itertuples():
            free = [t for t in truth.itertuples() if t.Index not in taken and iou_of(p, t) >= 0.5]
            if free:
                taken.add(max(free, key=lambda t: (iou_of(p, t), -t.Index)).Index)
        points.append((len(taken) / len(truth), len(taken) / len(chosen)))
    steps = sorted({recall for recall, _ in points} | {0.0})
    area = sum(
        (b - a) * max(precision for recall, precision in points if recall >= b)
        for a, b in itertools.pairwise(steps)
    )
    assert ap == pytest.approx(area)
    monotone = predicted.assign(score=np.exp(predicted["score"]) - 7)
    assert metrics.average_precision(monotone, truth) == ap


@given(st.integers(-50, 50), st.integers(-50, 50), st.sampled_from([30, 200]))
def test_timing_errors_are_the_shifts_in_milliseconds(apex, offset, fps):
    truth = table(("1", "a", 0, 299, "others"), ("1", "b", 0, 299, "others")).assign(
        apex=pd.array([100, None])
    )
    predicted = truth.assign(apex=100 + apex, offset=truth["offset"] + offset)[::-1]
    matches = metrics.spotting(predicted, truth)["matches"]
    errors = metrics.timing_errors(predicted, truth, matches, fps)
    assert errors["onset"].tolist() == [0, 0]
    assert errors["offset"].tolist() == pytest.approx([1000 * offset / fps] * 2)
    assert sorted(errors["apex"].isna()) == [False, True]
    assert errors["apex"].dropna().tolist() == pytest.approx([1000 * apex / fps])


@settings(max_examples=30)
@given(
    st.lists(st.tuples(*[st.sampled_from(["negative", "positive", "surprise"])] * 2), min_size=1, max_size=9)
)
def test_uf1_is_the_macro_mean_over_all_classes(pairs):
    true, predicted = zip(*pairs, strict=True)
    classes = ["negative", "positive", "surprise", "never"]
    options = {"labels": classes, "average": "macro", "zero_division": 0}
    assert metrics.uf1(true, predicted, classes) == pytest.approx(f1_score(true, predicted, **options))
    judged = [(t, s) for t, s in pairs if t != "surprise"]  # a true class that isn't judged takes no part
    if judged:
        options["labels"] = classes[:2]
        assert metrics.uf1(true, predicted, classes[:2]) == pytest.approx(
            f1_score(*zip(*judged, strict=True), **options)
        )


# Bad input
# ------------------------------------------------------------------------------------------


def test_nothing_is_scored_as_zeros():
    nothing, truth = table(), table(("1", "a", 0, 9, "others"))
    for predicted, known, counts in (
        (nothing, nothing, [0, 0, 0]),
        (nothing, truth, [0, 0, 1]),
        (truth, nothing, [0, 1, 0]),
    ):
        for empty in (lambda part: part, lambda part: part if len(part) else pd.DataFrame()):
            score = metrics.spotting(empty(predicted), empty(known))
            assert [score[name] for name in COUNTS] == counts
            assert score["precision"] == score["recall"] == score["f1"] == 0 and score["matches"].empty
            assert metrics.end_to_end(empty(predicted), empty(known))["tp"] == 0
            assert metrics.strs(empty(predicted), empty(known))["strs"] == 0


GOOD = table(("1", "a", 0, 9, "others"))


@pytest.mark.parametrize(
    "call",
    [
        lambda: metrics.spotting(GOOD.drop(columns="onset"), GOOD),
        lambda: metrics.spotting(GOOD.assign(onset=np.nan), GOOD),
        lambda: metrics.spotting(GOOD, GOOD.assign(offset="x")),
        lambda: metrics.spotting(GOOD.assign(subject=None), GOOD),
        lambda: metrics.spotting(GOOD, GOOD, iou=0),
        lambda: metrics.spotting(GOOD.assign(video="b"), GOOD, videos=GOOD),
        lambda: metrics.strs(GOOD.assign(emotion=None), GOOD),
        lambda: metrics.strs(GOOD, GOOD, rule="kind"),
        lambda: metrics.average_precision(GOOD.assign(score=np.inf), GOOD),
        lambda: metrics.uf1(["a"], [], ["a"]),
    ],
)
def test_what_can_not_be_scored_is_refused(call):
    with pytest.raises(DataError):
        call()
