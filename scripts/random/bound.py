# SPDX-License-Identifier: Apache-2.0
"""The least possible time of a job on a network (bkp-topology/1), exactly: linear programs over rational numbers.

Each is max rho, in bytes of the file a second. A broadcast has a cut for every target and every set of nodes that may
separate it from the source, found as they are needed (Edmonds 1973: then arborescences can be packed); copies are trees
from the source, each to the nodes that keep what it carries, found as they are needed too; shards are a flow from the
source, a fetch one from the holders."""

import itertools
from fractions import Fraction


def seconds(topology):
    """The least time in seconds; None where the job is impossible."""
    net = Net(topology)
    job = {"broadcast": broadcast, "replicas": replicas, "shards": shards, "fetch": fetch}[net.job["mode"]]
    rho = job(net)
    return net.size / rho if rho else None


class Net:
    def __init__(self, topology):
        nodes = topology["nodes"]
        self.index = {v["id"]: i for i, v in enumerate(nodes)}
        self.n, self.job, self.size = len(nodes), topology["redundancy"], Fraction(topology["file"]["bytes"])
        self.zone, self.space = [v["zone"] for v in nodes], [v.get("space") for v in nodes]
        self.source = self.index.get(topology.get("source"))
        links = {}  # (from, to): rate, None where it has no limit
        if "mesh" in topology:
            links = dict.fromkeys(itertools.permutations(range(self.n), 2), topology["mesh"]["bw"])
        for l in topology.get("links", []):
            links[self.index[l["from"]], self.index[l["to"]]] = l["bw"]
        self.edges = list(links)
        self.accounts = []  # (capacity, edges that share it)
        for i, v in enumerate(nodes):
            self.account(v["up"], [e for e in links if e[0] == i])
            self.account(v["down"], [e for e in links if e[1] == i])
        for e, rate in links.items():
            self.account(rate, [e])
        for t in topology.get("trunks", []):
            ends = t["from_zone"], t["to_zone"]
            self.account(t["bw"], [e for e in links if (self.zone[e[0]], self.zone[e[1]]) == ends])

    def account(self, capacity, edges):
        if capacity is not None and edges:
            self.accounts.append((Fraction(capacity), edges))


class Program:
    """Max rho, where rows say that sums of variables are at most some constant, 0 or more; no variable is negative."""

    def __init__(self):
        self.rows, self.limits = [], []

    def most(self, limit, row):
        self.rows.append({k: Fraction(v) for k, v in row.items() if v})
        self.limits.append(Fraction(limit))

    def solve(self, objective):
        """The optimum, the variables that are not 0, and each row's price: the simplex method on sparse rows."""
        rows = [{**row, ("slack", i): Fraction(1)} for i, row in enumerate(self.rows)]
        limits, basis = list(self.limits), [("slack", i) for i in range(len(self.rows))]
        order = {}
        for row in [objective, *rows]:
            for k in row:
                order.setdefault(k, len(order))
        z, best, stalled = {k: -Fraction(v) for k, v in objective.items()}, Fraction(0), 0
        while improving := [k for k, v in z.items() if v < 0]:
            if stalled > 30:  # Bland's rule, which ends cycles
                enters = min(improving, key=order.get)
            else:
                enters = min(improving, key=lambda k: (z[k], order[k]))
            ratios = [(limits[i] / row[enters], order[basis[i]], i) for i, row in enumerate(rows)
                      if row.get(enters, 0) > 0]
            ratio, _, pivot = min(ratios)
            stalled = stalled + 1 if ratio == 0 else 0
            scale = rows[pivot][enters]
            rows[pivot] = {k: v / scale for k, v in rows[pivot].items()}
            limits[pivot] /= scale
            for i, row in enumerate(rows):
                if i != pivot and enters in row:
                    limits[i] -= row[enters] * limits[pivot]
                    subtract(row, row[enters], rows[pivot])
            best -= z[enters] * limits[pivot]
            subtract(z, z[enters], rows[pivot])
            basis[pivot] = enters
        prices = [z.get(("slack", i), Fraction(0)) for i in range(len(rows))]
        return best, dict(zip(basis, limits)), prices


