"""What a store of windows holds, data set by data set: people, hours, channels, rejections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("people", "recordings", "skipped", "hours", "channels", "windows")


def summarise(
    shards: Sequence[Mapping[str, Any]], skipped: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Count what the recordings of each data set gave.

    Parameters
    ----------
    shards
        Headers of the recordings that are used, with `dataset`.
    skipped
        Data set -> recordings left out.

    Returns
    -------
    dict
        Data set -> `people`, `recordings`, `skipped`, `hours` (of the recordings that are used),
        `channels` ("4", or "14-64"), `windows`, `rejected` (reason -> windows).
    """
    table: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys([shard["dataset"] for shard in shards] + list(skipped)):
        own = [shard for shard in shards if shard["dataset"] == name]
        n_chans = sorted({len(shard["ch_names"]) for shard in own})
        rejected: Counter[str] = Counter()
        for shard in own:
            rejected.update(shard["rejected"])
        table[name] = {
            "people": len({shard["subject"] for shard in own}),
            "recordings": len(own),
            "skipped": skipped.get(name, 0),
            "hours": round(sum(shard["duration_s"] for shard in own) / 3600, 2),
            "channels": "-".join(map(str, n_chans[:1] + n_chans[1:][-1:])),
            "windows": sum(shard["n_windows"] for shard in own),
            "rejected": dict(rejected),
        }
    return table


def format_summary(info: Mapping[str, Any]) -> str:
    """Return the table `datasets` of a store's `info.json` as aligned lines, with a total."""
    table: dict[str, dict[str, Any]] = info["datasets"]
    total: dict[str, Any] = {
        name: round(sum(row[name] for row in table.values()), 2)
        for name in COLUMNS
        if name != "channels"
    }
    total |= {"channels": "", "rejected": info["rejected"]}
    lines = [["data set", *COLUMNS, "rejected windows"]]
    for name, row in [*table.items(), ("all", total)]:
        rejected = ", ".join(
            f"{count} {reason}" for reason, count in row["rejected"].items() if count
        )
        lines.append([name, *(str(row[column]) for column in COLUMNS), rejected or "-"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)]
            + [line[-1]]
        )
        for line in lines
    )
