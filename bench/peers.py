"""All ways to keep a model side by side, as ratios to plain joblib: nobody but sealstore syncs."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from bench import objects
from bench.figures import Figure
from bench.keeping import OTHERS, PLAIN_JOBLIB, SEALSTORE
from bench.timing import race

MODELS = {
    "linear model": objects.linear_model,
    "HistGradientBoosting, 200 iterations": objects.boosting,
    "RandomForest, 100 trees": objects.forest,
}


def figures() -> Iterator[Figure]:
    """Storing and loading of each model by each way that is installed here."""
    absent = [way.name for way in OTHERS if not way.is_installed]
    if absent:
        print(f"not installed here, and not measured: {', '.join(absent)}")
    ways = [SEALSTORE, PLAIN_JOBLIB, *(way for way in OTHERS if way.is_installed)]
    for name, make in MODELS.items():
        model = make()
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            kept = {}
            for way in ways:
                folder = tempfile.TemporaryDirectory(prefix="sealstore-bench-")
                kept[way.name] = way.keep(Path(stack.enter_context(folder)), model)
                stack.callback(kept[way.name].close)
            stored = race({each: one.storing for each, one in kept.items()})
            loaded = race({each: one.loading for each, one in kept.items()})
        for act, ran in (("load", loaded), ("store", stored)):
            for way in ways:
                ratio = ran.ratio(way.name, PLAIN_JOBLIB.name)
                detail = ran.detail(way.name, PLAIN_JOBLIB.name)
                yield Figure(f"{act}: {way.name}: {name}", ratio, "x", None, detail)
