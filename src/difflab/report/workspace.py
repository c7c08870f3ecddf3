"""A study on W&B: its table as a run, and a workspace whose panels are defined here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difflab.experiment.mirror.wandb_artifacts import mark_best
from difflab.experiment.mirror.wandb_job import WandbJob, protocol_tag
from difflab.experiment.mirror.wandb_mirror import Wandb
from difflab.experiment.mirror.wandb_server import attempt
from difflab.experiment.store.files import write_json
from difflab.experiment.store.stored_evaluation import PICTURES
from difflab.experiment.store.typed import TRAINED
from difflab.experiment.store.wandb_download import BEST, PREFIX
from difflab.metric.direction import higher_is_better, title
from difflab.report.cell import Cell
from difflab.report.costs import COSTS
from difflab.report.group import Group
from difflab.report.study import Study
from difflab.report.words import SAMPLED

try:
    import wandb_workspaces.reports.v2.interface as wr
    import wandb_workspaces.workspaces as ws
except ImportError as error:
    raise ImportError('a workspace on W&B needs an extra: pip install "difflab[workspaces]"') from error

TABLES = ("comparison", "evaluation")  # of the report, and of the jobs


def push(study: Study, out: Path, project: str, entity: str | None = None) -> list[str]:
    """Send a table and a workspace for each protocol of a study to W&B; return a line with the place of each.

    Offline, a table is kept in an offline run under `out`. A workspace is always written to `out` as JSON, and is sent
    to W&B if there is a server.
    """
    return [place for group in study.groups for place in push_group(study, group, out, Wandb(project, entity))]


def push_group(study: Study, group: Group, out: Path, mirror: Wandb) -> list[str]:
    """Send the table and the workspace of one group; return a line with the place of each."""
    card = protocol_card(group)
    name = f"report-{protocol_tag(card).partition(':')[2]}"
    rows = [table_row(study, group, cell) for cell in group.cells]
    job = WandbJob(out, name, "report", {"card": card})
    used = [f"{record.run.folder.name}-{record.card.fingerprint}:latest" for record in group.records]
    table = mirror.log_table(job, [*rows[0]], [[*row.values()] for row in rows], used)
    owner = mirror.owner()
    board = workspace(study, group, mirror.project, owner)
    path = write_json(out / f"workspace-{name}.json", definition(board))
    saved = [f"workspace: {board.url}"] if owner and attempt(board.save) else []
    best = f"{owner}/{mirror.project}/{best_model(group)}"
    marked = [f"best: {PREFIX}{best.rpartition(':')[0]}:{BEST}"] if owner and mark_best(best) else []
    return [f"table: {table or 'W&B failed'}", f"definition: {path}", *saved, *marked]


def best_model(group: Group) -> str:
    """The artifact of the best training by the first score of a group, as DATA:RUN."""
    metric = group.metrics[0]
    sign = -1 if higher_is_better(metric) else 1
    cell = min(group.with_metric(metric), key=lambda cell: sign * cell.estimate(metric).mean)
    record = min(cell.records, key=lambda record: sign * record.metrics[metric])
    return f"{record.config['choices']['data']}:{record.run.folder.name}"


def protocol_card(group: Group) -> dict[str, Any]:
    """The fields of the protocol card, which are the same for all cells of a group."""
    return group.cells[0].records[0].card.protocol


def table_row(study: Study, group: Group, cell: Cell) -> dict[str, Any]:
    """A cell as a row: label, factors, scores with intervals, floors with their n, notes, costs, pictures, commands."""
    scores = {metric: cell.estimate(metric) if metric in cell.metrics else None for metric in group.metrics}
    pictures = cell.records[0].pictures
    return {
        "cell": study.label(cell),
        **{key: cell.factors[key] for key in study.varied},
        "nfe_limit": cell.nfe,
        "trainings": len(cell.runs),
        **{key: value.mean if value else None for key, value in scores.items()},
        **{f"{key}_low": value.low if value and value.known else None for key, value in scores.items()},
        **{f"{key}_high": value.high if value and value.known else None for key, value in scores.items()},
        **{f"{key}_floor": str(floor) for key in scores if (floor := group.floor(key))},
        **{f"{key}_note": "; ".join(notes) for key in scores if (notes := group.notes(key))},
        **cell.cost,
        **{f"training_{key}": value for key, value in cell.training.items()},
        **{kind: pictures.get(kind) for kind in PICTURES},
        "commands": "\n".join(cell.commands),
    }


def workspace(study: Study, group: Group, project: str, entity: str) -> ws.Workspace:
    """The workspace of a group: all jobs of its protocol, with repetitions grouped."""
    varied = [key for key in study.distinguishing if key in (*TRAINED, *SAMPLED) and key in common_choices(group)]
    columns = [f"choices.{key}" for key in dict.fromkeys(("paradigm", *varied))]
    fields = ", ".join(f"{key} {value}"[:40] for key, value in group.differing.items())
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"difflab {fields}".strip(),
        sections=[
            ws.Section(name="Quality against cost", is_open=True, panels=quality_panels(group)),
            ws.Section(name="All jobs", is_open=True, panels=[*table_panels(), parallel_panel(group, columns)]),
            ws.Section(name="From the same noise", is_open=True, panels=picture_panels()),
        ],
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Tags().isin([protocol_tag(protocol_card(group))])),
            groupby=[*map(ws.Config, columns), ws.Summary("nfe")],
        ),
    )


def common_choices(group: Group) -> set[str]:
    """The groups of options that the configurations of all jobs on W&B have."""
    each = [{*record.config["choices"], *record.choices} for cell in group.cells for record in cell.records]
    return set.intersection(*each)


def quality_panels(group: Group) -> list[wr.PanelTypes]:
    """The first score against each cost, with a line for each series; then each score, with a dot for each cell."""
    first = group.metrics[0]
    lines: list[wr.PanelTypes] = [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": "comparison"}},
            chart_name="wandb/line/v0",
            chart_fields={"x": cost, "y": first, "stroke": "cell"},
            chart_strings={"title": f"{metric_heading(first)} against {words}"},
        )
        for cost, words in COSTS.items()
    ]
    dots: list[wr.PanelTypes] = [
        wr.ScatterPlot(
            title=f"{metric_heading(metric)} against {words}",
            x=wr.SummaryMetric(cost),
            y=wr.SummaryMetric(metric),
            log_x=True,
        )
        for metric in group.metrics
        for cost, words in COSTS.items()
    ]
    return lines + dots


def metric_heading(metric: str) -> str:
    """The title of a score, with the direction in which it is better."""
    return f"{title(metric)} ({'higher' if higher_is_better(metric) else 'lower'} is better)"


def table_panels() -> list[wr.PanelTypes]:
    """The table of the report, and the table of all jobs."""
    return [wr.WeavePanelSummaryTable(table_name=name, layout=wr.Layout(w=24, h=12)) for name in TABLES]


def parallel_panel(group: Group, columns: list[str]) -> wr.PanelTypes:
    """Parallel coordinates: an axis for each choice, for each cost and for the score of the ranking."""
    names = (*COSTS, group.metrics[0])
    axes: list[wr.SummaryOrConfigOnlyMetric] = [*map(wr.Config, columns), *(wr.SummaryMetric(name) for name in names)]
    return wr.ParallelCoordinatesPlot(
        title="Choices, cost and quality",
        columns=[wr.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes],
        layout=wr.Layout(w=24, h=10),
    )


def picture_panels() -> list[wr.PanelTypes]:
    """The pictures of all jobs side by side; they start from the same noise."""
    return [wr.MediaBrowser(title=kind, media_keys=[kind], layout=wr.Layout(w=24, h=12)) for kind in PICTURES]


def definition(board: ws.Workspace) -> dict[str, Any]:
    """A workspace as W&B stores it, which the package gives by a private name only."""
    values: dict[str, Any] = board._to_model().model_dump(mode="json", by_alias=True)
    return values
