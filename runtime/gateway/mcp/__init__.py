"""The service as an MCP server: the methods of the registry as tools, what actors hold as resources.

Only `edge` is imported with the gateway; everything else brings the protocol's SDK with it, and is loaded by the
first client.
"""
