"""The gallery and the report."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import score_records as records
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from pydantic import ValidationError

from dreamdiffusion.evidence.scores import (
    ControlScore,
    Curve,
    Headline,
    Reason,
    Scores,
    json_schema,
)
from dreamdiffusion.report.charts import confusion_svg, curve_figure, nice_limits
from dreamdiffusion.report.contact_sheet import (
    RIGHT,
    WRONG,
    draw_gallery,
    rank_trials,
    save_gallery,
    to_picture,
    trial_values,
)
from dreamdiffusion.report.headline import noise_in_words
from dreamdiffusion.report.page import write_report
from dreamdiffusion.report.render import fill_template
from dreamdiffusion.report.strips import forest, strip
from dreamdiffusion.report.words import difference, is_share, low_to_high, number

ALL = {
    "full": records.full,
    "minimal": records.minimal,
    "not above": records.not_above,
    "withheld": records.withheld,
}
VOID = {"meta", "img", "br"}


def images(n=96, k=4, size=16):
    return records.pictures(n, k, size)


def page_of(tmp_path, scores: Scores, seen=True, **more) -> str:
    n, k = len(scores.trials["category"]), len(scores.trials["judged_category"][0])
    generated, pictures = images(n, k)
    path = write_report(
        tmp_path / "report.html", scores, generated, pictures if seen else None, **more
    )
    return spelled(path.read_text("utf-8"))


def spelled(text: str) -> str:
    """Write the signs of typography so that a test can be read."""
    text = str(text)
    for sign, name in (("\xa0", "&nbsp;"), ("\u2212", "&minus;"), ("\u2713", "&#10003;")):
        text = text.replace(sign, name)
    return text.replace("\u2717", "&#10007;")


def hero(page: str) -> str:
    """Return what stands above the table of contents: the claim."""
    return page[page.index('<div class="hero') : page.index("<nav>")]


class Balance(HTMLParser):
    """Every tag is closed in its turn."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


# --- the whole page -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_report_stands_alone(tmp_path, make):
    page = page_of(tmp_path, make())
    text = re.sub(r'src="data:[^"]*"', "", page)
    assert not re.search(r"https?:|//[a-z]|<script|<link|<iframe|@import|url\(|\son\w+=", text)
    sources = re.findall(r'src="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]*)"', page))
    targets = set(re.findall(r'href="#([^"]*)"', page))
    assert targets and targets == set(re.findall(r'<h2 id="([^"]*)"', page))
    assert "default-src 'none'" in page
    assert '<meta name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "nan" not in re.sub(r'src="data:[^"]*"|<style>.*?</style>', "", page)


def attacked(value):
    """Put markup into every string of a record that is not one of the words of the schema."""
    if isinstance(value, dict):
        return {key: one if key == "verdict" else attacked(one) for key, one in value.items()}
    if isinstance(value, list):
        return [attacked(one) for one in value]
    return f"<script>'\"{value}</script>&" if isinstance(value, str) else value


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_everything_from_data_is_escaped(tmp_path, make):
    content = attacked(make().model_dump(mode="json"))
    mark = "<script>k</script>"
    for one in content["scores"]:
        one["controls"][mark] = one["controls"]["shuffled_eeg"]
    for part in ("not_scored", "protocol", "judge", "made"):
        content[part][mark] = mark
    content["made"]["more"] = {mark: mark}
    for finding in (content["audit"] or {}).get("findings", []):
        finding["evidence"][mark] = mark
    page = page_of(tmp_path, Scores.model_validate(content))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    attributes = re.findall(r'(?:alt|aria-label)="([^"]*)"', page)
    assert attributes and not any("<" in told for told in attributes)


