"""Alert channels; one file is one channel."""
