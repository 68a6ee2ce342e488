"""The grid of an ablation: rows resolved by hand, pre-trainings shared, parts that partition."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dreamdiffusion.cli.options import load_config
from dreamdiffusion.decoders.config import FinetuneConfig, LdaConfig, PriorConfig
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.studies.config import AblateConfig
from dreamdiffusion.studies.grid import expand, fingerprint, share

ROOT = Path(__file__).parents[2]


def grid(**changes: object) -> AblateConfig:
    content: dict = {
        "output": "out",
        "pretrain": {"steps": 10, "encoder": {"embed_dim": 96, "num_heads": 4, "depth": 4}},
        "fit": {
            "decoder": "dreamdiffusion", "data": "trials", "steps": 20,
            "encoder": {"embed_dim": 96, "num_heads": 4},
        },
        "evaluate": {"sample": {"num_images_per_prompt": 2}},
        "rows": [
            {"name": "full"},
            {"name": "CLIP only", "changes": {"pretrain": False}},
            {"name": "E only", "changes": {"fit.train_cross_attention": False}},
            {"name": "mask .5", "changes": {"pretrain.mask_ratio": 0.5}},
            {"name": "small", "changes": {"encoder.embed_dim": 24, "evaluate.limit": 7}},
            {"name": "small, neither", "changes": {
                "pretrain": False, "encoder.embed_dim": 24, "fit.clip_weight": 0}},
        ],
        "seeds": [3, 5],
    }  # fmt: skip
    return AblateConfig(**(content | changes))


def test_rows_and_seeds_resolve_as_worked_out_by_hand() -> None:
    cells = expand(grid())
    assert [(cell.row, cell.seed) for cell in cells[:4]] == [
        ("full", 3), ("full", 5), ("CLIP only", 3), ("CLIP only", 5),
    ]  # fmt: skip
    assert len(cells) == 12
    of = {(cell.row, cell.seed): cell for cell in cells}
    full = of["full", 5]
    assert full.folder == Path("out/full-5")
    assert full.pretrain is not None
    assert (full.pretrain.seed, full.pretrain.steps, full.pretrain.mask_ratio) == (5, 10, 0.75)
    assert (full.pretrain.encoder.depth, full.fit.encoder.depth) == (4, 6)
    assert (full.fit.seed, full.fit.steps, full.fit.clip_weight) == (5, 20, 1.0)
    assert full.fit.pretrained == full.pretrain.output
    assert full.evaluate.model == Path("out/full-5/model")
    assert full.evaluate.output == Path("out/full-5/evaluate")
    assert full.evaluate.data == Path("trials")
    assert (full.evaluate.sample.seed, full.evaluate.sample.num_images_per_prompt) == (5, 2)
    alone = of["CLIP only", 3]
    assert alone.folder == Path("out/CLIPonly-3")
    assert alone.pretrain is None and alone.fit.pretrained is None
    assert not of["E only", 3].fit.train_cross_attention
    assert of["mask .5", 3].pretrain.mask_ratio == 0.5
    small = of["small", 3]
    assert (small.pretrain.encoder.embed_dim, small.fit.encoder.embed_dim) == (24, 24)
    assert small.evaluate.limit == 7 and full.evaluate.limit is None
    neither = of["small, neither", 3]
    assert neither.pretrain is None
    assert (neither.fit.encoder.embed_dim, neither.fit.clip_weight) == (24, 0)


def test_rows_share_a_pretraining_of_the_same_configuration_and_seed_only() -> None:
    of = {(cell.row, cell.seed): cell.fit.pretrained for cell in expand(grid())}
    assert of["full", 3] == of["E only", 3]
    distinct = {of[row, seed] for row in ("full", "mask .5", "small") for seed in (3, 5)}
    assert len(distinct) == 6
    moved = expand(
        grid(
            pretrain={
                "steps": 10,
                "output": "elsewhere",
                "runtime": {"threads": 1},
                "encoder": {"embed_dim": 96, "num_heads": 4, "depth": 4},
            }
        )
    )
    assert moved[0].fit.pretrained == of["full", 3]  # where and how is not what  # fmt: skip


def test_a_grid_without_pretraining_starts_from_what_is_named() -> None:
    config = grid(
        pretrain=None,
        fit={"decoder": "dreamdiffusion", "pretrained": "runs/pretrain-scenes"},
        rows=[{"name": "full"}, {"name": "CLIP only", "changes": {"pretrain": False}}],
    )
    cells = expand(config)
    assert {cell.pretrain for cell in cells} == {None}
    found = [cell.fit.pretrained for cell in cells]
    assert found == [Path("runs/pretrain-scenes")] * 2 + [None] * 2


def test_a_row_is_another_decoder_with_the_shared_settings_and_a_file_of_its_own(
    monkeypatch,
) -> None:
    monkeypatch.chdir(ROOT)
    rule = {"by": "run", "test": ["10"]}
    rows = [
        {"name": "default"},
        {"name": "lda", "changes": {"fit.decoder": "lda", "fit.width_s": 0.05}},
        {"name": "paper", "changes": {"fit.decoder": "dreamdiffusion", "fit.config": "scenes"}},
    ]
    config = grid(
        pretrain=None, fit={"data": "trials", "split": rule}, rows=rows, seeds=[7],
        evaluate={"sample": {"num_images_per_prompt": 2}},
    )  # fmt: skip
    prior, lda, paper = expand(config)
    assert [cell.decoder for cell in (prior, lda, paper)] == ["prior", "lda", "dreamdiffusion"]
    assert isinstance(prior.fit, PriorConfig) and isinstance(lda.fit, LdaConfig)
    assert lda.fit.width_s == 0.05
    shipped = load_config(FinetuneConfig, CONFIGS / "finetune-scenes.yaml")
    assert isinstance(shipped, FinetuneConfig) and isinstance(paper.fit, FinetuneConfig)
    assert (paper.fit.steps, paper.fit.pretrained) == (shipped.steps, shipped.pretrained)
    for cell in (prior, lda, paper):
        assert (cell.fit.data, cell.fit.split.test, cell.fit.seed) == (Path("trials"), ["10"], 7)
        assert cell.evaluate.data == Path("trials") and cell.evaluate.sample.seed == 7
    assert (prior.evaluate.sample.strength, paper.evaluate.sample.strength) == (0.5, None)
    assert [cell.draws for cell in (prior, lda, paper)] == [True, False, True]
    assert [cell.scores.name for cell in (prior, lda)] == ["scores.json", "labels.json"]


def test_the_table_of_decoders_ships(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(AblateConfig, CONFIGS / "ablate-decoders.yaml")
    assert isinstance(config, AblateConfig)
    assert sorted({cell.decoder for cell in expand(config)}) == list(registry)
    assert expand(config)[0].decoder == "prior"


def test_inline_settings_lie_over_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "fit.yaml"
    below = {"steps": 50, "batch_size": 8, "encoder": {"embed_dim": 64, "num_heads": 4}}
    path.write_text(yaml.safe_dump(below), encoding="utf-8")
    config = grid(
        fit={
            "decoder": "dreamdiffusion",
            "config": str(path),
            "steps": 5,
            "encoder": {"embed_dim": 32},
        },
        rows=[{}],
    )
    found = expand(config)[0].fit
    assert (found.steps, found.batch_size) == (5, 8)
    assert (found.encoder.embed_dim, found.encoder.num_heads) == (32, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit.clip_wait": 0}, r"row 'odd', FinetuneConfig: clip_wait: Extra inputs"),
        ({"fit.steps.x": 0}, r"row 'odd', FinetuneConfig: steps: Input should be a valid int"),
        ({"pretrain.mask_ratio": 2}, "row 'odd', PretrainConfig: mask_ratio"),
        ({"encoder.embed_dim": 97}, "embed_dim is 97, which 4 heads do not divide"),
        ({"mask_ratio": 0.5}, "changes mask_ratio, expected pretrain: false or a dotted key"),
        ({"decode.steps": 0.5}, "changes decode.steps, expected"),
        ({"fit.seed": 1}, "changes fit.seed, which the grid sets for every row"),
        ({"evaluate.sample.seed": 1}, "changes evaluate.sample.seed, which the grid sets"),
        ({"fit.pretrained": "x"}, "changes fit.pretrained, which pretrain in the grid"),
        ({"pretrain": False, "pretrain.steps": 1}, "pretrain.steps and has no pre-training"),
        ({"fit.decoder": "priro"}, "row 'odd': unknown decoder 'priro'; did you mean prior?"),
        (
            {"fit.decoder": "lda"},
            "row 'odd' fits lda, which starts from no pre-training; give it p",
        ),
        ({"fit.decoder": "lda", "pretrain": False}, "row 'odd', LdaConfig: steps: Extra inputs"),
        ({"evaluate.sample.strength": 0.2}, "row 'odd': the decoder 'dreamdiffusion' has no sett"),
    ],
)
def test_a_row_that_cannot_be_is_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expand(grid(rows=[{"name": "full"}, {"name": "odd", "changes": changes}]))


def test_two_rows_never_share_a_folder() -> None:
    with pytest.raises(ValueError, match="'E only' and 'Eonly' would share a folder"):
        expand(grid(rows=[{"name": "E only"}, {"name": "Eonly"}]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [{}, {}]}, "rows holds one twice: full, full"),
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1, 1]}, "seeds holds one twice"),
        ({"claims": [{"text": "a", "order": ["full", "big"]}]}, "claim 'a' names row big"),
        ({"claims": [{"text": "a"}]}, "claim 'a' needs one of order and middle"),
        ({"claims": [{"text": "a", "order": ["full"]}]}, "claim 'a' names too few rows"),
        ({"claims": [{"text": "a", "middle": ["full", "E only"]}]}, "too few rows"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid(**changes)


def test_the_papers_table_in_small_ships_with_the_papers_figures(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    config = load_config(AblateConfig, CONFIGS / "ablate-table2.yaml")
    assert isinstance(config, AblateConfig)
    cells = expand(config)
    pretrained = {cell.pretrain.output for cell in cells if cell.pretrain}
    # 14 rows; full, three other mask ratios and three other sizes are pre-trained, once a seed.
    assert (len(cells), len(pretrained)) == (14 * 3, 7 * 3)
    figures = [45.8, 4.2, 3.7, 32.3, 24.5, 19.7, 38.3, 33.4, 38.5, 29.8, 28.7, 22.4, 28.3, 20.9]
    assert [row.paper for row in config.rows] == figures
    for cell in cells:
        if cell.pretrain:
            assert cell.pretrain.encoder == cell.fit.encoder


def test_the_bundled_models_grid_is_the_fine_tuning_that_ships(monkeypatch) -> None:
    """Also what made docs/results/ablation.json, so that its folders count as done."""
    monkeypatch.chdir(ROOT)
    config = load_config(AblateConfig, CONFIGS / "ablate-scenes.yaml")
    assert isinstance(config, AblateConfig)
    cell = expand(config)[0]
    shipped = load_config(FinetuneConfig, CONFIGS / "finetune-scenes.yaml")
    assert fingerprint(cell.fit) == fingerprint(shipped)
    assert [c.folder.name for c in expand(config)[::3]] == ["MSM+CLIP-0", "CLIPonly-0", "neither-0"]


@pytest.mark.parametrize("count", [1, 5, 12, 14])
def test_parts_partition_the_grid(count: int) -> None:
    cells = expand(grid())
    parts = [share(cells, f"{number}/{count}") for number in range(1, count + 1)]
    assert sorted(cell.name for part in parts for cell in part) == sorted(c.name for c in cells)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert share(cells, None) == cells


@pytest.mark.parametrize("part", ["0/3", "4/3", "3", "1/0", "a/3", "-1/3", "1/3/4", ""])
def test_a_part_that_cannot_be_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="expected i/n"):
        share(expand(grid()), part)
