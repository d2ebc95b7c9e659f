"""Files in a folder as streams of rows: listing, detection, and a reader per family of formats."""
