"""Tests of the `radir` command's parts."""
