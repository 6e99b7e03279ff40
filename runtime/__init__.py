"""The actor runtime: named SQLite files with typed methods. It knows no actor type by name."""
