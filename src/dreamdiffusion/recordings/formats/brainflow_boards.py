"""Boards that BrainFlow records: which column of its csv is what.

The table is what `BoardShim.get_board_descr` of BrainFlow 5.23 says; the file itself does not say
which board wrote it. Names of electrodes are BrainFlow's own defaults for a board.
"""

from __future__ import annotations

from typing import NamedTuple


class Board(NamedTuple):
    """One board; columns count from 0."""

    number: int
    sfreq: int
    n_columns: int
    first_eeg: int
    n_eeg: int
    timestamp: int
    marker: int
    electrodes: str = ""


BOARDS = {
    "SYNTHETIC_BOARD": Board(
        -1, 250, 32, 1, 16, 30, 31, "Fz C3 Cz C4 Pz PO7 Oz PO8 F5 F7 F3 F1 F2 F4 F6 F8"
    ),
    "CYTON_BOARD": Board(0, 250, 24, 1, 8, 22, 23, "Fp1 Fp2 C3 C4 P7 P8 O1 O2"),
    "GANGLION_BOARD": Board(1, 200, 15, 1, 4, 13, 14),
    "CYTON_DAISY_BOARD": Board(
        2, 125, 32, 1, 16, 30, 31, "Fp1 Fp2 C3 C4 P7 P8 O1 O2 F7 F8 F3 F4 T7 T8 P3 P4"
    ),
    "GALEA_BOARD": Board(
        3, 250, 29, 9, 16, 27, 28, "F1 F2 C3 C4 P3 P4 O1 O2 Cz Pz X1 X2 X3 X4 X5 X6"
    ),
    "GANGLION_WIFI_BOARD": Board(4, 1600, 25, 1, 4, 23, 24),
    "CYTON_WIFI_BOARD": Board(5, 1000, 24, 1, 8, 22, 23),
    "CYTON_DAISY_WIFI_BOARD": Board(6, 1000, 32, 1, 16, 30, 31),
    "BRAINBIT_BOARD": Board(7, 250, 12, 1, 4, 10, 11, "T3 T4 O1 O2"),
    "UNICORN_BOARD": Board(8, 250, 19, 0, 8, 17, 18, "Fz C3 Cz C4 Pz PO7 Oz PO8"),
    "CALLIBRI_EEG_BOARD": Board(9, 250, 4, 1, 1, 2, 3),
    "NOTION_1_BOARD": Board(13, 250, 12, 1, 8, 10, 11, "CP6 F6 C4 CP4 CP3 F5 C3 CP5"),
    "NOTION_2_BOARD": Board(14, 250, 12, 1, 8, 10, 11, "CP5 F5 C3 CP3 CP6 F6 C4 CP4"),
    "FREEEEG32_BOARD": Board(17, 512, 35, 1, 32, 33, 34),
    "BRAINBIT_BLED_BOARD": Board(18, 250, 8, 1, 4, 6, 7, "T3 T4 O1 O2"),
    "MUSE_S_BLED_BOARD": Board(21, 256, 8, 1, 4, 6, 7, "TP9 AF7 AF8 TP10"),
    "MUSE_2_BLED_BOARD": Board(22, 256, 8, 1, 4, 6, 7, "TP9 AF7 AF8 TP10"),
    "CROWN_BOARD": Board(23, 256, 12, 1, 8, 10, 11, "CP3 C3 F5 PO3 PO4 F6 C4 CP4"),
    "ENOPHONE_BOARD": Board(37, 250, 7, 1, 4, 5, 6, "A2 A1 C4 C3"),
    "MUSE_2_BOARD": Board(38, 256, 8, 1, 4, 6, 7, "TP9 AF7 AF8 TP10"),
    "MUSE_S_BOARD": Board(39, 256, 8, 1, 4, 6, 7, "TP9 AF7 AF8 TP10"),
    "BRAINALIVE_BOARD": Board(40, 250, 17, 1, 8, 16, 15, "F7 FT7 T7 CP5 CZ C6 FC6 F4"),
    "MUSE_2016_BOARD": Board(41, 256, 7, 1, 4, 5, 6, "TP9 AF7 AF8 TP10"),
    "MUSE_2016_BLED_BOARD": Board(42, 256, 7, 1, 4, 5, 6, "TP9 AF7 AF8 TP10"),
    "EXPLORE_4_CHAN_BOARD": Board(44, 250, 8, 1, 4, 6, 7),
    "EXPLORE_8_CHAN_BOARD": Board(45, 250, 12, 1, 8, 10, 11),
    "GANGLION_NATIVE_BOARD": Board(46, 200, 15, 1, 4, 13, 14),
    "NTL_WIFI_BOARD": Board(50, 250, 25, 1, 8, 23, 24, "Fp1 Fp2 C3 C4 P7 P8 O1 O2"),
    "FREEEEG128_BOARD": Board(52, 256, 131, 1, 128, 129, 130),
    "AAVAA_V3_BOARD": Board(53, 50, 17, 1, 8, 15, 16, "L1 L2 L3 L4 R1 R2 R3 R4"),
    "EXPLORE_PLUS_8_CHAN_BOARD": Board(54, 250, 12, 1, 8, 10, 11),
    "EXPLORE_PLUS_32_CHAN_BOARD": Board(55, 250, 36, 1, 32, 34, 35),
    "PIEEG_BOARD": Board(56, 250, 11, 1, 8, 9, 10, "Fp1 Fp2 C3 C4 P7 P8 O1 O2"),
    "NEUROPAWN_KNIGHT_BOARD": Board(57, 125, 13, 1, 8, 11, 12),
    "SYNCHRONI_TRIO_3_CHANNELS_BOARD": Board(58, 250, 6, 1, 2, 4, 5),
    "SYNCHRONI_OCTO_8_CHANNELS_BOARD": Board(59, 250, 11, 1, 7, 9, 10),
    "OB5000_8_CHANNELS_BOARD": Board(60, 250, 11, 1, 8, 9, 10),
    "SYNCHRONI_PENTO_8_CHANNELS_BOARD": Board(61, 250, 11, 1, 8, 9, 10),
    "SYNCHRONI_UNO_1_CHANNELS_BOARD": Board(62, 250, 4, 1, 1, 2, 3),
    "OB3000_24_CHANNELS_BOARD": Board(63, 500, 27, 1, 23, 25, 26),
    "BIOLISTENER_BOARD": Board(64, 500, 13, 1, 8, 11, 12),
    "IRONBCI_32_BOARD": Board(65, 512, 35, 1, 32, 33, 34),
    "NEUROPAWN_KNIGHT_BOARD_IMU": Board(66, 125, 22, 1, 8, 20, 21),
    "MUSE_S_ATHENA_BOARD": Board(67, 256, 11, 1, 4, 9, 10, "TP9 AF7 AF8 TP10"),
}  # fmt: skip


def find_board(stated: str) -> tuple[str, Board]:
    """Return a board by its name, in any case and with or without `_BOARD`, or by its number."""
    word = stated.strip().upper()
    for name, board in BOARDS.items():
        if word in (name, name.removesuffix("_BOARD"), str(board.number)):
            return name, board
    raise ValueError(
        f"board is {stated!r}, expected one of {', '.join(BOARDS)}, or its number in BrainFlow"
    )
