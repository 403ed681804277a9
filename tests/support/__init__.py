"""Helpers that several tests share: documents and checkpoints that are written for a test, and ways to wait."""
