"""Measurements, as ratios against peers in one run: ``python -m bench``, or ``make bench``."""
