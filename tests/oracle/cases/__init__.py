"""Every scenario, by name. Each module here holds the scenarios of one theme."""
import importlib
import pkgutil

_makers = {}


def case(name, about):
    """Registers a function that fills a scenario; it returns the Scenario."""
    def register(make):
        assert name not in _makers, name
        _makers[name] = (about, make)
        return make
    return register


def build():
    """All scenarios as data, in a fixed order."""
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        importlib.import_module("cases." + module)
    return {name: make(name, about).data for name, (about, make) in _makers.items()}
