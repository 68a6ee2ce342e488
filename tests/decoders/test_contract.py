"""What every decoder keeps, whatever it is: the contract of `decoders.base`, over the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import SIZE, caption_config, finetune_config, prior_config, reader_config, write_trials

from dreamdiffusion.decoders.base import Answer, Decoder
from dreamdiffusion.decoders.baselines import BASELINES, fit_baselines, load_baselines
from dreamdiffusion.decoders.config import EncodingConfig, FitConfig, LdaConfig, SampleConfig
from dreamdiffusion.decoders.fit import load_decoder, make_split
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

SPLIT = {"by": "run", "test": ["3"], "validation": ["2"]}


def _lda(folder: Path) -> LdaConfig:
    write_trials(folder / "trials")
    return LdaConfig(data=folder / "trials", output=folder / "fit", split=SPLIT)  # type: ignore[arg-type]


def _encoding(folder: Path) -> EncodingConfig:
    write_trials(folder / "trials")
    return EncodingConfig(data=folder / "trials", output=folder / "fit", split=SPLIT)  # type: ignore[arg-type]


# A small configuration of each; a new decoder brings one, or the first test fails.
SMALL: dict[str, Callable[[Path], FitConfig]] = {
    "dreamdiffusion": finetune_config,
    "encoding": _encoding,
    "caption": caption_config,
    "lda": _lda,
    "prior": prior_config,
    "reader": reader_config,
}
FEW: dict[str, dict[str, Any]] = {
    "dreamdiffusion": {"num_inference_steps": 2, "num_images_per_prompt": 2},
    "caption": {"num_inference_steps": 2, "num_images_per_prompt": 2},
    "prior": {"num_inference_steps": 2, "num_images_per_prompt": 2},
}


class Case:
    """A fitted decoder with its trials."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.config = name, SMALL[name](folder)
        self.trials = Trials.load(self.config.data)
        self.split = make_split(self.trials, self.config)
        self.test = self.trials.select(self.split.test)
        self.decoder = self.fit(self.trials)

    def fit(self, trials: Trials, split: Split | None = None, **changes: Any) -> Decoder:
        config = self.config.model_copy(update=changes)
        return registry[self.name].fit(trials, split or self.split, config)

    def decode(self, decoder: Decoder, trials: Trials) -> Answer:
        return decoder.decode(trials, **FEW.get(self.name, {}))


@pytest.fixture(scope="module", params=list(registry))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp(request.param))


gives_images = pytest.mark.parametrize(
    "case", [name for name in registry if "images" in registry[name].gives], indirect=True
)


def same(one: Answer, two: Answer) -> None:
    """Assert that two answers hold the same."""
    assert one.parts == two.parts
    for name in ("images", "embeddings"):
        a, b = getattr(one, name), getattr(two, name)
        if a is not None:
            torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)  # files hold half precision
    for attribute, table in (one.probabilities or {}).items():
        other = (two.probabilities or {})[attribute]
        assert list(table.columns) == list(other.columns)
        np.testing.assert_allclose(table, other, atol=1e-4)


def test_it_is_called_what_the_registry_calls_it(case: Case) -> None:
    assert registry[case.name].name == case.name
    assert isinstance(case.config, registry.schema(case.name))
    assert registry.summary(case.name)


def test_an_answer_holds_what_is_promised_for_every_trial(case: Case) -> None:
    answer, n = case.decode(case.decoder, case.test), len(case.test)
    assert answer.parts == case.decoder.gives
    if answer.images is not None:
        assert answer.images.shape[:1] + answer.images.shape[2:3] == (n, 3)
        assert float(answer.images.min()) >= 0 and float(answer.images.max()) <= 1
    if answer.embeddings is not None:
        assert answer.embeddings.shape[0] == n
        torch.testing.assert_close(answer.embeddings.norm(dim=1), torch.ones(n))
    trained = set(case.trials.metadata["category"].iloc[case.split.train])
    for table in (answer.probabilities or {}).values():
        assert len(table) == n
        np.testing.assert_allclose(table.sum(axis=1), 1.0, rtol=1e-5)
    assert set(answer.labels or []) <= trained


