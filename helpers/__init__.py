"""What user code and models are given: `db`, `sql`, `tools`, and their stubs, docs and tool schemas."""
