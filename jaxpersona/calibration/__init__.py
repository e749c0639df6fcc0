"""Collects statistics from calibration texts: moments, Hessians, Fisher factors."""
