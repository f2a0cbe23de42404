# SPDX-License-Identifier: Apache-2.0
"""Random networks against their exact least times: python3 scripts/random SEEDS [--error PART] [--lose]

Draws the networks, finds their least times (kept in build/random), lets bkp sim place or fetch on each, and prints the
worst and, last, how all of them came out. It fails where a network on which the job is impossible does not end with
code 13, or another does."""

import argparse
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from multiprocessing import Pool
from pathlib import Path

import bound
import draw

ROOT = Path(__file__).parents[2]
CACHE, BKP = ROOT / "build/random", ROOT / "build/tools/bkp"
IMPOSSIBLE = 13  # how bkp ends where too few nodes have room, or nothing leads to them


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", help="FIRST-LAST, or one")
    parser.add_argument("--error", default="0", help="how wrong estimates are, as 0.3")
    parser.add_argument("--lose", action="store_true", help="lose a node at a third of the least time")
    parser.add_argument("--runs", default="1000")
    parser.add_argument("--table", help="write a line of JSON for each network to this file")
    args = parser.parse_args()
    first, _, last = args.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    CACHE.mkdir(parents=True, exist_ok=True)
    with Pool() as pool:
        cases = pool.starmap(case, [(seed, args.lose) for seed in seeds], chunksize=1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda c: simulate(c, args.error, args.runs), cases))
    if args.table:
        Path(args.table).write_text("".join(json.dumps(r) + "\n" for r in results))
    report(results)
    wrong = [r for r in results if r.get("wrong")]
    for r in wrong:
        print(f"{r['name']}: {r['wrong']}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def case(seed, lose):
    """A network with its least time, and what bkp sim is told of it."""
    net = draw.topology(seed)
    least = known(net)
    c = {"name": net["name"], "file": str(CACHE / f"{net['name']}.json"), "seed": seed, "bound": least, "options": []}
    if lose and least is not None:
        lost = draw.loses(net)
        rest, at = known(draw.without(net, lost)), least / 3
        if rest is None:
            return None  # nobody could bring back what was lost
        if net["redundancy"]["mode"] in ("broadcast", "fetch"):  # what was delivered by then stays so
            rest = at + rest * 2 / 3
        c.update(bound=rest, options=["--lose", f"{lost}@{at}"])
    return c


def known(net):
    """The least time of a network, which is found once; None where the job is impossible."""
    kept = CACHE / f"{net['name']}.json"
    if kept.exists() and kept.stat().st_mtime > Path(bound.__file__).stat().st_mtime:
        there = json.loads(kept.read_text())
        exact = there.pop("exact")
        if there == net:
            return float(Fraction(exact)) if exact else None
    least = bound.seconds(net)
    new = kept.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({**net, "exact": str(least) if least else ""}, indent=1))
    new.replace(kept)
    return float(least) if least else None


def simulate(c, error, runs):
    if c is None:
        return {"skipped": True}
    told = [BKP, "sim", c["file"], "--json", "--runs", runs, "--seed", str(c["seed"]), "--error", error, *c["options"]]
    done = subprocess.run(told, capture_output=True, text=True)
    r = {"name": c["name"], "exact": c["bound"]}
    if c["bound"] is None or done.returncode != 0:
        if done.returncode != IMPOSSIBLE or c["bound"] is not None:
            r["wrong"] = f"ended with {done.returncode}, and the least time is {c['bound']} s: {done.stderr.strip()}"
        return r
    out = json.loads(done.stdout.splitlines()[-1])
    if out["undelivered_bytes"] > 0 and not c["options"]:
        r["wrong"] = f"{out['undelivered_bytes']} bytes were not delivered"
    # After a loss the exact least time is that of the network that is left, from the beginning; sim's knows besides
    # that what only the lost node had must come again, and not before the moment of the loss.
    least = max(c["bound"], out["bound_s"]) if c["options"] else c["bound"]
    return {**r, "exact": least, "simulated": out["makespan_s"], "printed": out["bound_s"],
            "predicted": out["predicted_s"], "binding": out["binding"], "ratio": out["makespan_s"] / least}


def report(results):
    done = sorted((r for r in results if "ratio" in r), key=lambda r: -r["ratio"])
    if not done:
        return
    impossible, skipped = sum(r.get("exact", 0) is None for r in results), sum("skipped" in r for r in results)
    print(f"{len(done)} networks; on {impossible} more the job is impossible, on {skipped} it is once a node is lost")
    print(f"{'job':10} {'networks':>8} {'> 1.04':>6} {'median':>6} {'p95':>6} {'worst':>6}")
    for job in draw.JOBS:
        ratios = [r["ratio"] for r in done if r["name"].split("-")[2] == job]
        if ratios:
            print(f"{job:10} {len(ratios):8} {sum(r > 1.04 for r in ratios):6} {part(ratios, .5):6.3f} "
                  f"{part(ratios, .95):6.3f} {max(ratios):6.3f}")
    print("the worst ten:")
    for r in done[:10]:
        print(f"  {r['ratio']:.3f} {r['name']}: {r['simulated']:.1f} s, least {r['exact']:.1f}, printed "
              f"{r['printed']:.1f}, predicted {r['predicted']:.1f} ({r['binding']})")
    ratios = [r["ratio"] for r in done]
    bound_off = max(abs(r["printed"] / r["exact"] - 1) for r in done)
    predicted_off = part([abs(r["predicted"] - r["simulated"]) / r["simulated"] for r in done], .95)
    print(f"median {part(ratios, .5):.3f} p95 {part(ratios, .95):.3f} worst {max(ratios):.3f} "
          f"bound-off {bound_off:.3f} predicted-off {predicted_off:.3f}")


def part(values, p):
    """The least value that a part of all do not exceed."""
    return sorted(values)[max(0, math.ceil(p * len(values)) - 1)]


if __name__ == "__main__":
    main()
