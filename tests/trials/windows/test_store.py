"""The store of windows: hand-worked reads, and what it refuses to open."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamdiffusion.trials.windows.store import (
    WindowStore,
    read_header,
    read_ranges,
    remove_others,
    write_index,
    write_ranges,
    write_shard,
)

A, B = "a" * 32, "b" * 32
PLACES_A = [[0.01, 0.02, 0.03], [0.04, 0.05, 0.06]]
PLACES_B = [[0.07, 0.08, 0.09]]


def write_store(folder: Path, **more) -> Path:
    """Recording a: 3 windows of 2 channels. Recording b: 2 windows of 1 channel. 2 time points.

    Sample t of channel c of window w is 100 w + 10 c + t, in b negative.
    """
    (folder / "shards").mkdir(parents=True)
    w, c, t = np.ogrid[:3, :2, :2]
    data = (100 * w + 10 * c + t).astype(np.float32)
    shards = []
    for key, piece, kept, subject in ((A, data, [0, 1, 4], "1"), (B, -data[:2, :1], [2, 3], "2")):
        header = {
            "path": f"{subject}.edf", "dataset": "d", "subject": subject, "session": "1",
            "run": "1", "recording": f"{subject}.edf", "n_windows": len(piece),
            "kept": write_ranges(np.array(kept)),
        }  # fmt: skip
        shards.append(write_shard(folder, key, piece, header) | {"key": key, "layout": len(shards)})
    info = {
        "kind": "windows", "complete": True, "sfreq": 4.0, "n_times": 2, "n_stride": 2,
        "scale": "robust", "shards": shards,
        "layouts": [
            {"ch_names": ["Fz", "Cz"], "positions": PLACES_A},
            {"ch_names": ["Oz"], "positions": PLACES_B},
        ],
    }  # fmt: skip
    write_index(folder, info | more)
    return folder


def change_info(folder: Path, **more) -> None:
    path = folder / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_rows_come_in_the_order_asked_for_whatever_their_montage(tmp_path):
    store = WindowStore.load(write_store(tmp_path / "w"))
    eeg, positions, present = store.read(np.array([4, 2, 0, 2]))
    assert (eeg.dtype, positions.dtype, present.dtype) == (np.float32, np.float32, bool)
    assert eeg.tolist() == [
        [[-100, -101], [0, 0]],  # row 4: recording b, window 1; it has no second channel
        [[200, 201], [210, 211]],
        [[0, 1], [10, 11]],
        [[200, 201], [210, 211]],
    ]
    assert present.tolist() == [[True, False], [True, True], [True, True], [True, True]]
    np.testing.assert_array_equal(positions[0], np.float32([PLACES_B[0], [0, 0, 0]]))
    for row in positions[1:]:
        np.testing.assert_array_equal(row, np.float32(PLACES_A))


def test_a_batch_is_as_wide_as_its_widest_window(tmp_path):
    store = WindowStore.load(write_store(tmp_path / "w"))
    assert store.read(np.array([3])).eeg.tolist() == [[[0, -1]]]
    assert store.read(np.array([3, 1])).eeg.shape == (2, 2, 2)
    assert store.read(np.zeros(0, int)).eeg.shape == (0, 0, 2)


def test_what_a_store_says_of_its_windows(tmp_path):
    store = WindowStore.load(write_store(tmp_path / "w"))
    assert (len(store), store.n_chans, store.n_times, store.sfreq) == (5, 2, 2, 4.0)
    assert store.montages == [["Fz", "Cz"], ["Oz"]]
    assert [store.channels_of(row) for row in (2, 3)] == store.montages
    table = store.metadata
    assert table["subject"].tolist() == ["1", "1", "1", "2", "2"]
    assert table["recording"].tolist() == ["1.edf"] * 3 + ["2.edf"] * 2
    assert table["shard"].tolist() == [0, 0, 0, 1, 1]
    # Windows 0, 1 and 4 of a and 2 and 3 of b, one every 2 samples at 4 Hz.
    assert table["start"].tolist() == [0.0, 0.5, 2.0, 1.0, 1.5]


@pytest.mark.parametrize("rows", [[5], [-1], [0, 5], [0, -1]])
def test_a_row_that_does_not_exist(tmp_path, rows):
    store = WindowStore.load(write_store(tmp_path / "w"))
    with pytest.raises(IndexError, match="of 5 windows"):
        store.read(np.array(rows))


def test_a_store_that_lost_something_does_not_open(tmp_path):
    folder = write_store(tmp_path / "w")
    shard = folder / "shards" / f"{B}.npy"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    size = len(content)
    with pytest.raises(ValueError, match=rf"{B}.npy \(2.edf\) has {size - 1} bytes.*{size}; run"):
        WindowStore.load(folder)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{B}.npy \(2.edf\) is missing; run prepare"):
        WindowStore.load(folder)
    (folder / "info.json").unlink()
    with pytest.raises(FileNotFoundError, match="no index yet: prepare was stopped; run the same"):
        WindowStore.load(folder)
    with pytest.raises(FileNotFoundError, match="absent is no folder; --data names"):
        WindowStore.load(tmp_path / "absent")


def test_windows_of_the_older_format_are_refused(tmp_path):
    (tmp_path / "info.json").write_text('{"kind": "windows", "n_windows": 3}')
    np.save(tmp_path / "windows.npy", np.zeros((3, 2, 4), np.float32))
    with pytest.raises(ValueError, match="windows of format 1, expected 2; run prepare again"):
        WindowStore.load(tmp_path)
    change_info(tmp_path, kind="trials")
    with pytest.raises(ValueError, match="holds trials, expected windows"):
        WindowStore.load(tmp_path)


def test_an_index_that_is_not_complete_opens_with_a_warning(tmp_path, caplog):
    folder = write_store(tmp_path / "w", complete=False)
    assert len(WindowStore.load(folder)) == 5
    assert "is not complete: prepare was stopped" in caplog.text
    caplog.clear()
    change_info(folder, complete=True)
    WindowStore.load(folder)
    assert not caplog.text


def test_an_array_of_objects_is_not_opened(tmp_path):
    folder = write_store(tmp_path / "w")
    np.save(folder / "shards" / f"{A}.npy", np.array([print] * 3), allow_pickle=True)
    info = json.loads((folder / "info.json").read_text())
    info["shards"][0]["n_bytes"] = (folder / "shards" / f"{A}.npy").stat().st_size
    change_info(folder, shards=info["shards"])
    with pytest.raises(ValueError, match="objects"):
        WindowStore.load(folder).read(np.array([0]))


def test_a_header_counts_only_with_all_its_windows(tmp_path):
    folder = write_store(tmp_path / "w")
    json_path = folder / "shards" / f"{A}.json"
    header = read_header(folder, A)
    assert header is not None and (header["n_windows"], header["format"]) == (3, 2)
    for text in ("", "[]", '{"format": 2', json.dumps(header | {"format": 1}), "null"):
        json_path.write_text(text)
        assert read_header(folder, A) is None
    json_path.write_text(json.dumps(header))
    assert read_header(folder, A) == header
    npy = folder / "shards" / f"{A}.npy"
    npy.write_bytes(npy.read_bytes() + b"0")
    assert read_header(folder, A) is None
    npy.unlink()
    assert read_header(folder, A) is None


def test_only_what_a_store_writes_is_removed(tmp_path):
    folder = write_store(tmp_path / "w")
    ours = [
        "windows.npy", "windows.csv", "info.json.0123abcd.unfinished",
        f"shards/{A}.npy.0123abcd.unfinished",
    ]  # fmt: skip
    others = ["notes.txt", "x.unfinished", "shards/photos.npy", "shards/data.json"]
    for name in ours + others:
        (folder / name).write_text("")
    assert remove_others(folder, {A}) == 1
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == {"info.json", f"shards/{A}.npy", f"shards/{A}.json", *others}


def test_ranges_by_hand():
    assert write_ranges(np.array([0, 1, 2, 5])) == "0-2,5"
    assert write_ranges(np.array([7])) == "7"
    assert read_ranges("0-2,5,9-10").tolist() == [0, 1, 2, 5, 9, 10]


@settings(deadline=None)
@given(st.sets(st.integers(0, 2**40), min_size=1))
def test_ranges_round_trip(numbers):
    rising = np.array(sorted(numbers))
    back = read_ranges(write_ranges(rising))
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, rising)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1).filter(any))
def test_ranges_of_a_mask_round_trip(mask):
    rising = np.flatnonzero(mask)
    np.testing.assert_array_equal(read_ranges(write_ranges(rising)), rising)
