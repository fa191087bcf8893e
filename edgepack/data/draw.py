# SPDX-License-Identifier: Apache-2.0
"""Drawing the splits from the sources that were given, by the rules that the design fixes."""

import numpy as np

from edgepack.data._splits import divide, divide_groups, strata, take
from edgepack.data.data import Split
from edgepack.data.source import Source
from edgepack.errors import DataError

CALIBRATION_CAP = 256
"""Calibration samples taken from training data; ranges hardly move beyond a few hundred."""
_SHARES = {"calibration": 0.1, "selection": 0.3, "test": 0.6}
_FEWEST = 10


def draw(found: dict[str, Source], group_by: str | None, rng: np.random.Generator) -> tuple[dict[str, Split], bool]:
    """Return the splits by name, and whether the model may have seen the test samples."""
    fixed = {"calib": "calibration", "select": "selection"}
    splits = {fixed[role]: _everything(source) for role, source in found.items() if role in fixed}
    if "all" in found:
        wanted = {name: share for name, share in _SHARES.items() if name not in splits}
        splits |= _partition(found["all"], wanted, group_by, rng)
    if "train" in found:
        splits |= _from_train(found["train"], calibrate="calibration" not in splits, rng=rng)
    if "test" in found and "selection" in splits:
        splits["test"] = _everything(found["test"])
    elif "test" in found:
        splits |= _partition(found["test"], {"selection": 0.5, "test": 0.5}, group_by, rng)
    if group_by is not None:
        _check_leaks(splits, group_by)
    return splits, "all" in found


def _everything(source: Source) -> Split:
    return Split(source, np.arange(source.count, dtype=np.int64))


def _from_train(source: Source, *, calibrate: bool, rng: np.random.Generator) -> dict[str, Split]:
    """Return train, less what calibration takes: 256 samples at most, and never more than half."""
    if not calibrate:
        return {"train": _everything(source)}
    size = min(CALIBRATION_CAP, max(1, source.count // 2))
    pool = np.arange(source.count, dtype=np.int64)
    chosen, rest = take(pool, strata(source.labels, source.count), size, rng)
    splits = {"calibration": Split(source, chosen)}
    return splits | ({"train": Split(source, rest)} if len(rest) else {})


def _partition(
    source: Source, shares: dict[str, float], group_by: str | None, rng: np.random.Generator
) -> dict[str, Split]:
    """Return stratified (or grouped) splits of ``source`` in proportion to ``shares``."""
    total = sum(shares.values())
    fractions = [share / total for share in shares.values()]
    pool = np.arange(source.count, dtype=np.int64)
    if source.count < max(_FEWEST, len(shares)):
        raise DataError(
            "EP-211",
            f"{source.origin} has {source.count} samples; {' and '.join(shares)} need {_FEWEST} at least",
            hint="give more samples; a drop of 1% needs thousands to be seen",
        )
    if group_by is None:
        pieces = divide(pool, strata(source.labels, source.count), fractions, rng)
    else:
        groups = source.groups(group_by)
        held = len(np.unique(groups))
        if held < len(shares):
            raise DataError(
                "EP-211",
                f"--group-by {group_by}: {source.origin} has {held} groups, and {', '.join(shares)} need one each",
                hint="give data of more groups, or leave --group-by out",
            )
        pieces = divide_groups(pool, groups, fractions, rng)
    return {name: Split(source, piece) for name, piece in zip(shares, pieces, strict=True)}


def _check_leaks(splits: dict[str, Split], group_by: str) -> None:
    """Refuse a group on both sides: fitted to (calibration, train) against selection against test."""
    seen: dict[str, str] = {}
    sides = {"calibration": "calibration and train", "train": "calibration and train"}
    for name, split in splits.items():
        side = sides.get(name, name)
        for group in np.unique(split.source.groups(group_by)[split.indices]):
            if seen.setdefault(str(group), side) != side:
                raise DataError(
                    "EP-212",
                    f"--group-by {group_by}: {str(group)!r} is in {seen[str(group)]} and in {side}",
                    hint="give data whose parts share no group, or leave --group-by out and accept that they do",
                )
