"""The operator's configuration: settings (environment and `.env`) and symbols.yml."""
