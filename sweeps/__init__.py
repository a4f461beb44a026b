"""Searches over an objective's parameters: axes and grids, studies and their storages, workers that join them."""
