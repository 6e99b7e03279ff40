"""Tool servers: programs reach the tools of MCP servers as `tools.<server>.<tool>(…)`.

`mcp` and `jsonschema` are imported with the first server, not with the service.
"""
