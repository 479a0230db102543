"""What the operator decides: settings (.env and environment) and symbols.yml."""
