"""The pictures of the field: closed forms, laws in the plane, and trained runs. Each is a value with `draw()`."""

from difflab.report.figure.base import Drawing
from difflab.report.figure.density import Density
from difflab.report.figure.embedding import Embedding
from difflab.report.figure.forward import Forward
from difflab.report.figure.likelihood import Likelihood
from difflab.report.figure.paths import Paths
from difflab.report.figure.reverse import Reverse
from difflab.report.figure.samplers import Samplers
from difflab.report.figure.schedules import Schedules
from difflab.report.figure.score import Score
from difflab.report.figure.targets import Targets
from difflab.report.figure.variants import Eta, Guidance

FIGURES: dict[str, type[Drawing]] = {
    "forward": Forward,
    "reverse": Reverse,
    "schedules": Schedules,
    "targets": Targets,
    "embedding": Embedding,
    "score": Score,
    "density": Density,
    "paths": Paths,
    "samplers": Samplers,
    "eta": Eta,
    "guidance": Guidance,
    "likelihood": Likelihood,
}

__all__ = [
    "FIGURES",
    "Density",
    "Drawing",
    "Embedding",
    "Eta",
    "Forward",
    "Guidance",
    "Likelihood",
    "Paths",
    "Reverse",
    "Samplers",
    "Schedules",
    "Score",
    "Targets",
]
