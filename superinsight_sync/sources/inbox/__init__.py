"""The inbox read as a source: what was pushed becomes rows."""
