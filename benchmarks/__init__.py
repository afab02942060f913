"""Measuring the auditor: a zoo of clean and backdoored models, and the programs that scan it."""
