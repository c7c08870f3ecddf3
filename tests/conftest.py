"""The environment of all tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # bf16 kernels spin at barriers when tests share a machine
os.environ["WANDB_MODE"] = "offline"