def test_pictures_are_exact_where_they_are_small_and_few_bytes_where_not(tmp_path):
    _, seen = images()
    page = page_of(tmp_path, records.full())
    sources = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    assert len(sources) == 3 * 3 * 5
    best = rank_trials(trial_values("category_top1", records.full().trials)[1], 3)["best"][0]
    picture = Image.open(io.BytesIO(base64.b64decode(sources[0])))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(to_picture(seen[best])))
    large = torch.rand(1, 5, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    many = large.expand(500, -1, -1, -1, -1)  # noise: no picture takes more bytes
    path = write_report(tmp_path / "many.html", records.full(500), many[:, :4], many[:, 4])
    assert path.stat().st_size < 3e6
    assert "data:image/jpeg;base64," in path.read_text("utf-8")


# --- the headline -------------------------------------------------------------------------------


def test_the_difference_to_the_strongest_control_is_the_big_number(tmp_path):
    claim = hero(page_of(tmp_path, records.full()))
    # 0.457 - 0.0625, in percentage points; its interval; the value, the control, chance, p.
    assert '<p class="big">+39.5<small>points</small></p>' in claim
    assert "+31.4 to +47.5&nbsp;points, lies above zero" in claim
    assert "Above all 4 controls without a brain" in claim
    for told in ("45.7&nbsp;%", "6.2&nbsp;%", "4.2&nbsp;%", "no EEG (prior)", "0.0025"):
        assert told in claim
    # The intervals of the others reach what LDA's class gives, drawn from its name.
    assert "alone gives. In: Picture found by retrieval, Structural similarity." in claim
    assert "Not in: Right category." in claim
    assert "Look number 3 at these held-out trials, of 2&nbsp;models" in claim
    assert "<b>simulated-viewer</b>, with 1&nbsp;departure from it" in claim
    assert "nothing severe; 3 checks passed" in claim
    assert "96&nbsp;trials of 3&nbsp;people, 4 images of each" in claim


def test_a_correlation_has_no_points(tmp_path):
    main = records.score("pcc", 0.276, 0.5, {"shuffled_eeg": 0.1})
    claim = hero(page_of(tmp_path, records.full(scores=[main], headline=records.headline(main))))
    assert '<p class="big">+0.226</p>' in claim
    assert "Above the control without a brain" in claim


def test_a_withheld_headline_shows_no_score(tmp_path):
    page = page_of(tmp_path, records.withheld())
    claim = hero(page)
    assert "Headline withheld" in claim
    assert "No score of this evaluation may be quoted" in claim
    assert "<b>block_design</b>Trials that are near in time show the same class." in claim
    assert "Show the classes in random order." in claim  # the remedy of the audit's finding
    assert "the judge was trained on 12 of the 96 pictures." in claim
    assert "What to do:" in claim
    assert "Train the judge on other pictures than those that were shown." in claim
    assert 'class="big"' not in page
    for number_of_it in ("98.3", "92.1", "92.0", "points", 'class="figures"'):
        assert number_of_it not in claim
    assert 'class="now"' not in page
    assert page.count('class="now quiet"') == 1
    assert "Measured, and not to be quoted" in page
    # What the reasons say is not said a second time above them.
    assert "it was acknowledged to go on" not in page


def test_an_acknowledged_finding_that_is_no_reason_stands_above_the_claim(tmp_path):
    page = page_of(tmp_path, records.full(audit=records.audit(severe=True)))
    assert page.index("it was acknowledged to go on") < page.index('<div class="hero above">')


def test_report_says_when_there_is_nothing(tmp_path):
    page = page_of(tmp_path, records.not_above())
    assert "Not above the strongest control" in hero(page)
    assert "&minus;8.3 to +7.8&nbsp;points" in hero(page)
    assert "this is classification, then drawing" in hero(page)
    assert 'class="big"' not in page


def test_what_was_not_done_is_said(tmp_path):
    claim = hero(page_of(tmp_path, records.minimal()))
    for told in (
        "no control rests on the name alone",
        "The training trials were not audited",
        "Looks at the held-out trials were not logged",
        "No protocol was followed",
        "6&nbsp;trials of 1&nbsp;person; it says nothing of other people",
    ):
        assert told in claim
    first = records.full(looks=records.full().looks[:1])
    assert "The first look at these held-out trials" in hero(page_of(tmp_path, first))


def test_a_headline_of_no_score_is_refused(tmp_path):
    other = records.full()
    scores = other.model_copy(update={"scores": other.scores[1:]})
    with pytest.raises(ValueError, match="speaks of category_top1, which is not among the scores"):
        page_of(tmp_path, scores)


def test_a_verdict_is_borne_out_by_what_stands_beside_it():
    fields = records.full().headline.model_dump()
    with pytest.raises(ValidationError, match=r"begins at -0\.01; expected a number above 0"):
        Headline(**(fields | {"difference_ci95": (-0.01, 0.5)}))
    with pytest.raises(ValidationError, match="'withheld' with 0 reasons"):
        Headline(**(fields | {"verdict": "withheld"}))
    with pytest.raises(ValidationError, match="'not above' with 1 reasons"):
        reasons = [Reason(name="drift", what="It drifts.")]
        Headline(**(fields | {"verdict": "not above", "reasons": reasons}))


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (0.35, "SIMULATED EEG, noise level 0.35, far easier than life"),
        ([0.2, 1.0], "SIMULATED EEG, noise level 0.2, 1, far easier than life"),
        (1.0, "SIMULATED EEG, noise level 1, as noisy as life is thought to be"),
        (None, "SIMULATED EEG, noise level not stated, far easier than life"),
    ],
)
def test_banner_of_simulated_eeg(level, words):
    noise = noise_in_words(level)
    said = fill_template("simulated", scores=records.minimal(simulated=True), noise=noise)
    assert words in said


