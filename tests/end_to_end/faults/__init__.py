"""The cases of docs/fault-table.md."""
