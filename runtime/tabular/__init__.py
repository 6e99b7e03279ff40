"""Tables out of files and into files: reading without loss, staging, adopting, writing (docs/explanation/tables.md)."""
