"""The paradigms without Hydra on several processes, started by Lightning."""

import runpy
import subprocess
import sys

import pytest
import torch

SEVERAL = """
import sys, torch, lightning.pytorch as pl
from torch.utils.data import DataLoader, TensorDataset
from difflab import MLP, DDIM, DataModule, Labels, RectifiedFlow, Sampling
from difflab.data import Moons, Points

torch.manual_seed(0)
data = DataModule(Moons(n=240, held_out=171), shape=(2,), classes=0, sigma_data=1.0, batch_size=80, codec=Points())
model = RectifiedFlow(MLP((2,), 0, width=16, depth=1), sampling=Sampling(DDIM(), nfe=5))
devices = int(sys.argv[1])
trainer = pl.Trainer(max_steps=6, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto",
                     logger=False, enable_checkpointing=False, enable_progress_bar=False)
(untrained,) = trainer.validate(model, data, verbose=False)
trainer.fit(model, data)
metrics = dict(trainer.callback_metrics)
found = trainer.test(model, data, verbose=False)[0]
drawn = trainer.predict(model, Labels(7, [0], batch_size=2))
one = trainer.predict(model, Labels(1, [0])) or []
torch.save({"weights": model.state_dict(), "untrained": untrained, "metrics": metrics, "found": found,
            "k": torch.cat([d.k for d in drawn]), "x": torch.cat([d.x for d in drawn]), "one": len(one)},
           f"{devices}-{trainer.global_rank}.pt")
"""


def test_two_processes_are_one_process(tmp_path, monkeypatch):
    """The same training, the same held-out values, and each sample once: with a plain Trainer's own settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "several.py").write_text(SEVERAL)
    monkeypatch.setattr(sys, "argv", ["several.py", "1"])
    runpy.run_path("several.py")
    done = subprocess.run([sys.executable, "several.py", "2"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    one, first, second = (torch.load(f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    untrained = [each["untrained"] for each in (one, first, second)]
    for key, value in one["weights"].items():
        torch.testing.assert_close(first["weights"][key], value, rtol=1e-3, atol=1e-5)
    assert untrained[0].keys() >= {"val/loss", "val/loss_spread"}
    assert untrained[1] == untrained[2] == pytest.approx(untrained[0], rel=1e-6), "by the same weights"
    for key in ("val/loss", "val/loss_spread", "train/loss"):
        assert first["metrics"][key].item() == pytest.approx(one["metrics"][key].item(), rel=1e-4), key
    for key in ("test/loss", "test/bits_per_dim", "test/straightness"):
        assert first["found"][key] == pytest.approx(one["found"][key], rel=1e-3), key
    assert first["k"].tolist() + second["k"].tolist() == one["k"].tolist() == list(range(7))
    torch.testing.assert_close(torch.cat([first["x"], second["x"]]), one["x"], rtol=1e-3, atol=1e-4)
    assert one["one"] == first["one"] + second["one"] == 1
