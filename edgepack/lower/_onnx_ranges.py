# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations: the least and the largest values seen, or without the outermost, by what the answers say.

One value far out costs all others their steps; without it, that one is clamped. Which is worse is asked of calibration
samples that the narrower ranges were not made from. onnxruntime's other calibrators, Entropy and Distribution, stay
out: the latter was measured to be broken.

Why 99.99: to images and clips never seen, two trainings of ResNet-8 on CIFAR-10 and a DS-CNN for keywords answered 7 to
52% nearer to the float graph with it than with the least and the largest values, over two draws of 256 calibration
samples and two forms each, and each time nearer than with 99.999. 99.9 cost a CNN for digits and a DS-CNN for spoken
ones, which have hardly an outlier, five to ten times the divergence that they had.
"""

import io
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.graph.divergence import divergence
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._onnx_parity import Answers, of_onnx
from edgepack.quantize.ways import hold_back

if TYPE_CHECKING:
    import onnx

SEEN: Final = "seen.json"
"""Name of the file of the least and the largest values, as onnxruntime's quantizer writes it beside a graph."""
NARROWED: Final = "narrowed.json"
"""Name of the file of narrower ranges."""
_PERCENT: Final = 99.99  # of an activation's values; as many are left out on either side
_LEAST_HELD: Final = 8  # fewer say too little of which ranges are better
_MOST_HELD: Final = 256
_ANSWERS_BYTES: Final = 32 << 20
_CLOSE: Final = 1e-4  # of divergence: what is left is rounding, which moves with every range
_BINS: Final = 8192  # a value a thousand times as far out as the others leaves those some steps
_LEAST_FITTED: Final = 32
_MOST_VALUES: Final = 500_000_000  # counted, at about 30 ns each


class Reader:
    """Calibration samples as onnxruntime's quantizer asks for them."""

    def __init__(self, samples: Iterable[dict[str, np.ndarray]]) -> None:
        self._left = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next sample by input name, None behind the last."""
        return next(self._left, None)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Calibration samples held back.

    Attributes:
        samples: All of them.
        fit: Rows of those that are not held back.
        rows: Rows of those that are.
        exact: The float graph's answers to these, one array an output; None where they cannot be compared.
    """

    samples: CalibrationSet
    fit: Sequence[int]
    rows: Sequence[int]
    exact: Sequence[Array] | None

    @classmethod
    def of(cls, samples: CalibrationSet, graph: "onnx.ModelProto") -> "Held | None":
        """Hold back each fifth of ``samples`` for the float ``graph``; None where that is too few to tell by."""
        fit, rows = hold_back(len(samples))
        if len(rows) < _LEAST_HELD:
            return None
        run = of_onnx(graph, integers=False)
        one = next(samples.rows(rows))
        answer_bytes = sum(getattr(value, "nbytes", 0) for value in run(list(one.values())))
        most = max(_LEAST_HELD, min(_MOST_HELD, _ANSWERS_BYTES // max(answer_bytes, 1)))
        kept = _thinned(rows, most)
        return cls(samples, fit, kept, _answers(run, samples.rows(kept)))

    def distance(self, graph: "onnx.ModelProto") -> float:
        """Return how far the answers of ``graph`` are from the float graph's; NaN where that cannot be told."""
        found = _answers(of_onnx(graph, integers=False), self.samples.rows(self.rows))
        if self.exact is None or found is None:
            return float("nan")
        pairs = [pair for pair in zip(self.exact, found, strict=True) if pair[0].dtype.kind == "f"]
        if not pairs or any(one.shape != other.shape for one, other in pairs):
            return float("nan")
        return divergence(*zip(*pairs, strict=True))

    def needs_better(self, distance: float) -> bool:
        """Return whether ranges can bring answers at this distance nearer than rounding happens to."""
        return distance > _CLOSE

    def words(self, distance: float, plain: float) -> str:
        """One sentence for the report on ranges that answer nearer than the ``plain`` ones."""
        return (
            f"the ranges of its activations leave out the outermost {100 - _PERCENT:.2g}% of the calibration values:"
            f" the answers to {len(self.rows)} samples held back diverge by {distance:.2g} from the float graph's,"
            f" with the least and the largest values as ranges by {plain:.2g}"
        )


def write_narrowed(source: Path, samples: CalibrationSet, fit: Sequence[int], *, kinds: Sequence[str]) -> None:
    """Write ranges that hold 99.99% of each activation's values, by onnxruntime's Percentile calibrator.

    It would keep all activations of all samples. Here it gets one sample at a time, and histograms that span what was
    seen, so that they come out as if it had kept them; fewer samples where they have many values.

    Args:
        source: The float graph, with the least and the largest values of its activations in a file beside it.
        samples: All of them.
        fit: Rows of those to calibrate with.
        kinds: Operators whose inputs and outputs are calibrated: those that the values seen were asked for.
    """
    from onnxruntime.quantization import CalibrationMethod, create_calibrator, load_tensors_data, save_tensors_data
    from onnxruntime.quantization.calibrate import HistogramCollector

    seen = load_tensors_data(source.with_name(SEEN))
    with redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            source,
            list(kinds),
            augmented_model_path=str(source.with_name("percentile.onnx")),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": _PERCENT, "symmetric": False, "num_bins": _BINS},
        )
        calibrator.collector = collector = HistogramCollector(
            method="percentile",
            symmetric=False,
            num_bins=_BINS,
            num_quantized_bins=_BINS,
            percentile=_PERCENT,
            scenario="same",
        )
        for name in calibrator.tensors_to_calibrate.intersection(seen):
            ends = map(np.squeeze, seen[name].range_value)
            collector.histogram_dict[name] = _empty(max(abs(float(end)) for end in ends))
        calibrator.collect_data(Reader(samples.rows(fit[:1])))
        values = sum(int(counts.sum()) for counts, *_ in collector.histogram_dict.values())
        most = max(_LEAST_FITTED, _MOST_VALUES // max(values, 1))
        for sample in samples.rows(_thinned(fit, most)[1:]):
            calibrator.collect_data(Reader([sample]))
        save_tensors_data(calibrator.compute_data(), source.with_name(NARROWED))


def _empty(furthest: float) -> tuple[object, ...]:
    """Return a histogram of nothing as onnxruntime's collector keeps it: counts, edges, least, largest, furthest."""
    counts, edges = np.histogram(np.zeros(0, np.float32), _BINS, range=(-furthest, furthest))
    return counts, edges.astype(np.float32), np.float32(np.inf), np.float32(-np.inf), np.float32(furthest)


def _answers(run: Answers, samples: Iterable[dict[str, np.ndarray]]) -> list[Array] | None:
    """Return what ``run`` answers, (n, ...) an output; None where its shapes change from sample to sample."""
    found = list(zip(*(run(list(sample.values())) for sample in samples), strict=True))
    if any(not isinstance(value, np.ndarray) or value.shape != output[0].shape for output in found for value in output):
        return None
    return [np.stack(output) for output in found]


def _thinned(rows: Sequence[int], most: int) -> Sequence[int]:
    """Return at most ``most`` of ``rows``, evenly spread, the first among them."""
    return rows[:: -(-len(rows) // most)]
