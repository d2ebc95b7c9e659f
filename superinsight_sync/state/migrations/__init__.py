"""Migrations of our metadata database; `versions/vNNNN_*.py`, one line of history."""
