"""Backbones: the networks that a denoiser wraps.

A backbone is an `nn.Module` with `forward(x, code, label)`:

- `x`: (B, C, H, W), the noisy sample, already scaled by the target;
- `code`: (B,), the number that the noise-level embedding sees;
- `label`: (B,) int64 in 0..classes, always a tensor; `classes` itself is the null class;
- returns (B, C, H, W) like `x`, or (B, 2C, H, W) if the variance is learned: the last C channels are then the
  interpolation v of Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 15.

It has the attribute `classes: int`; with `classes = 0` labels are ignored. The output is zero at initialisation.
"""
