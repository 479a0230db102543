"""Where events flow inside a process."""