def subtract(row, times, other):
    for k, v in other.items():
        if left := row.get(k, 0) - times * v:
            row[k] = left
        else:
            row.pop(k, None)


def capacities(net):
    """A program that holds what flows over edges to the accounts."""
    p = Program()
    for capacity, edges in net.accounts:
        p.most(capacity, {e: 1 for e in edges})
    return p


def broadcast(net):
    targets = [net.index[t] for t in net.job.get("targets", net.index) if net.index[t] != net.source]
    p, everybody, known = capacities(net), frozenset(range(net.n)), set()

    def cut(side):
        known.add(side)
        p.most(0, {"rho": 1, **{e: -1 for e in net.edges if e[0] in side and e[1] not in side}})

    cut(frozenset([net.source]))
    for t in targets:
        cut(everybody - {t})
    while True:
        rho, flow, _ = p.solve({"rho": 1})
        broken = {side for t in targets for value, side in [min_cut(net, flow, t)] if value < rho}
        if not broken - known:
            return rho
        for side in sorted(broken - known, key=sorted):
            cut(side)


def min_cut(net, flow, target):
    """The most that can flow from the source to a node, and the source's side of the cut that limits it."""
    left, value = {}, Fraction(0)
    for (u, v) in net.edges:
        left[u, v] = left.get((u, v), 0) + flow.get((u, v), 0)
        left.setdefault((v, u), Fraction(0))
    while True:
        before, queue = {net.source: None}, [net.source]
        for u in queue:
            for v in range(net.n):
                if v not in before and left.get((u, v), 0) > 0:
                    before[v] = u
                    queue.append(v)
        if target not in before:
            return value, frozenset(before)
        path, v = [], target
        while before[v] is not None:
            path.append((before[v], v))
            v = before[v]
        most = min(left[e] for e in path)
        for (u, v) in path:
            left[u, v] -= most
            left[v, u] += most
        value += most


def replicas(net):
    """Packs pairs of a tree and the nodes that keep what it carries, over at most r+2 nodes beside the source: where
    longer ways help, the time may be a little high."""
    copies = net.job["r"]
    others = [i for i in range(net.n) if i != net.source]
    tight = [i for i in others if net.space[i] is not None and net.space[i] < net.size]
    share = {i: net.space[i] / net.size for i in tight}  # of all that is placed
    sharing = {e: [k for k, (_, edges) in enumerate(net.accounts) if e in edges] for e in net.edges}

    def keepers(among, price):
        """The cheapest that may keep copies together; None where too few may."""
        chosen, zones = [], {}
        for i in sorted(among, key=lambda i: price.get(i, 0)):
            if len(chosen) < copies and zones.get(net.zone[i], 0) < net.job.get("max_per_zone", copies):
                zones[net.zone[i]] = zones.get(net.zone[i], 0) + 1
                chosen.append(i)
        return chosen if len(chosen) == copies else None

    def cheapest(prices):
        cost = {e: sum(prices[k] for k in sharing[e]) for e in net.edges}
        rent = dict(zip(tight, prices[len(net.accounts):]))
        back = sum(rent[i] * share[i] for i in tight)
        best, found = None, None
        for size in range(1, min(len(others), copies + 2) + 1):
            for among in itertools.combinations(others, size):
                kept = keepers(among, rent)
                if kept is None:
                    continue
                total = sum(rent.get(i, 0) for i in kept) - back
                if best is not None and total >= best:
                    continue
                nodes = [net.source, *among]
                tree = arborescence(nodes, net.source, {e: c for e, c in cost.items() if e[0] in nodes and e[1] in nodes})
                if tree is not None and (best is None or total + tree[0] < best):
                    best, found = total + tree[0], (tuple(sorted(tree[1])), frozenset(kept))
        return best, found

    columns = [cheapest([Fraction(1)] * len(net.accounts) + [Fraction(0)] * len(tight))[1]]
    for kept in itertools.combinations(others, copies):  # stars, so that space is no obstacle to begin with
        if keepers(kept, {}) and all((net.source, i) in sharing for i in kept) and len(columns) <= 200:
            columns.append((tuple((net.source, i) for i in kept), frozenset(kept)))
    if columns[0] is None:
        return Fraction(0)
    while True:
        p = Program()
        for k, (capacity, _) in enumerate(net.accounts):
            p.most(capacity, {c: sum(k in sharing[e] for e in c[0]) for c in columns})
        for i in tight:
            p.most(0, {c: (i in c[1]) - share[i] for c in columns})
        rho, _, prices = p.solve(dict.fromkeys(columns, 1))
        price, column = cheapest(prices)
        if price >= 1 or column in columns:
            return rho
        columns.append(column)


