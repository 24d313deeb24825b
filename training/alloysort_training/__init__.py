"""Fit, calibrate, export and evaluate; the only package that needs torch."""