def test_no_banner_for_real_eeg(tmp_path):
    page = page_of(tmp_path, records.minimal())
    assert "imulated" not in page
    assert "SIMULATED" not in page


# --- scores beside their controls ---------------------------------------------------------------


def test_every_control_of_every_score_is_in_figure_and_table(tmp_path):
    page = page_of(tmp_path, records.full())
    n_metrics = 5
    # A name in the table of all controls, for each metric, and once where it is explained.
    assert page.count("<td>nearest training image</td>") == n_metrics
    assert page.count("<dt>nearest training image</dt>") == 1
    assert page.count(">nearest</text>") == n_metrics
    assert "drawn without any EEG: what the decoder draws by itself" in page
    row = re.search(r"<tr><td><code>clip_retrieval_top1</code></td><td>29.4.*?</tr>", page)
    assert row is not None
    cells = re.findall(r"<td>(.*?)</td>", row.group())
    assert cells[1:] == [
        "29.4&nbsp;%", "25.4 to 33.4&nbsp;%", "2.1&nbsp;%", "+26.3", "+22.3 to +30.3",
        "no EEG (prior)", "0.0005", "0.0025", "96", "3",
    ]  # fmt: skip
    assert "<code>lpips</code>: needs the extra &lt;nsd&gt;" in page
    kid = re.search(r"<tr><td><code>kid</code>.*?</tr>", page)
    assert kid is not None
    assert re.findall(r"<td>(.*?)</td>", kid.group())[1:] == ["0.0213", "0.0219", "384", "96"]


def test_the_legend_of_the_scores_names_the_marks_that_are_there(tmp_path):
    def legend(*controls: str) -> str:
        score = records.score(controls=dict.fromkeys(controls, 0.05))
        page = page_of(tmp_path, records.full(scores=[score], headline=records.headline(score)))
        found = re.search(r"score with its 95.*?dashed: chance", page)
        assert found
        return re.sub(r"<[^>]+>", "", found[0])

    assert "\u25cb without a brain; dashed" in legend("shuffled_eeg")
    drawn = legend("shuffled_eeg", "label_only", "bank_picture")
    assert "\u25a1 without reconstruction; \u25c7 the same EEG, drawn otherwise; dashed" in drawn
    assert "drift" not in drawn


def test_a_control_nobody_knows_is_shown_by_its_name(tmp_path):
    main = records.score(controls={"shuffled_eeg": 0.05, "odd_eeg": 0.1}, strongest="odd_eeg")
    page = page_of(tmp_path, records.full(scores=[main], headline=records.headline(main)))
    assert "<h3>Others</h3><dl><dt>odd_eeg</dt>" in page


