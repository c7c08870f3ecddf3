"""The metrics of a run, a JSON line a step."""

import json

from difflab.experiment.store.metrics_file import MetricsFile


def test_metrics_are_cut_where_a_run_goes_on(tmp_path):
    path = tmp_path / "metrics.jsonl"
    logger = MetricsFile(path, 4, 0, 10)
    for step in range(5):
        logger.log_metrics({"loss": 1.0}, step)
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    MetricsFile(path, 4, 3, 10)
    assert [json.loads(line)["images_seen"] for line in path.read_text().splitlines()] == [4, 8, 12]
