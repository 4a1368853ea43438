"""Bundles: artifacts in one file, with everything that proves them, to be verified offline."""
