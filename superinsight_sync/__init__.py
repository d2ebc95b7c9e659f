"""SuperInsight Sync: customers' data becomes AI-ready data, as a Dagster project."""