def test_what_is_saved_answers_the_same(case: Case, tmp_path: Path) -> None:
    case.decoder.save(tmp_path / "saved")
    again = load_decoder(tmp_path / "saved")
    assert type(again) is registry[case.name]
    expected = case.decode(case.decoder, case.test)
    same(case.decode(again, case.test), expected)
    again.save(tmp_path / "twice")
    same(case.decode(load_decoder(tmp_path / "twice"), case.test), expected)
    for path in (tmp_path / "saved").rglob("*"):
        assert path.suffix in ("", ".json", ".safetensors")  # nothing that could be executed


def test_the_answer_is_the_same_again_and_for_each_trial_alone(case: Case) -> None:
    answer = case.decode(case.decoder, case.test)
    same(case.decode(case.decoder, case.test), answer)
    first = case.decode(case.decoder, case.test.select(np.array([0])))
    tables = {name: table.iloc[:1] for name, table in (answer.probabilities or {}).items()}
    parts = [None if part is None else part[:1] for part in (answer.images, answer.embeddings)]
    same(first, Answer(*parts, tables or None))


@gives_images
def test_an_image_depends_on_seed_and_numbers_alone(case: Case) -> None:
    """A selection of trials that keep their numbers gets the images of the whole."""
    decoder = case.decoder
    assert isinstance(decoder, ImageDecoder)
    few = FEW[case.name] | ({"temperature": 1.0} if case.name == "prior" else {})
    numbers = np.array([7, 3, 40, 11])
    chosen = case.test.select(np.array([0, 1, 2, 3]))
    whole = decoder.decode(chosen, numbers=numbers, **few)
    assert whole.images is not None
    part = decoder.decode(chosen.select(np.array([2, 1])), numbers=numbers[[2, 1]], **few)
    torch.testing.assert_close(part.images, whole.images[[2, 1]], atol=2e-3, rtol=0)
    if whole.drawn_from is not None:
        assert part.drawn_from == [whole.drawn_from[2], whole.drawn_from[1]]
        assert len(whole.drawn_from) == 4 and len(whole.drawn_from[0]) == 2
    more = decoder.decode(chosen, numbers=numbers, **few | {"num_images_per_prompt": 3})
    assert more.images is not None
    torch.testing.assert_close(more.images[:, :2], whole.images, atol=2e-3, rtol=0)
    for changed in (
        decoder.decode(chosen, numbers=numbers + 1, **few),
        decoder.decode(chosen, numbers=numbers, seed=5, **few),
    ):
        assert changed.images is not None
        assert not torch.allclose(changed.images, whole.images, atol=1e-2)
    with pytest.raises(ValueError, match="2 numbers of 4 trials"):
        decoder.decode(chosen, numbers=numbers[:2], **few)


@gives_images
def test_a_setting_of_another_decoder_is_refused_by_name(case: Case) -> None:
    decoder = case.decoder
    assert isinstance(decoder, ImageDecoder)
    assert set(decoder.sample_schema.model_fields) <= set(SampleConfig.model_fields)
    own = decoder.settings(SampleConfig(seed=3))
    assert own == decoder.sample_schema(seed=3)
    foreign = {"temperature": 0.5} if case.name == "dreamdiffusion" else {"scheduler": "ddim"}
    with pytest.raises(ValueError, match=rf"{case.name}' has no setting '{next(iter(foreign))}'"):
        decoder.decode(case.test, SampleConfig(**foreign))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"no setting 'guidance'.*; did you mean guidance_scale"):
        decoder.decode(case.test, guidance=1)


@gives_images
def test_what_an_image_decoder_says_of_itself(case: Case) -> None:
    decoder = case.decoder
    assert isinstance(decoder, ImageDecoder)
    assert decoder.image_size == SIZE
    assert list(decoder.processor.config["ch_names"]) == case.trials.ch_names
    assert (Path(decoder.clip_source()) / "config.json").is_file()
    assert Path(decoder.generator_source() or "").is_dir()
    answer, read = case.decode(decoder, case.test), decoder.read(case.test)
    assert read.images is None and read.drawn_from is None
    same(read, replace(answer, images=None, drawn_from=None))


