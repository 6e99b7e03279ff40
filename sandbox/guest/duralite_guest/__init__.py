"""The guest is what runs inside the sandbox: it imports the standard library and itself, nothing else.

`zygote` is the clean process that children are forked from, `child` what one of them does with a job,
`kernel` and `filter` the confinement, `wire` its one channel to the host, `program` how user code runs.
Code here is not trusted by the host: user code shares its process and can rewrite any of it.
"""
