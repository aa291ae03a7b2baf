"""Files: objects in a bucket, each named by a row that a transaction holds."""
