"""A study on W&B: its table as a run, and a workspace whose panels are written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difflab.experiment.files import write_json
from difflab.experiment.wandb_job import WandbJob, protocol_tag
from difflab.experiment.wandb_mirror import Wandb, attempt
from difflab.metric.direction import higher_is_better, title
from difflab.report.costs import COSTS
from difflab.report.evaluation import PICTURES
from difflab.report.factors import SAMPLED, TRAINED
from difflab.report.study import Cell, Group, Study

try:
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces as ws
except ImportError as error:
    raise ImportError('a workspace on W&B takes an extra: pip install "difflab[workspaces]"') from error

TABLES = ("comparison", "evaluation")  # of the report, and of the jobs


def push(study: Study, out: Path, project: str, entity: str | None = None) -> list[str]:
    """Send the tables and workspaces of a study to W&B, one for each protocol; return what lies where.

    Offline a table lies in an offline run under `out`. A workspace is always written there as JSON, and to W&B where
    there is a server.
    """
    return [place for group in study.groups for place in sent(study, group, out, Wandb(project, entity))]


def sent(study: Study, group: Group, out: Path, mirror: Wandb) -> list[str]:
    """Send one group; return what lies where."""
    tag = protocol_tag(card(group))
    name = f"report-{tag.partition(':')[2]}"
    rows = [line(study, group, cell) for cell in group.cells]
    table = mirror.log_table(
        WandbJob(out, name, "report", {"card": card(group)}), [*rows[0]], [[*r.values()] for r in rows]
    )
    owner = mirror.owner()
    made = workspace(study, group, mirror.project, owner)
    kept = write_json(out / f"workspace-{name}.json", definition(made))
    saved = [f"workspace: {made.url}"] if owner and attempt(made.save) else []
    return [f"table: {table or 'W&B failed'}", f"definition: {kept}", *saved]


def card(group: Group) -> dict[str, Any]:
    """What the protocol cards of a group have in common."""
    return group.cells[0].evaluations[0].card.protocol


def line(study: Study, group: Group, cell: Cell) -> dict[str, Any]:
    """A cell as a row: what it is, its scores and half of their intervals, its cost, its pictures, its commands."""
    scores = {metric: cell.estimate(metric) if metric in cell.metrics else None for metric in group.metrics}
    pictures = cell.evaluations[0].pictures
    return {
        "what": study.label(cell),
        **{key: cell.factors[key] for key in study.varied},
        "asked_nfe": cell.nfe,
        "trainings": len(cell.runs),
        **{key: value.mean if value else None for key, value in scores.items()},
        **{f"{key}_95": value.half_width if value and value.known else None for key, value in scores.items()},
        **cell.cost,
        **{f"training_{key}": value for key, value in cell.training.items()},
        **{kind: pictures.get(kind) for kind in PICTURES},
        "commands": "\n".join(cell.commands),
    }


def workspace(study: Study, group: Group, project: str, entity: str) -> ws.Workspace:
    """The workspace of a group; it shows the jobs of the group's protocol, repetitions as one."""
    chosen = [key for key in study.told if key in (*TRAINED, *SAMPLED) and key in choices(group)]
    told = [f"choices.{key}" for key in dict.fromkeys(("paradigm", *chosen))]
    apart = ", ".join(f"{key} {value}"[:40] for key, value in group.differing.items())
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"difflab {apart}".strip(),
        sections=[
            ws.Section(name="Quality against cost", is_open=True, panels=quality(group)),
            ws.Section(name="All of it", is_open=True, panels=[*tables(), parallel(group, told)]),
            ws.Section(name="From the same noise", is_open=True, panels=pictures()),
        ],
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Tags().isin([protocol_tag(card(group))])),
            groupby=[*map(ws.Config, told), ws.Summary("nfe")],
        ),
    )


def choices(group: Group) -> set[str]:
    """The groups of options that W&B knows all jobs by."""
    each = [{*e.config["choices"], *e.choices} for cell in group.cells for e in cell.evaluations]
    return set.intersection(*each)


def quality(group: Group) -> list[wr.PanelTypes]:
    """The score that the report ranks by against each cost, a line a series; then each score, a dot a cell."""
    first = group.metrics[0]
    lines: list[wr.PanelTypes] = [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": "comparison"}},
            chart_name="wandb/line/v0",
            chart_fields={"x": cost, "y": first, "stroke": "what"},
            chart_strings={"title": f"{heading(first)} against {words}"},
        )
        for cost, words in COSTS.items()
    ]
    dots: list[wr.PanelTypes] = [
        wr.ScatterPlot(
            title=f"{heading(metric)} against {words}",
            x=wr.SummaryMetric(cost),
            y=wr.SummaryMetric(metric),
            log_x=True,
        )
        for metric in group.metrics
        for cost, words in COSTS.items()
    ]
    return lines + dots


def heading(metric: str) -> str:
    """A score in words, and which way it is better."""
    return f"{title(metric)} ({'higher' if higher_is_better(metric) else 'lower'} is better)"


def tables() -> list[wr.PanelTypes]:
    """The report's table, and the one of all jobs."""
    return [wr.WeavePanelSummaryTable(table_name=name, layout=wr.Layout(w=24, h=12)) for name in TABLES]


def parallel(group: Group, told: list[str]) -> wr.PanelTypes:
    """An axis for each choice, each cost and the score that is ranked by."""
    names = (*COSTS, group.metrics[0])
    axes: list[wr.SummaryOrConfigOnlyMetric] = [*map(wr.Config, told), *(wr.SummaryMetric(name) for name in names)]
    return wr.ParallelCoordinatesPlot(
        title="Choices, cost and quality",
        columns=[wr.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes],
        layout=wr.Layout(w=24, h=10),
    )


def pictures() -> list[wr.PanelTypes]:
    """The pictures of all jobs side by side: they start from the same noise."""
    return [wr.MediaBrowser(title=kind, media_keys=[kind], layout=wr.Layout(w=24, h=12)) for kind in PICTURES]


def definition(made: ws.Workspace) -> dict[str, Any]:
    """A workspace as W&B stores it; the package has no public name for that."""
    values: dict[str, Any] = made._to_model().model_dump(mode="json", by_alias=True)
    return values
