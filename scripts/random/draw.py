# SPDX-License-Identifier: Apache-2.0
"""Networks drawn at random, in the schema bkp-topology/1: 5 to 9 nodes, a mesh or sparse links, sites with trunks, tight
space, zones, weak sources, asymmetric links; and one of five jobs on each. A seed always gives the same network."""

import random

MB = 10**6
RATES = [1, 2, 3, 5, 8, 10, 15, 20, 40, 80]  # MB a second
SIZE = 1000  # of the file, in MB
JOBS = ["broadcast", "targets", "replicas", "shards", "fetch"]


def topology(seed):
    """The network and job of a seed."""
    r = random.Random(seed)
    n = r.randint(5, 9)
    job = JOBS[seed % 5]
    sites = r.choice([1, 2, 3, 3, n])
    nodes = [node(r, i, sites) for i in range(n)]
    net = {"schema": "bkp-topology/1", "name": f"r-{seed}-{job}", "file": {"bytes": SIZE * MB, "chunk_bytes": MB},
           "nodes": nodes, "source": "n0"}
    if job in ("broadcast", "targets", "fetch") and r.random() < 0.4:
        net["links"] = links(r, n)
    else:
        net["mesh"] = {"bw": r.choice([None, None, 10 * MB])}
        if 1 < sites < n and r.random() < 0.7:
            zones = sorted({v["zone"] for v in nodes})
            net["trunks"] = [{"from_zone": a, "to_zone": b, "bw": r.choice([1, 2, 4, 8, 16]) * MB}
                             for a in zones for b in zones if a != b]
    net["redundancy"] = redundancy(r, n, job)
    if job == "fetch":
        del net["source"]
    if job in ("replicas", "shards"):
        tighten(r, net, sites)
    return net


def node(r, i, sites):
    up = r.choice(RATES)
    down = up * r.choice([1, 1, 2, 4, 8])
    return {"id": f"n{i}", "up": up * MB, "down": down * MB, "zone": f"z{i % sites}", "price": r.randint(0, 5),
            "afr": 0.05}


def links(r, n):
    """A random tree and up to n links more, both directions of each, at unlike rates."""
    pairs, seen = [], set()
    order = list(range(n))
    r.shuffle(order)

    def add(a, b):
        if a != b and (a, b) not in seen:
            seen.update([(a, b), (b, a)])
            for x, y in ((a, b), (b, a)):
                pairs.append({"from": f"n{x}", "to": f"n{y}", "bw": r.choice(RATES) * MB})

    for i in range(1, n):
        add(order[i], order[r.randrange(i)])
    for _ in range(r.randint(0, n)):
        add(r.randrange(n), r.randrange(n))
    return pairs


def redundancy(r, n, job):
    if job == "broadcast":
        return {"mode": "broadcast"}
    if job == "targets":
        return {"mode": "broadcast", "targets": names(r.sample(range(1, n), r.randint(2, n - 2)))}
    if job == "replicas":
        return {"mode": "replicas", "r": r.randint(2, 3)}
    if job == "shards":
        k, m = r.choice([(2, 1), (3, 1), (2, 2), (3, 2), (4, 1), (4, 2)])
        return {"mode": "shards", "k": min(k, n - 1 - m), "m": m}
    parts = [r.randint(1, 5) for _ in range(r.randint(3, 5))]
    return {"mode": "fetch", "sink": "n0", "k": 1, "classes": [
        {"fraction": f"{p}/{sum(parts)}", "holders": names(r.sample(range(1, n), r.randint(1, 3)))} for p in parts]}


def names(nodes):
    return sorted(f"n{i}" for i in nodes)


def tighten(r, net, sites):
    """Draws a limit for each zone, and for the space of each node."""
    red, kept = net["redundancy"], net["nodes"][1:]
    pieces = red.get("r") or red["k"] + red["m"]
    if sites >= 3 and r.random() < 0.6:
        zones = {v["zone"] for v in net["nodes"]}
        counts = [sum(v["zone"] == z for v in kept) for z in zones]
        most = -(-pieces // sites)
        while sum(min(most, c) for c in counts) < pieces:
            most += 1
        red["max_per_zone"] = most
    if r.random() < 0.6:
        need = SIZE * pieces / red.get("k", 1)
        for v in kept:
            v["space"] = int(need / len(kept) * r.choice([0.9, 1.2, 1.6, 2.5, 4])) * MB


def without(net, lost):
    """What is left of a network, and of its job, when a node is lost."""
    red = dict(net["redundancy"])
    left = {**net, "name": f"{net['name']}-without-{lost}", "redundancy": red,
            "nodes": [v for v in net["nodes"] if v["id"] != lost]}
    if "links" in net:
        left["links"] = [l for l in net["links"] if lost not in (l["from"], l["to"])]
    if "targets" in red:
        red["targets"] = [t for t in red["targets"] if t != lost]
    if "classes" in red:
        red["classes"] = [{**c, "holders": [h for h in c["holders"] if h != lost]} for c in red["classes"]]
    return left


def loses(net):
    """Which node is lost: any but the source or the sink."""
    stays = net.get("source") or net["redundancy"]["sink"]
    return random.Random(net["name"]).choice([v["id"] for v in net["nodes"] if v["id"] != stays])
