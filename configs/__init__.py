"""The Hydra configuration files; installed as `ml.configs`, so `pkg://ml.configs` finds them."""
