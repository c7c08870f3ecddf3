"""Where jobs are shown beside their files: W&B, TensorBoard, CSV, MLflow."""