def test_strip_places_its_marks():
    one = records.score(
        value=0.5, chance=0.0, ci95=(0.4, 0.6),
        controls={"shuffled_eeg": 1.0, "label_only": 0.25},
    )  # fmt: skip
    drawn = spelled(strip(one))  # 0 to 1 on the units 8 to 352
    assert '<circle cx="180.0" cy="30" r="6"' in drawn
    assert 'x1="145.6" x2="214.4"' in drawn  # the interval
    assert 'x1="8.0" x2="8.0"' in drawn  # chance
    assert '<circle cx="352.0" cy="30" r="4.6"' in drawn  # without a brain: a circle
    assert '<rect x="89.8"' in drawn  # without reconstruction: a square around 94
    assert ">0&nbsp;%</text>" in drawn and ">100&nbsp;%</text>" in drawn


def test_names_in_a_strip_do_not_cover_each_other():
    drawn = strip(records.score(controls=dict.fromkeys(records.CONTROLS, 0.05)))
    heights = re.findall(r'y="([\d.]+)" text-anchor="middle"(?: class="ink")?>[a-zE]', drawn)
    below = [float(y) for y in heights if float(y) > 30]
    assert len(below) == len(set(below)) == 7


def test_forest_places_differences_around_zero():
    main = records.score(
        value=0.5, controls={"shuffled_eeg": 0.1},
    ).model_copy(update={"controls": {
        "shuffled_eeg": ControlScore(value=0.1, difference=0.4, difference_ci95=(0.2, 0.5)),
        "label_only": ControlScore(value=1.0, difference=-0.5, difference_ci95=(-0.5, -0.4)),
    }})  # fmt: skip
    drawn = spelled(forest(main))  # -0.5 to 0.5 on the units 14 to 346
    assert drawn.count('x1="180.0" x2="180.0"') == 2  # zero, beside each interval
    assert 'cx="312.8"' in drawn  # 0.4
    assert 'x1="246.4" x2="346.0"' in drawn
    assert 'cx="14.0"' in drawn  # -0.5
    assert "&minus;50.0&nbsp;points" in drawn


def test_limits_of_an_axis_are_round_and_hold_zero():
    assert nice_limits([0.457, 0.04]) == (0.0, 0.5)
    assert nice_limits([0.3, 0.1 + 0.2]) == pytest.approx((0.0, 0.3))
    assert nice_limits([-0.021, 0.18]) == pytest.approx((-0.025, 0.2))
    assert nice_limits([0.0]) == (0.0, 1.0)


@given(st.lists(st.floats(-1e3, 1e3).filter(lambda v: v == 0 or abs(v) > 1e-6), min_size=1))
def test_limits_of_an_axis_hold_every_value_closely(values):
    low, high = nice_limits(values)
    span = max(0, *values) - min(0, *values)
    assert low <= min(0, *values) + 1e-6 * span and high >= max(0, *values) - 1e-6 * span
    assert high - low <= 1.5 * span or span == 0


def test_numbers():
    assert spelled(number("category_top1", 0.4567)) == "45.7&nbsp;%"
    assert spelled(number("pcc", -0.05)) == "&minus;0.050"
    assert spelled(number("pcc", -0.0001)) == "0.000"
    assert spelled(difference("category_top1", 0.4)) == "+40.0&nbsp;points"
    assert spelled(difference("ssim", -0.0123)) == "&minus;0.012"
    assert spelled(difference("ssim", 0.00001)) == "0.000"
    assert spelled(low_to_high("color_top1", (0.1, 0.25))) == "10.0 to 25.0&nbsp;%"
    shares = {"category_top1", "50_way_top1", "eeg_retrieval_top5", "two_way_alexnet2"}
    assert {
        name for name in (*shares, "ssim", "lpips", "effnet", "topography") if is_share(name)
    } == (shares)


# --- which trials are shown ---------------------------------------------------------------------


def test_trials_are_ranked_by_value_and_then_by_number():
    ranked = rank_trials([0.5, 1.0, 0.0, 0.5, 1.0, 0.25, 0.5], 2)
    assert ranked["all"].tolist() == [1, 4, 0, 3, 6, 5, 2]
    assert ranked["best"].tolist() == [1, 4]
    assert ranked["median"].tolist() == [3, 6]  # of 0, 3, 6: the middle of all is trial 3
    assert ranked["worst"].tolist() == [5, 2]
    assert rank_trials([0.5, 1.0, 0.0, 0.5, 1.0, 0.25, 0.5], 1)["median"].tolist() == [3]


