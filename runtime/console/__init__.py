"""The place of the web console; nothing is built here yet."""
