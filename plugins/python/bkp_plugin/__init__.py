# SPDX-License-Identifier: Apache-2.0
"""Write a strategy, a verifier, a notifier or an engine for bkp in Python; see README.md in the folder plugins of bkp."""

import json

from .columns_pb2 import Batch, Scores
from .notifier_pb2 import Event
from .setting_pb2 import Setting
from .verifier_pb2 import Verdict, VerifyRequest

__all__ = [
    "Batch",
    "Engine",
    "Event",
    "Notifier",
    "Plugin",
    "Scores",
    "Setting",
    "Strategy",
    "Verdict",
    "Verifier",
    "VerifyRequest",
    "serve",
    "setting",
]

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def setting(key, default, about):
    """One key of the configuration. Its type is that of the default."""
    return Setting(key=key, type=_TYPES[type(default)], default=json.dumps(default), about=about)


class Plugin:
    """What plugins of all kinds have in common. name is NAME of the file bkp-KIND-NAME."""

    name = version = summary = ""
    settings = ()

    def __init__(self):
        self.config = {s.key: json.loads(s.default) for s in self.settings}

    def configure(self, config):
        """Takes the settings that were given, a dict, before the first question. An exception refuses them."""
        self.config.update(config)


class Strategy(Plugin):
    """Prices nodes. needs names the columns of batch.nodes that score reads: no others are sent."""

    needs = ()
    deterministic = True  # the same batch gets the same answer
    owns_first_holder = False

    def score(self, batch):
        """Answers a Batch with Scores: columns of one entry per node, or empty ones. Called from several threads."""
        raise NotImplementedError


class Verifier(Plugin):
    """Judges licences."""

    def verify(self, request):
        """Answers a VerifyRequest with a Verdict; an exception means that nothing was judged."""
        raise NotImplementedError


class Notifier(Plugin):
    """Tells people, or other programs, what has happened."""

    def notify(self, event):
        """Tells an Event; an exception means that it was not told."""
        raise NotImplementedError


class Engine(Plugin):
    """Keeps one order of what several nodes append to it. Both are called from several threads."""

    def append(self, scope, after, entry):
        """Appends bytes to a scope that has after entries: (True, after + 1), or (False, how many it has)."""
        raise NotImplementedError

    def read(self, scope, after, limit):
        """A list of the entries behind the first so many: at most limit, and 1 MiB together or one."""
        raise NotImplementedError


def serve(plugin):
    """The whole main of a plugin. It returns when bkp ends it."""
    from ._serve import run  # gRPC takes long to import, and a test of score does not need it

    run(plugin)
