"""What README, the card and the pages say in figures is what the files of the results hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def load(path: str) -> Any:
    """Return what a file of JSON holds."""
    return json.loads((ROOT / path).read_text("utf-8"))


def score(model: str, metric: str) -> dict[str, Any]:
    """Return the record of a metric, or of a short cut, of bundled weights."""
    scores = load(f"weights/{model}/scores.json")
    return next(one for one in scores["scores"] + scores["baselines"] if one["metric"] == metric)


def rows_of(page: str, head: str) -> list[list[str]]:
    """Return the cells of the table of a page whose head begins so; the head is the first row."""
    text = (ROOT / page).read_text("utf-8")
    blocks: list[str] = re.findall(r"(?:^\|.*\n)+", text, re.M)
    table = next(block for block in blocks if block.startswith(head))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [rows[0], *rows[2:]]


def percent(value: float) -> str:
    return f"{100 * value:.0f}"


def test_the_readme_says_what_the_scores_say() -> None:
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    prior, lda = (score("prior-scenes", f"{of}category_top1") for of in ("", "lda_pooled_"))
    found = re.search(r"in (\d+) % of held-out run 10 \((\d+) %", text)
    assert found and found.groups() == (percent(prior["value"]), percent(lda["value"]))
    reader = load("docs/results/reader.json")["rows"]
    names = ["prior, best guess drawn", "LDA, pooled, 47 ms"]
    names.append("LDA, pooled, 47 ms, channels repaired")
    found = re.search(r"in (\d+) % of four newer runs \((\d+) %, (\d+) % once", text)
    of_reader = tuple(percent(reader[name]["category"]["value"]) for name in names)
    assert found and found.groups() == of_reader
    paper = score("eeg-scenes", "category_top1")
    found = re.search(r"The paper's decoder shows it in (\d+) % of (\d+) trials", text)
    assert found and found.groups() == (percent(paper["value"]), str(paper["n"]))


def test_the_table_of_the_card_holds_the_scores() -> None:
    _, *rows = rows_of("weights/README.md", "| metric |")
    assert len(rows) == 5
    for name, value, interval, chance, strongest, difference, label, nearest in rows:
        of = score("eeg-scenes", re.findall(r"`(\w+)`", name)[0])
        controls = of["controls"]
        assert value.split()[0] == f"{of['value']:.3f}"
        assert interval == "{:.3f} to {:.3f}".format(*of["ci95"])
        assert chance == f"{of['chance']:.3f}"
        control = controls[of["strongest"]]["value"]
        assert strongest.split()[0] == f"{control:.3f}"
        told = "{:+.3f} ({:.3f} to {:.3f})".format(of["difference"], *of["difference_ci95"])
        assert difference.replace("*", "") == told
        assert label == f"{controls['label_only']['value']:.3f}"
        assert nearest == f"{controls['nearest_training_image']['value']:.3f}"


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("category_top1", r"category \*\*(\.\d+)\*\* \((\.\d+) to (\.\d+)\)"),
        ("color_top1", r"colour (\.\d+) \((\.\d+) to (\.\d+)\)"),
        ("clip_retrieval_top1", r"retrieval among 240 (\.\d+) \((\.\d+) to (\.\d+)\)"),
        ("pcc", r"PCC (\.\d+)"),
        ("ssim", r"SSIM (\.\d+)"),
    ],
)
def test_the_card_says_what_the_prior_scores(metric: str, told: str) -> None:
    card = " ".join((ROOT / "weights/README.md").read_text("utf-8").split())
    of = score("prior-scenes", metric)
    found = re.search(told, card.split("### `prior-scenes`")[1])
    figures = [of["value"], *of["ci95"]]
    assert found
    assert [float(one) for one in found.groups()] == pytest.approx(
        figures[: len(found.groups())], abs=6e-4
    )


def test_the_table_of_decoders_holds_the_results() -> None:
    results = load("docs/results/reader.json")["rows"]
    head, *rows = rows_of("docs/decoders.md", "| | category | color |")
    assert {row[0] for row in rows} == set(results)
    for row in rows:
        for column, cell in zip(head[1:7], row[1:7], strict=True):
            of = results[row[0]].get(column)
            told = [float(one) for one in re.findall(r"-?\d*\.\d+", cell)]
            assert told == ([] if of is None else [of["value"], *of["ci95"]]), (row[0], column)


def test_the_generators_card_holds_the_results() -> None:
    results = load("docs/results/generator.json")["rows"]
    head, *rows = rows_of("docs/generator.md", "| generator |")
    known = {(of["label"], of["condition"], str(of.get("steps", ""))): of for of in results}
    for row in rows:
        of = known[tuple(row[:3])]
        for column, key in (("category", "category"), ("colour", "color"), ("place", "place")):
            cell = row[head.index(column)]
            assert cell == (f"{of[key]:.3f}" if key in of else ""), row
        power = row[head.index("power kept, bands of 4 cycles")]
        assert power == " ".join(f"{one:.2f}" for one in of.get("power_kept", [])), row


def test_the_table_of_480_scenes_holds_the_results() -> None:
    results = load("docs/results/generator-480.json")["rows"][1:]  # without the true pictures
    _, *rows = rows_of("docs/generator.md", "| the bundled one, 480 scenes")
    assert len(rows) == len(results)
    for row, of in zip(rows, results, strict=True):
        assert row[0] == of["condition"]
        assert row[1] == "{:.3f} ({:.3f}-{:.3f})".format(of["category"], *of["category_ci95"])
        assert row[2:4] == [f"{of['color']:.3f}", f"{of['place']:.3f}"]
        assert row[4] == " ".join(f"{one:.2f}" for one in of["power_kept"])
        assert row[5] == f"{of['edges_kept']:.2f}"


def test_the_table_of_every_decoder_holds_the_results() -> None:
    table = load("docs/results/ablation-decoders.json")
    known = {of["row"].casefold(): of for of in table["rows"]}
    against = {of["better"].casefold(): of for of in table["against_first"]}
    _, *rows = rows_of("docs/ablation.md", "| row | right category | 95 % interval | shuffled")
    assert len(rows) == len(known)
    for row in rows:
        name = row[0].split(",")[0].casefold()
        of = known[name]
        assert row[1].strip("*") == f"{100 * of['value']:.1f} %"
        assert row[2] == "{:.1f}-{:.1f}".format(*(100 * one for one in of["ci95"]))
        assert row[3] == f"{100 * of['shuffled_eeg']:.1f} %"
        if name in against:
            figures = [against[name]["value"], *against[name]["ci95"]]
            assert row[5] == "{:.1f} ({:.1f} to {:.1f})".format(*(100 * one for one in figures))
