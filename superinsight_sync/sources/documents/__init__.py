"""Document databases: documents into JSON records."""
