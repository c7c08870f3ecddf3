"""How trainings and ways of sampling are drawn: one colour, mark and dash each, on the page and in print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from difflab.report.study import Study

# Blue, orange, teal, violet, green, brown, magenta, mauve; the first ones are the farthest apart. Each has a contrast
# of 3:1 with white and with the page's dark background. The closest two are farther apart than those of Okabe & Ito
# 2008, also under protanopia and deuteranopia.
COLOURS = ("#0098f8", "#f86000", "#187070", "#6040f8", "#20a868", "#a05020", "#b000b8", "#a878b0")
DASHES = ((), (5, 2), (1, 1.5), (5, 1.5, 1, 1.5), (9, 2), (9, 1.5, 1, 1.5, 1, 1.5))  # on, off, ... in line widths
GREY = "#848d97"


class Mark(NamedTuple):
    """A marker by its name in plotly and in matplotlib."""

    plotly: str
    matplotlib: str


MARKS = (
    Mark("circle", "o"),
    Mark("square", "s"),
    Mark("triangle-up", "^"),
    Mark("diamond", "D"),
    Mark("triangle-down", "v"),
    Mark("star", "*"),
    Mark("cross", "P"),
    Mark("x", "X"),
)


@dataclass(frozen=True)
class Style:
    """The colour, dash and mark of a line. `width` is in pixels on the page."""

    colour: str
    dash: tuple[float, ...] = ()
    mark: Mark | None = None
    width: float = 2.0
    opacity: float = 1.0

    @property
    def plotly(self) -> dict[str, Any]:
        """The properties of a plotly trace."""
        dash = ",".join(f"{length * self.width:g}px" for length in self.dash) or "solid"
        line = {"line": {"color": self.colour, "dash": dash, "width": self.width}, "opacity": self.opacity}
        marker = {"color": self.colour, "symbol": self.mark.plotly, "size": 8} if self.mark else None
        return line | ({"marker": marker} if marker else {})

    @property
    def matplotlib(self) -> dict[str, Any]:
        """The arguments of `Axes.plot`."""
        return {
            "color": self.colour,
            "linestyle": (0, self.dash) if self.dash else "-",
            "linewidth": 0.55 * self.width,  # a figure in print is smaller than a chart of the page
            "marker": self.mark.matplotlib if self.mark else "",
            "alpha": self.opacity,
        }


FLOOR = Style(GREY, dash=(1, 2))
FRONT = Style(GREY, width=6, opacity=0.35)  # a band under the lines


@dataclass(frozen=True)
class Styles:
    """The styles of a study, the same in all its charts and figures.

    A training has a colour, a way of sampling a mark and a dash; if there is one training, the colour separates ways
    of sampling, too. Trainings beyond the eighth share colours, and differ in the dash.
    """

    trainings: tuple[str, ...]
    samplings: tuple[str, ...]

    @classmethod
    def of(cls, study: Study) -> Styles:
        """The styles of a study, in the order of its cells."""
        trainings = dict.fromkeys(map(study.training_label, study.cells))
        return cls(tuple(trainings), tuple(dict.fromkeys(map(study.sampling_label, study.cells))))

    def training(self, label: str) -> Style:
        """The style of a training, for what does not depend on sampling."""
        turn, k = divmod(self.trainings.index(label), len(COLOURS))
        return Style(COLOURS[k], DASHES[turn % len(DASHES)])

    def series(self, training: str, sampling: str) -> Style:
        """The style of a training's samples, drawn in one way."""
        i, j = self.trainings.index(training), self.samplings.index(sampling)
        turn, k = divmod(i if len(self.trainings) > 1 else j, len(COLOURS))
        return Style(COLOURS[k], DASHES[(j + turn) % len(DASHES)], MARKS[j % len(MARKS)])
