"""Backbones, features, solvers and encoding models."""