def test_few_trials_are_in_one_group_each():
    two = rank_trials([0.0, 1.0], 4)
    assert [two[name].tolist() for name in ("best", "median", "worst")] == [[1], [], [0]]
    five = rank_trials([0.0, 1.0, 2.0, 3.0, 4.0], 4)
    assert [five[name].tolist() for name in ("best", "median", "worst")] == [[4], [2], [0]]
    with pytest.raises(ValueError, match="trial 1 has no finite value"):
        rank_trials([0.0, float("nan")], 1)
    with pytest.raises(ValueError, match="n is 0"):
        rank_trials([0.0], 0)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40), st.integers(1, 9))
def test_groups_keep_the_order_and_share_no_trial(values, n):
    ranked = rank_trials(values, n)
    shown = np.concatenate([ranked[name] for name in ("best", "median", "worst")])
    assert len(set(shown.tolist())) == len(shown)
    order = ranked["all"].tolist()
    assert order == sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert [order.index(i) for i in shown] == sorted(order.index(i) for i in shown)
    if len(values) >= 3 * n:
        before = order.index(ranked["median"][0])
        after = len(values) - 1 - order.index(ranked["median"][-1])
        assert len(shown) == 3 * n and abs(before - after) <= 1


def test_values_of_trials():
    trials = {
        "category": ["cup", "owl"], "judged_category": [["cup", "owl"], ["cup", "cup"]],
        "color": ["red", "red"], "judged_color": [["red", "red"], ["red", "blue"]],
        "ssim": [0.2, 0.3],
    }  # fmt: skip
    assert trial_values("category_top1", trials) == ("category_top1", [0.5, 0.0])
    assert trial_values("color_top1", trials) == ("color_top1", [1.0, 0.5])
    assert trial_values("ssim", trials) == ("ssim", [0.2, 0.3])
    assert trial_values("pcc", trials) == ("category_top1", [0.5, 0.0])
    assert trial_values("pcc", {"category": ["cup"]}) == ("", [0.0])


def test_the_gallery_says_its_rule_and_every_rank(tmp_path):
    scores = records.full()
    page = page_of(tmp_path, scores)
    assert (
        "sorted by the headline metric, Right category (the share of a trial&#39;s images" in page
    )
    shown = re.findall(r"rank (\d+) of 96 \(trial (\d+)\)</span><span>(\d) of 4 right", page)
    assert [int(rank) for rank, _, _ in shown] == [1, 2, 3, 48, 49, 50, 94, 95, 96]
    for _, trial, right in shown:
        truth = scores.trials["category"][int(trial)]
        assert scores.trials["judged_category"][int(trial)].count(truth) == int(right)
    ticks = sum(int(right) for _, _, right in shown)
    assert page.count("&#10003;&nbsp;") == ticks
    assert page.count("&#10007;&nbsp;") == 9 * 4 - ticks


def test_the_gallery_says_when_it_ranks_by_something_else(tmp_path):
    main = records.score("pcc", 0.276, 0.5, n=96)
    scores = records.full(scores=[main], headline=records.headline(main))
    page = page_of(tmp_path, scores)
    assert "as the headline metric Pixel correlation is not recorded trial by trial" in page
    trials = {"category": scores.trials["category"]}
    path = write_report(
        tmp_path / "r.html", scores.model_copy(update={"trials": trials}), *images()
    )
    assert "sorted by nothing, as no value of a trial is recorded" in path.read_text("utf-8")


def test_report_without_pictures_seen(tmp_path):
    page = page_of(tmp_path, records.minimal(), seen=False)
    assert page.count("<img") == 6
    assert "the picture is not recorded, only: cup" in page


def test_images_of_other_trials_are_refused(tmp_path):
    generated, _ = images(n=5)
    with pytest.raises(ValueError, match=r"5 trials of images, but scores.json has 96"):
        write_report(tmp_path / "r.html", records.full(), generated)


# --- curves, confidence, occlusion, how it was made ---------------------------------------------


