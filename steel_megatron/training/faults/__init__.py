"""Failures and numbers that are not finite: where they began, and how a run ends or goes on."""
