"""What is on disk: runs, weights, checkpoints and evaluations. Each file is read as that of a stranger."""
