"""Local files: atomic replacement, locks, and what a killed process leaves behind."""
