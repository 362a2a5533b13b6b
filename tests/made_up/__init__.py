"""Data that tests make up: reports and tables in the layouts of the sources, models, volumes and a Hub."""
