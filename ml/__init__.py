"""The logging subsystem of a PyTorch training framework."""
