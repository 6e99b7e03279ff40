"""Worker processes: where parsing, pipelines and foreign readers run, away from the service."""
