"""Reading and writing every file format."""