def arborescence(nodes, root, cost):
    """The cheapest tree from the root to all nodes, as its cost and edges; None where there is none (Chu-Liu)."""
    enter = {}
    for (u, v), c in cost.items():
        if v != root and (v not in enter or c < enter[v][0]):
            enter[v] = c, u
    if any(v not in enter for v in nodes if v != root):
        return None
    cycle = cycle_of(nodes, root, enter)
    if cycle is None:
        return sum(enter[v][0] for v in nodes if v != root), [(enter[v][1], v) for v in nodes if v != root]
    whole, inside = ("cycle", *cycle), set(cycle)
    shorter, origin = {}, {}
    for (u, v), c in cost.items():
        a, b = whole if u in inside else u, whole if v in inside else v
        c -= enter[v][0] if v in inside else 0
        if a != b and ((a, b) not in shorter or c < shorter[a, b]):
            shorter[a, b], origin[a, b] = c, (u, v)
    tree = arborescence([v for v in nodes if v not in inside] + [whole], root, shorter)
    if tree is None:
        return None
    edges = [origin[e] for e in tree[1]]
    entered = next(v for _, v in edges if v in inside)
    edges += [(enter[v][1], v) for v in cycle if v != entered]
    return sum(cost[e] for e in edges), edges


def cycle_of(nodes, root, enter):
    seen = {root: root}
    for begin in nodes:
        path, v = [], begin
        while v not in seen:
            seen[v] = begin
            path.append(v)
            v = enter[v][1]
        if v != root and seen[v] == begin and v in path:
            return path[path.index(v):]
    return None


def shards(net):
    k, pieces = net.job["k"], net.job["k"] + net.job["m"]
    others = [i for i in range(net.n) if i != net.source]
    p = capacities(net)
    for i in others:
        p.most(0, {("keeps", i): 1, **passed(net, i)})
        share = Fraction(1, k) if net.space[i] is None else min(Fraction(1, k), net.space[i] / net.size)
        p.most(0, {("keeps", i): 1, "rho": -share})
    for z in sorted(set(net.zone)):
        p.most(0, {"rho": -Fraction(net.job.get("max_per_zone", pieces), k),
                   **{("keeps", i): 1 for i in others if net.zone[i] == z}})
    p.most(0, {"rho": Fraction(pieces, k), **{("keeps", i): -1 for i in others}})
    return p.solve({"rho": 1})[0]


def fetch(net):
    sink, parts = net.index[net.job["sink"]], net.job["classes"]
    gives = [(q, net.index[h]) for q, part in enumerate(parts) for h in part["holders"]]
    p = capacities(net)
    for i in range(net.n):
        if i != sink:
            p.most(0, {**passed(net, i), **{("gives", *g): -1 for g in gives if g[1] == i}})
    for q, part in enumerate(parts):
        fraction, given = Fraction(part["fraction"]), {("gives", *g): 1 for g in gives if g[0] == q}
        p.most(0, {**given, "rho": -fraction})
        p.most(0, {**{g: -1 for g in given}, "rho": fraction})
    p.most(0, {"rho": 1, **passed(net, sink)})
    return p.solve({"rho": 1})[0]


def passed(net, i):
    """What leaves a node, less what comes in."""
    return {e: 1 if e[0] == i else -1 for e in net.edges if i in e}
