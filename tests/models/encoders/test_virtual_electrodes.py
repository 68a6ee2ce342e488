"""Any montage: electrodes by their place on the head, present or absent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder, Placed
from dreamdiffusion.models.encoders.virtual_electrodes import (
    CENTRE,
    RADIUS,
    VirtualElectrodes,
    drop_channels,
    is_present,
    mark_absent,
    spread_over_head,
)
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.training.random_numbers import Draw

MUSE = ["TP9", "AF7", "AF8", "TP10"]
EMOTIV = ["AF3", "F7", "F3", "FC5", "T7", "P7", "O1", "O2", "P8", "T8", "FC6", "F4", "F8", "AF4"]
CAP = ["Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8"]
CAP += ["P7", "P3", "Pz", "P4", "P8", "O1", "O2"]
SIZES = {"patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
DECODER = {"decoder_embed_dim": 32, "decoder_depth": 1, "decoder_num_heads": 2}


@pytest.fixture(autouse=True)
def own_random_numbers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def places_of(names: list[str]) -> torch.Tensor:
    return torch.from_numpy(electrode_positions(names))


def make_encoder(**more) -> EEGEncoder:
    encoder = EEGEncoder(n_chans=12, n_times=32, montage="any", **SIZES, **more).eval()
    encoder.init_weights(torch.Generator().manual_seed(0))
    return encoder


def test_virtual_electrodes_start_evenly_on_the_head():
    places = spread_over_head(32)
    assert (places - torch.tensor(CENTRE)).norm(dim=1).numpy() == pytest.approx(RADIUS, abs=1e-6)
    apart = torch.cdist(places, places) + torch.eye(32)  # nothing is its own neighbour
    nearest = apart.min(dim=1).values
    assert nearest.min() > 0.045 and nearest.max() < 0.055
    real = places_of(["Cz", "Fpz", "Oz", "T7", "T8", "TP9", "TP10", "P3", "F4"])
    assert torch.cdist(real, places).min(dim=1).values.max() < 0.035


def test_gather_and_spread_are_the_weighted_means_they_say_they_are():
    virtual, where = VirtualElectrodes(5), places_of(MUSE)
    eeg = torch.randn(2, 4, 8)
    read, back = virtual.gather(eeg, where), virtual.spread(torch.randn(2, 5, 8), where)
    assert read.shape == (2, 5, 8) and back.shape == (2, 4, 8)
    width, silence = virtual.log_width.detach().exp(), virtual.log_silence.detach().exp()
    place = virtual.places.detach() * RADIUS
    for v in range(5):
        weights = [
            float((-(((where[c] - place[v]) / RADIUS).norm() ** 2) / (2 * width[v] ** 2)).exp())
            for c in range(4)
        ]
        wanted = sum(w * eeg[0, c] for c, w in enumerate(weights)) / (sum(weights) + silence[v])
        torch.testing.assert_close(read[0, v], wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(virtual.spread(torch.ones(1, 5, 3), where), torch.ones(1, 4, 3))


def test_far_from_every_electrode_reads_silence():
    virtual = VirtualElectrodes(12)
    with torch.no_grad():
        virtual.places[0] = places_of(["Oz"])[0] / RADIUS
        virtual.places[1] = places_of(["AF7"])[0] / RADIUS
        virtual.log_width.fill_(np.log(0.3))
    front = virtual.gather(torch.ones(1, 2, 4), places_of(["AF7", "AF8"]))[0]
    assert front[0].abs().max() < 1e-3
    assert front[1].min() > 0.95


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), n_absent=st.integers(0, 13))
def test_order_does_not_matter_and_absent_is_as_if_never_recorded(seed, n_absent):
    rng = np.random.default_rng(seed)
    encoder, where = make_encoder(), places_of(EMOTIV)
    eeg = torch.from_numpy(rng.standard_normal((2, 14, 32))).float()
    order = torch.from_numpy(rng.permutation(14))
    gone = order[:n_absent]
    absent = torch.zeros(2, 14, dtype=torch.bool)
    absent[:, gone] = True
    with torch.no_grad():
        masked = encoder(mark_absent(eeg, absent), where)
        kept = order[n_absent:]
        torch.testing.assert_close(encoder(eeg[:, kept], where[kept]), masked, atol=2e-5, rtol=1e-4)


def test_one_encoder_takes_4_14_and_19_channels_and_each_window_its_own_places():
    encoder = make_encoder()
    for channels in (MUSE, EMOTIV, CAP):
        eeg, where = torch.randn(3, len(channels), 32), places_of(channels)
        tokens = encoder(eeg, where)
        assert tokens.shape == (3, 8, 32)
        torch.testing.assert_close(encoder(eeg, where.expand(3, -1, -1)), tokens)
    eeg = torch.randn(1, 4, 32)
    moved = encoder.embed(eeg, places_of(["O1", "O2", "P7", "P8"]))
    there = encoder.embed(eeg, places_of(MUSE))
    assert (moved - there).norm() > 0.3 * (there - encoder.embed(0 * eeg, places_of(MUSE))).norm()


def test_positions_are_kept_in_the_file_and_asked_for_where_unknown(tmp_path):
    eeg = torch.randn(2, 4, 32)
    with pytest.raises(ValueError, match="takes any montage and does not know where"):
        make_encoder()(eeg)
    encoder = make_encoder(positions=electrode_positions(MUSE).tolist())
    with pytest.raises(ValueError, match=r"\(4, 3\).* 3 channels"):
        encoder(eeg[:, :3])
    encoder.save_pretrained(tmp_path)
    again = EEGEncoder.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(eeg), encoder(eeg, places_of(MUSE)))
    with pytest.raises(ValueError, match="'some', expected fixed or any"):
        EEGEncoder(montage="some", **SIZES)


def test_the_loss_counts_present_channels_alone():
    model = MaskedAutoencoder(12, 32, **SIZES, **DECODER, montage="any").eval()
    small = torch.randn(3, 4, 32)
    padded = torch.full((3, 14, 32), torch.nan)
    padded[:, :4] = small
    where = torch.zeros(3, 14, 3)
    where[:, :4] = places_of(MUSE)
    with torch.no_grad():
        alone = model(small, 0.75, Draw(0, 0, 3), places_of(MUSE))
        among = model(padded, 0.75, Draw(0, 0, 3), where)
    torch.testing.assert_close(among.loss, alone.loss)
    # By hand: hidden tokens of 4 time points, squared errors meant over channels and points.
    pred = alone.pred.reshape(3, 8, 4, 4)  # (B, N, P, C)
    true = small.transpose(1, 2).reshape(3, 8, 4, 4)
    error = (pred - true).square().mean(dim=(2, 3))
    torch.testing.assert_close(alone.loss, (error * alone.mask).sum() / alone.mask.sum())


def test_dropped_channels_follow_the_share_and_one_stays():
    eeg = mark_absent(torch.zeros(2000, 4, 8), torch.tensor([[False, False, True, False]]))
    eeg = eeg.expand(2000, -1, -1)
    left = is_present(drop_channels(eeg, 0.5, torch.rand(eeg.shape[:2])))
    assert not left[:, 2].any() and (left.sum(dim=1) >= 1).all()
    # Of three present channels half stay, and where none would (1/8), one does.
    assert float(left.sum(dim=1).float().mean()) == pytest.approx(1.5 + 1 / 8, abs=0.06)


def test_a_montage_never_seen_is_reconstructed_after_training_on_another():
    """Fields that vary smoothly over the head, learned at some electrodes, known at others."""
    rng = np.random.default_rng(0)
    model = MaskedAutoencoder(16, 32, **SIZES, **DECODER, montage="any")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def field(names: list[str], count: int) -> torch.Tensor:
        unit = (places_of(names).numpy() - np.array(CENTRE)) / RADIUS
        course = rng.standard_normal((count, 3, 1)) * np.sin(
            np.linspace(0, 2 * np.pi, 32) * rng.uniform(0.5, 1.5, (count, 3, 1))
            + rng.uniform(0, 6, (count, 3, 1))
        )
        return torch.from_numpy(np.einsum("cd,ndt->nct", unit, course)).float()

    new = ["AF7", "AF8", "TP7", "TP8", "CP1", "FC2", "POz"]
    for step in range(350):
        eeg, draw = field(CAP, 32), Draw(0, step, 32)
        shown = Placed(drop_channels(eeg, 0.3, draw.rand(len(CAP))), places_of(CAP))
        loss = model(eeg, 0.5, draw, places_of(CAP), shown).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    held_out = field(new, 200)
    with torch.no_grad():
        error = model(held_out, 0.5, Draw(1, 0, 200), places_of(new)).loss
        wrong_places = model(held_out, 0.5, Draw(1, 0, 200), places_of(new).flip(0)).loss
    power = held_out.square().mean()
    assert error < 0.65 * power
    assert wrong_places > 1.5 * error
