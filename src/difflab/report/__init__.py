"""From evaluations to tables, figures and one page, with intervals, floors and protocols. Names load when used."""

import importlib

_MODULES = {
    "Cell": "cell",
    "Group": "group",
    "Interval": "statistics",
    "Place": "ranking",
    "RankingTable": "tables",
    "Record": "record",
    "Study": "study",
    "Style": "style",
    "Styles": "style",
    "Verdict": "ranking",
    "compare": "ranking",
    "estimate": "statistics",
    "interval": "statistics",
    "load_study": "study",
    "pareto": "ranking",
    "print_ranking": "tables",
    "quality_chart": "charts",
    "quality_figure": "figures",
    "ranking_tables": "tables",
    "read_records": "record",
    "write_report": "output",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"difflab.report.{_MODULES[name]}"), name)
