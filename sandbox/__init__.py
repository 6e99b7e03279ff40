"""The sandbox runs code that nobody reviewed: one interface (`engine`), one codec, several engines."""
