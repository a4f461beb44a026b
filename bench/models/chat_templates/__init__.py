"""Owns chat templates: five by name, the folder of a model with another template, and what a template does unasked."""
