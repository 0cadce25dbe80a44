"""The results of the benchmark of real sets, and what misses its bar."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from arms import missed_bars
from real_sets import SETS, RealSet
from records import REPOSITORY

# What the same assignment does on clean sets before it knew of nuisances.
BEFORE = REPOSITORY / "benchmarks" / "results" / "states.json"
CLEAN_BEFORE = {"four_clean_0.1": "snr_0.1", "four_clean_0.05": "snr_0.05", "other_states_0.1": "other_states"}
LEAST_ARI = {0.1: 0.97, 0.05: 0.93}
Bars = dict[str, tuple[str, float]]
Results = Mapping[str, Mapping[str, Mapping[str, Any]]]


def held_against_bars(results: Results, names: Iterable[str]) -> list[str]:
    """Print what became of each set and seed, and return the bars that are missed."""
    before, missed = json.loads(BEFORE.read_text())["sets"], []
    for name in names:
        for seed, arms in results.get(name, {}).items():
            if "ours" not in arms:
                continue
            clean = arms if "without" in arms else results.get(_clean_twin(name), {}).get(seed, {})
            without = arms.get("without") or clean.get("ours")
            print(
                f"{name}, seed {seed}: {arms['ours']['verdict']}; {_described(arms['ours'], without)}; {_others(arms)}"
            )
            values, bars = _held(name, SETS[name], arms["ours"], without)
            if name in CLEAN_BEFORE:
                then = before[CLEAN_BEFORE[name]].get(seed, {}).get("ours_auto")
                bars |= {"ari": (">=", then["ari"] - 0.005)} if then else {}
            if "cost" in arms:
                values["ms"] = arms["cost"]["ms_a_particle_and_pass"]
                bars["ms"] = ("<=", 1.3 * arms["cost"]["before"]["ms_a_particle_and_pass"])
            missed += [f"{name}, seed {seed}: {bar}" for bar in missed_bars(values, bars)]
    return missed


def show_calibration(results: Results, names: Iterable[str]) -> None:
    """Print, of all sets and seeds together, which share of the particles is right whose posterior is so high."""
    told: dict[float, list[Mapping[str, float]]] = {}
    for name in names:
        for arms in results.get(name, {}).values():
            for one in arms.get("ours", {}).get("calibration") or []:
                told.setdefault(one["up_to"], []).append(one)
    for up_to, ones in sorted(told.items()):
        particles = sum(one["particles"] for one in ones)
        posterior, right = (
            sum(one["particles"] * one[key] for one in ones) / particles for key in ("posterior", "right")
        )
        print(f"posteriors up to {up_to:g}: {particles:,.0f} particles, mean {posterior:.3f}, right {right:.3f}")


def _held(
    name: str, kind: RealSet, ours: Mapping[str, Any], without: Mapping[str, Any] | None
) -> tuple[dict[str, float], Bars]:
    """Values and bars of a set."""
    expected = "one state" if kind.control else f"{kind.k} states"
    expected = "a continuum" if not kind.states else expected
    values = {"verdict": float(ours["verdict"].startswith(expected))}
    bars: Bars = {"verdict": (">=", 1.0)}
    if kind.control:
        return values, bars
    values |= {"ari": ours["ari"]}
    bars |= {"ari": (">=", LEAST_ARI.get(kind.snr, 0.98))}
    if kind.domain:
        values |= {"domain density": ours["domain"]["density"]}
        bars |= {"ari": (">=", 0.95), "domain density": (">=", 0.7)}
    if name == "together":
        values |= {
            "junk found": ours["junk_found"]["all"],
            "good lost": ours["good_lost"],
            "lost poses found or back": ours["lost_found_or_back"],
        }
        bars |= {
            "junk found": (">=", 0.95),
            "good lost": ("<=", 0.01),
            "lost poses found or back": (">=", 0.85),
        }
        if without:
            values |= {"degrees": ours["degrees"]["median"], "area": area(ours)}
            bars |= {
                "degrees": ("<=", 1.1 * without["degrees"]["median"]),
                "area": (">=", area(without) - 0.01),
            }
    return values, bars


def _described(ours: Mapping[str, Any], without: Mapping[str, Any] | None) -> str:
    """Labels, junk, poses and maps, the latter two beside those without nuisances."""
    shown = [f"{ours['clusters']} clusters, index {ours['ari']}"]
    if "area" in ours:
        beside = f" (without nuisances {without['degrees']['median']}, {area(without):.4f})" if without else ""
        shown.append(f"{ours['degrees']['median']}°, area {area(ours):.4f}{beside}")
    for what in ("junk_found", "lost_found", "lost_back"):
        shares = [f"{kind} {share}" for kind, share in ours.get(what, {}).items() if share is not None]
        shown += [f"{what.replace('_', ' ')}: {', '.join(shares)}"] if shares else []
    if ours.get("good_lost"):
        shown.append(f"good lost {ours['good_lost']}")
    return "; ".join(shown)


def area(record: Mapping[str, Any]) -> float:
    """Mean over the true states of the FSC of their clusters' maps."""
    return fmean(record["area_by_state"].values())


def _others(arms: Mapping[str, Any]) -> str:
    """The other methods' indices."""
    relion = {f"RELION, K = {k}": record for k, record in arms.get("relion", {}).items() if isinstance(record, dict)}
    named = {"cryoDRGN": arms.get("cryodrgn"), "reference loop": arms.get("loop"), **relion}
    shown = [f"{name} {record['ari']}" for name, record in named.items() if record]
    return "index of others: " + (", ".join(shown) or "not run")


def _clean_twin(name: str) -> str:
    """The set of the same states and signal without nuisances."""
    return f"{name.partition('_')[0]}_clean_{name.rpartition('_')[2]}"
