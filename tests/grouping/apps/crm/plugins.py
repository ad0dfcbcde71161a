"""Attributes and modules that are looked up by name."""

import importlib


class Plugin:
    colour = "red"

    def start(self, options):
        return getattr(self, options["mode"])()

    def quick(self):
        return self.speed * 2

    def slow(self):
        return self.colour.speed


def start(name, options):  # seam
    if name == "builtin":
        return Plugin().start(options)
    module = importlib.import_module(name)
    return module.Plugin(**options)
