"""The session language: documents, their values, secrets and templates, read strictly."""
