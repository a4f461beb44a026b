"""Chat templates: five by name, and copies of a model folder with another template."""
