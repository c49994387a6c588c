"""Tasks: data, loss and metrics; what a model is trained for."""
