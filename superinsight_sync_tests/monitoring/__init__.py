"""Tests of alerts and their channels."""
