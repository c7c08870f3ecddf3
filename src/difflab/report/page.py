"""One page that shows a study: rankings, charts, tables, pictures, protocol cards and commands."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from difflab.experiment.store.files import write_text
from difflab.metric.direction import better, meaning, title
from difflab.report.charts import Chart, noise_level_chart, varied_factors
from difflab.report.costs import COSTS, training_costs
from difflab.report.few_steps import residual_charts, straightness_chart
from difflab.report.gallery import by_numbers
from difflab.report.reached import cost_text
from difflab.report.reading import READING, any_error, bars, difference_text, divergences
from difflab.report.section import Section
from difflab.report.settings import sampling_differences, training_differences
from difflab.report.study import Study
from difflab.report.text import counted, nfe_text

HEADINGS = {
    "samples": (
        "Samples from the same noise",
        "The first samples of the first seed. The same place in two pictures started from the same noise. "
        "Choose a picture to enlarge it.",
    ),
    "steps": (
        "From noise to data",
        "The network's estimates of x0 for the first samples, from noise to data.",
    ),
    "pairs": (
        "Nearest training samples",
        "Above, the generated samples nearest to training samples; below each, its nearest training sample.",
    ),
}


def facts(study: Study) -> list[str]:
    """The size of the study, and the versions of difflab that measured and wrote it."""
    records = [record for cell in study.cells for record in cell.records]
    versions = sorted({record.card.versions.get("difflab", "of unknown version") for record in records})
    return [
        counted(len({record.run.folder for record in records}), "run"),
        counted(len({record.seed for record in records}), "training seed"),
        counted(len(records), "evaluation"),
        counted(len(study.groups), "protocol"),
        f"measured by difflab {', '.join(versions)}",
        f"written on {datetime.now().astimezone():%d %B %Y at %H:%M} by difflab {version('difflab')}",
    ]


def varied_title(study: Study) -> str:
    """The factors that vary: `paradigm × sampler × NFE`."""
    nfe = ["NFE"] if len({cell.nfe for cell in study.cells}) > 1 else []
    return " × ".join([*study.distinguishing, *nfe]) or study.label(study.cells[0])


def factor_values(study: Study, key: str) -> list[str]:
    """The values of a factor, numbers in their order."""
    return sorted({cell.factors[key] for cell in study.cells}, key=by_numbers)


def script(charts: Mapping[str, Chart]) -> Markup:
    """Charts as JSON that cannot end the script element around it; what is not finite becomes null."""
    plain = {key: {"data": finite(chart.data), "layout": finite(chart.layout)} for key, chart in charts.items()}
    return Markup(json.dumps(plain, allow_nan=False).replace("<", "\\u003c"))


def finite(value: Any) -> Any:  # noqa: ANN401  # plain values
    """Plain values, with None for each number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def breakable(label: str) -> Markup:
    """A label that a narrow column breaks between its factors, and within one after a sign."""
    factors = (re.sub("([=_.])", r"\1<wbr>", str(escape(factor))) for factor in label.split(" "))
    return Markup(" ".join(f'<span class="factor">{factor}</span>' for factor in factors))


def plotly_js() -> str:
    """The source of plotly.js, from the installed package, which is not imported."""
    package = find_spec("plotly")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the page needs plotly: pip install plotly")
    return Path(package.origin).with_name("package_data").joinpath("plotly.min.js").read_text(encoding="utf-8")


def asset(name: str) -> str:
    """The text of one of the page's files in this package."""
    return files("difflab.report").joinpath(name).read_text(encoding="utf-8")


def write_page(
    study: Study, folder: Path, metric: str | None = None, target: float | None = None, heading: str = ""
) -> Path:
    """Write `folder/index.html`, which needs no other file and no network; return its path.

    `metric` is shown first, `target` is the value of it to be reached (by default twice its floor), and `heading` is
    the title (by default the name of the study, or else what varies).
    """
    numbered = enumerate(study.groups, 1)
    sections = [Section(study, group, f"{k}", metric, target) for k, group in numbered]
    charts = {key: chart for s in sections for named in s.charts.values() for key, chart in named.items()}
    charts["noise-levels"] = noise_level_chart(study)
    residuals = residual_charts(study)
    charts |= {f"residual of {label}": chart for label, chart in residuals.items()}
    if straightness := straightness_chart(study):
        charts["straightness"] = straightness
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        **{"metric_title": title, "counted": counted, "nfe_text": nfe_text, "better": better, "meaning": meaning},
        "breakable": breakable,
        "cost_text": cost_text,
    }
    page = environment.from_string(asset("page.html.jinja")).render(
        study=study,
        sections=sections,
        facts=facts(study),
        factor_values=factor_values,
        title=heading or study.name or varied_title(study),
        varied=varied_title(study),
        headings=HEADINGS,
        costs=list(COSTS.values()),
        metrics=list(dict.fromkeys(metric for section in sections for metric in section.metrics)),
        bars=bars,
        reading=READING,
        any_error=any_error,
        difference_text=difference_text,
        divergences=divergences,
        varied_factors=varied_factors,
        trainings=training_differences(study),
        samplings=sampling_differences(study),
        training_costs=training_costs(study),
        residuals={label: chart.data[0]["meta"]["factors"] for label, chart in residuals.items()},
        straightness=straightness is not None,
        figures=script(charts),
        style=Markup(asset("page.css")),
        plotly=Markup(plotly_js()),
        code=Markup(asset("page.js")),
    )
    return write_text(folder / "index.html", page)
