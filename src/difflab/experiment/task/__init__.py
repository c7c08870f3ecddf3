"""What `difflab-sample` does with a trained run: one file a task."""