@gives_images
def test_images_without_the_eeg(case: Case, tmp_path: Path) -> None:
    """Those that controls are drawn from, of one that was loaded as of one that was fitted."""
    decoder = case.decoder
    assert isinstance(decoder, ImageDecoder)
    sample, numbers = decoder.settings(**FEW[case.name]), np.array([4, 9])
    decoder.save(tmp_path / "saved")
    again = load_decoder(tmp_path / "saved")
    assert isinstance(again, ImageDecoder)
    for draw in ("draw_mean", "draw_without_eeg"):
        images = getattr(decoder, draw)(sample, numbers)
        assert images.shape == (2, 2, 3, SIZE, SIZE)
        torch.testing.assert_close(getattr(again, draw)(sample, numbers), images, atol=2e-3, rtol=0)
        one = getattr(decoder, draw)(sample, numbers[1:])
        torch.testing.assert_close(one, images[1:], atol=2e-3, rtol=0)
    texts = again.draw_texts(["a red square", "a blue disc"], sample, numbers)
    assert texts.shape == (2, 2, 3, SIZE, SIZE)
    embeddings = case.decode(decoder, case.test).embeddings
    assert embeddings is not None
    assert set(again.prototypes()) == set(decoder.prototypes())
    assert bool(decoder.prototypes()) == (case.name != "caption")  # it has words alone
    for prototype in again.prototypes().values():
        assert prototype.shape == embeddings.shape[1:]


def test_neither_test_trials_nor_their_metadata_have_a_say(case: Case, tmp_path: Path) -> None:
    data = np.array(case.trials.data)
    data[case.split.test] *= -3
    metadata = case.trials.metadata.copy()
    metadata.loc[case.split.test, "category"] = "unheard of"
    other = case.fit(replace(case.trials, data=data, metadata=metadata), output=tmp_path)
    bare = replace(case.test, metadata=case.test.metadata.assign(category="", stim_file=""))
    same(case.decode(other, bare), case.decode(case.decoder, case.test))


def test_channels_go_by_name_and_what_does_not_fit_is_refused(case: Case) -> None:
    test = case.test
    turned = replace(test, data=test.data[:, ::-1], ch_names=test.ch_names[::-1])
    same(case.decode(case.decoder, turned), case.decode(case.decoder, test))
    for wrong, message in (
        (replace(test, ch_names=["X1", *test.ch_names[1:]]), "lacks the channels C1"),
        (replace(test, sfreq=250.0), "250 Hz, the (model|decoder) expects 100"),
        (replace(test, data=test.data[..., :-2]), "time"),
    ):
        with pytest.raises(ValueError, match=message):
            case.decode(case.decoder, wrong)


def test_pictures_are_missed_by_those_that_need_them_alone(case: Case, tmp_path: Path) -> None:
    lost = replace(case.trials, stimuli_root=tmp_path / "none")
    if "pictures" not in case.decoder.needs:
        without = case.fit(lost, output=tmp_path)
        same(case.decode(without, case.test), case.decode(case.decoder, case.test))
        return
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        case.fit(lost, output=tmp_path)


def test_baselines_lie_beside_a_model_and_those_of_the_former_layout_open(tmp_path: Path) -> None:
    config = _lda(tmp_path)
    trials = Trials.load(config.data)
    split = make_split(trials, config)
    fit_baselines(trials, split, tmp_path / "model")
    new = load_baselines(tmp_path / "model")
    assert list(new) == sorted(BASELINES) == ["lda_class", "lda_pooled"]
    (tmp_path / "former").mkdir()
    for name in new:
        path = tmp_path / "model" / "baselines" / name / "lda.safetensors"
        path.rename(tmp_path / "former" / f"{name}.safetensors")
    former = load_baselines(tmp_path / "former")
    for name, decoder in new.items():
        same(former[name].decode(trials), decoder.decode(trials))
    assert load_baselines(tmp_path) == {}


def test_names_are_known_without_importing_torch() -> None:
    script = (
        "import sys\n"
        "from dreamdiffusion import decoders\n"
        "from dreamdiffusion.decoders.registry import registry\n"
        "assert 'lda' in decoders and len(decoders) == len(list(decoders))\n"
        "assert [registry.schema(name)() for name in decoders]\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        "assert decoders['lda'].name == 'lda'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    with pytest.raises(KeyError, match="unknown decoder 'lad'; did you mean lda"):
        registry["lad"]