def test_curve_is_drawn_over_doublings():
    curve = Curve(metric="category_top1", n_averaged=[1, 2, 4], n=[8, 4, 2], value=[0.0, 0.5, 1.0],
                  ci95=[(0, 0), (0.25, 0.75), (1, 1)], chance=[0.5, 0.5, 0.5])  # fmt: skip
    drawn = curve_figure(curve)
    assert 'points="48.0,180.0 197.0,97.0 346.0,14.0"' in drawn
    assert 'points="48.0,97.0 197.0,97.0 346.0,97.0"' in drawn  # chance
    one = curve_figure(curve.model_copy(update={
        name: getattr(curve, name)[:1] for name in ("n_averaged", "n", "value", "ci95", "chance")
    }))  # fmt: skip
    assert 'cx="48.0"' in one


def test_confidence_says_when_to_say_nothing(tmp_path):
    scores = records.full()
    page = page_of(tmp_path, scores)
    assert (
        "its confidence is 0.61 or more: that keeps 42&nbsp;% of the trials here, and 17.0" in page
    )
    assert "Expected calibration error: <b>0.034</b>" in page
    assert scores.confidence is not None
    none = scores.confidence.model_copy(update={"threshold": None, "kept": 0.0, "risk_kept": None})
    page = page_of(tmp_path, scores.model_copy(update={"confidence": none}))
    assert "No threshold reaches the risk asked for" in page


def test_occlusion_names_what_costs_most(tmp_path):
    page = page_of(tmp_path, records.full())
    assert "costs most at Oz (21.0&nbsp;points), Pz (7.0&nbsp;points); covering" in page
    assert "costs most at 125 to 175&nbsp;ms" in page


def test_looks_protocol_and_origin_are_told(tmp_path):
    page = page_of(tmp_path, records.full())
    assert "This is <b>look number 3</b> at this side of this split, of 2&nbsp;models" in page
    assert "<li>limit 96 in place of all 240 trials</li>" in page
    assert "9f" * 32 in page
    assert "dreamdiffusion evaluate --config runs/evaluate-scenes/config.yaml" in page
    assert f"<dt>hashes model</dt><dd>{'b2' * 32}</dd>" in page
    assert "<dt>versions torch</dt><dd>2.13.0</dd>" in page
    assert "99.0 % right on the pictures that were seen" in page
    assert "&#34;n_permutations&#34;: 2000" in page


def test_given_figures_are_put_in(tmp_path):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    buffer = io.BytesIO()
    to_picture(torch.zeros(3, 2, 2)).save(buffer, "PNG")
    page = page_of(tmp_path, records.full(), figures={"occlusion": buffer.getvalue()})
    assert base64.b64encode(buffer.getvalue()).decode() in page
    page = page_of(tmp_path, records.full(), figures={"occlusion": figure})
    assert page.count('<figure class="wide"><img') == 1
    assert page.count("share of right trials against their confidence") == 1  # drawn once
    assert page.count("share of wrong trials against share of trials kept") == 1
    with pytest.raises(ValueError, match="'topography' has no place in the report; known: occl"):
        page_of(tmp_path, records.full(), figures={"topography": figure})
    with pytest.raises(ValueError, match="'occlusion' is not PNG"):
        page_of(tmp_path, records.full(), figures={"occlusion": b"<svg>"})


# --- scores.json --------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL.values(), ids=ALL)
def test_scores_json_is_read_back_as_it_was(tmp_path, make):
    scores = make()
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(scores.model_dump(mode="json"), allow_nan=False), encoding="utf-8")
    content = json.loads(path.read_text("utf-8"))
    assert Scores.model_validate(content) == scores
    # What the published schema asks for is there, and nothing else.
    schema = json.loads(json_schema())
    assert set(schema["required"]) <= set(content) <= set(schema["properties"])
    with pytest.raises(ValidationError, match="accuracy"):
        Scores.model_validate(content | {"accuracy": 1.0})


def test_the_published_schema_is_current():
    written = (Path(__file__).parents[2] / "docs" / "scores.schema.json").read_text("utf-8")
    assert written == json_schema(), "docs/scores.schema.json is not current; run make docs"


# --- figures of both ----------------------------------------------------------------------------


