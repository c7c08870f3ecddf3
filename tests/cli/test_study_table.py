"""The table at the end of a study: whole names at any width, what varied as columns, three scores at most."""

import pytest

from difflab.cli.multirun import SCORES, show

SCORED = {"fd_lite0": 12.34, "kid_lite0": 0.0123, "precision_lite0": 0.5, "recall_lite0": 0.1}


@pytest.mark.parametrize("width", [80, 100])
def test_it_fits_and_names_are_whole(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    metrics = {**SCORED, **{f"{key}_floor": 0.0 for key in SCORED}}
    options = [("rectified_flow", "predictor_corrector"), ("improved_ddpm_vlb", "ddim")]
    show(
        [
            {
                "overrides": ["images=64", f"paradigm={paradigm}", f"sampler={sampler}"],
                "found": {"run": "a", "loss": 0.1, "metrics": metrics, "cost": {"nfe": 20.0}, "trained": 1},
                "error": None,
            }
            for paradigm, sampler in options
        ],
        verbose=False,
    )
    out = capsys.readouterr().out
    assert all(word in out for pair in options for word in (*pair, "paradigm", "sampler"))
    assert "images=64" not in out
    assert "…" not in out
    assert sum(f"{value:.4g}" in out for value in SCORED.values()) == SCORES
    assert "2 more scores of each: -v after the same command, or difflab-report" in " ".join(out.split())
