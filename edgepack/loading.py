# SPDX-License-Identifier: Apache-2.0
"""What the builds for all devices have in common: the model loaded once, in a form that each of them has a runtime for.

An ONNX graph that cannot become a Keras graph is taken as it is where every device has a runtime of ONNX.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

from edgepack.crew.crew import Crew
from edgepack.crew.workers import Workers
from edgepack.events import Note, Reporter, StageStarted, silent
from edgepack.model.load import load_model
from edgepack.model.model import Model
from edgepack.model.onnx_way import with_way_out
from edgepack.model.summary import Summary
from edgepack.request import Request
from edgepack.search.in_work import InWork
from edgepack.search.journal import Journal, open_journal
from edgepack.search.scout import Lent


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shared:
    """What the builds for all devices have in common.

    Attributes:
        crew: Local processes for TensorFlow.
        in_work: What is made of candidates at a time, here or elsewhere.
        salt: Of this process alone.
        lent: Of a scout: ``crew`` as far as it may use it.
        processes: Of each runtime, at most; None for one a core.
    """

    crew: Crew
    in_work: InWork
    salt: str
    journal: Journal
    model: Model
    report: Reporter
    lent: Lent | None = None
    processes: int | None = None

    @contextmanager
    def for_scout(self, lent: Lent, *, processes: int) -> Iterator["Shared"]:
        """Yield the same for a scout in a thread of its own, which reports nothing and writes nothing down."""
        with self.journal.beside() as journal:
            yield replace(self, crew=lent, journal=journal, report=silent, lent=lent, processes=processes)


@contextmanager
def shared(requests: Sequence[Request], report: Reporter) -> Iterator[Shared]:
    """Yield what ``requests`` have in common, which ask for one model; processes end with the block.

    Devices on which nothing can fit are not among them: what they take is no reason to refuse a model.

    Raises:
        EdgepackError: The model cannot be loaded, the work folder is in use, or a process cannot be had.
    """
    request = requests[0]
    threads = request.how_to_train.threads
    work = request.work
    with ExitStack() as stack:
        stack.enter_context(work.locked())
        journal = stack.enter_context(open_journal(work, report))
        makers: Crew | None = None
        if request.scheduler is not None:
            from edgepack.crew.cluster import Cluster

            makers = stack.enter_context(Cluster(request.scheduler, work.root, report, threads=threads))
        # Beside a cluster a scout has a process of its own here: the search never waits for its errands.
        size = 2 if makers is not None and len(requests) > 1 else request.workers
        crew = stack.enter_context(Workers(size, work.folder("logs"), report, threads=threads))
        as_it_is = all(item.profile.takes("onnx") for item in requests)
        model = load(request, request.model, crew, report, as_it_is=as_it_is)
        in_work = InWork(makers or crew)
        yield Shared(crew=crew, in_work=in_work, salt=token_hex(8), journal=journal, model=model, report=report)


def load(request: Request, path: Path, crew: Crew, report: Reporter, *, as_it_is: bool = False) -> Model:
    """Return the model at ``path``, the user's own or a teacher, and report what was changed on the way in.

    With ``as_it_is`` an ``.onnx`` of which no Keras graph can be made will do.
    """
    report(StageStarted(f"loading {path.name}"))
    model = crew.call(
        f"load-{path.stem}",
        load_model,
        path,
        shapes=request.shapes,
        trust_code=request.trust_code,
        layout=request.layout,
        folder=request.work.folder("models"),
        as_it_is=as_it_is,
    )
    for note in model.notes:
        report(Note(note))
    return model


def suited(request: Request, summary: Summary) -> Request:
    """Return ``request`` with the runtimes alone that can take the model, as far as its summary tells.

    Of an ``.onnx`` that no Keras graph can be made of those that take ONNX; ``refuse_unsuited`` is for what has none.
    """
    if summary.refusal is None or not request.profile.takes("onnx"):
        return request
    return replace(request, profile=request.profile.taking(["onnx"]))


def refuse_unsuited(requests: Sequence[Request], summary: Summary) -> None:
    """Refuse an ``.onnx`` that no Keras graph can be made of where a device has no runtime of ONNX.

    Raises:
        ModelError: So it is, or no runtime of ONNX was asked for (EP-153, EP-154).
    """
    if summary.refusal is not None and not all(request.profile.takes("onnx") for request in requests):
        raise with_way_out(summary.refusal, requests[0].model)


def suiting(request: Request, model: Model) -> Request:
    """Return ``request`` with the runtimes alone that take ``model``, and the formats that they take."""
    if model.kind != "onnx":
        return request
    return replace(request, profile=request.profile.taking(["onnx"]), formats=("onnx",))
