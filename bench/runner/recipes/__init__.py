"""Recipes: published experiments as options of ``bench run``, a TOML file each beside this one."""
