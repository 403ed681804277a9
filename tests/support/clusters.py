"""A Ray cluster of several nodes on this machine, and runs on it that something happens to."""

import os
from contextlib import contextmanager

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns that this will be its default

STORE = 128 << 20  # bytes of memory for the objects of a node


class Nodes:
    """A cluster: a head without cores, and nodes of one core each."""

    def __init__(self, count):
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address = self.cluster.address
        self.nodes = []
        for _ in range(count):
            self.join()

    def join(self):
        """Let a node join."""
        self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=STORE))

    def kill(self, number=0):
        """Kill a node, with all that runs on it."""
        self.cluster.remove_node(self.nodes.pop(number), allow_graceful=False)


@contextmanager
def nodes(count=2):
    """A cluster of so many nodes."""
    made = Nodes(count)
    try:
        yield made
    finally:
        made.cluster.shutdown()


class After:
    """A progress callable that does something once, as soon as so many pages are in the index."""

    def __init__(self, pages, action):
        self.pages = pages
        self.action = action
        self.done = False

    def __call__(self, progress):
        if not self.done and progress.pages >= self.pages:
            self.done = True
            self.action()