def test_confusion_leaves_out_what_was_not_shown():
    drawn = confusion_svg(["cup", "fish", "owl"], [[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert drawn.count("<rect") == 4
    assert "shown cup, named fish: 1 of 4" in drawn
    assert "owl" not in drawn
    assert "/ 0.765)" in drawn  # 0.06 + 0.94 * 3 / 4


def test_gallery_size_and_content(tmp_path):
    generated, seen = images(n=5, size=32)
    seen[0] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    generated[0, 0] = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)
    named = [["cup", "fish", "cup", "cup"]] * 5
    groups = {"best": [3, 0], "median": [], "worst": [4]}
    drawn = draw_gallery(generated, ["cup"] * 5, named, groups, seen)
    # Two columns of 5 tiles of 112 px, gaps of 14 and 3 x 4, 36 between, margins of 20, and 26 + 20
    # for the words above them.
    assert drawn.size == (2 * 20 + 2 * (5 * 112 + 14 + 12) + 36, 2 * 20 + 46 + 2 * (112 + 27))
    second_row = 20 + 46 + 139 + 60  # trial 0
    assert drawn.getpixel((60, second_row)) == (255, 0, 0)
    assert drawn.getpixel((20 + 112 + 14 + 50, second_row)) == (0, 0, 255)
    colors = {color for _, color in drawn.getcolors(10**6)}
    assert {RIGHT, WRONG} <= colors
    path = save_gallery(tmp_path / "gallery.png", drawn)
    with Image.open(path) as again:
        assert again.size == drawn.size
        assert again.format == "PNG"


def test_gallery_without_pictures_seen():
    generated, _ = images(n=1, k=2)
    drawn = draw_gallery(generated, ["face"], [["face", "house"]], {"best": [0]}, title="Decoded")
    assert drawn.size == (2 * 20 + 3 * 112 + 14 + 4, 2 * 20 + 30 + 46 + 112 + 27)
    with pytest.raises(ValueError, match="1 trials of images, 2 categories"):
        draw_gallery(generated, ["face", "face"], [["face", "house"]], {"best": [0]})
    with pytest.raises(ValueError, match="no group has a trial"):
        draw_gallery(generated, ["face"], [["face", "house"]], {"best": []})


def test_to_picture_rounds():
    pixels = np.asarray(to_picture(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1)))
    assert pixels.ravel().tolist() == [0, 128, 255]
    assert to_picture(torch.zeros(3, 4, 4), 10).size == (10, 10)


LOOKED_UP = {
    "bank": {"protocol": {"drawing": "the best guess of a bank of 9, as it is; nothing is drawn"}},
    "known": {"not_scored": {"images": "no generator draws such, shown are the pictures of home"}},
}


@pytest.mark.parametrize("made", LOOKED_UP)
def test_nothing_is_called_drawn_where_nothing_is_drawn(tmp_path, made):
    """Pictures of a bank at strength 0, and of training where no generator knows such pictures."""
    one = records.score(controls={"shuffled_eeg": 0.045, "no_eeg_prior": 0.06}, n=6)
    page = page_of(tmp_path, records.minimal(scores=[one], **LOOKED_UP[made]))
    assert "<b>Nothing is drawn.</b>" in page
    for wrong in ("generated", "drawn from", "drawn without", "Images decoded", "generator can"):
        assert wrong not in page
    named = {
        "bank": "Columns: the judge's name for the pictures of the bank.",
        "known": "Columns: the class that the decoder named.",
    }
    assert named[made].replace("'", "&#39;") in page
    assert ("of a trial&#39;s images" in page) is (made == "bank")
    shown = {"bank": "pictures of the bank as they are", "known": "the pictures of home"}
    assert f"stand {shown[made]}" in page
    known = records.headline(one, known_pictures=True)
    page = page_of(tmp_path, records.minimal(scores=[one], headline=known, **LOOKED_UP[made]))
    claim = {"bank": "which of the known pictures was", "known": "which of the known classes was"}
    assert claim[made] in page and "never seen are told apart is not claimed" in page
    drawn = page_of(tmp_path, records.minimal())
    assert "Nothing is drawn" not in drawn
    assert "the judge&#39;s name for the generated images" in drawn
