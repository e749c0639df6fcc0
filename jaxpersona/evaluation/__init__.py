"""Measures whether masks change behaviour: multiple choice, open answers, controls, baselines, and damage."""
