"""One YAML file per training run, and the settings that it may hold."""
