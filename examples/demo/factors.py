"""The input: the emission-factor tables that the `codecarbon` package carries (MIT), and its list of CPUs."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice, product
from pathlib import Path
from typing import Any

GRAMS_PER_POUND = 453.592
HOURS_PER_YEAR = 8760
MEAN_LOAD = 0.5
"""Assumed share of its thermal design power that a CPU draws over a year."""

Factors = dict[str, dict[str, Any]]
"""Region → `{"kg_co2e_per_kwh": …, "year": …}`."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor and its thermal design power in watts."""

    name: str
    watts: float


def data_folder() -> Path:
    """Where the tables lie; importing the package itself would need what it depends on."""
    spec = importlib.util.find_spec("codecarbon")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "the codecarbon package is missing: run `make venv`, which installs it for its tables"
        )
    return Path(spec.origin).parent / "data"


def tables_version() -> str:
    """The version factors are stored under."""
    return version("codecarbon")


def load_factors(folder: Path) -> dict[str, Factors]:
    """Every source, in kg CO2e per kWh, by region. Blocks: call it in a thread."""
    grid = folder / "private_infra"
    countries = _json(grid / "global_energy_mix.json")
    states = _json(grid / "2023" / "usa_emissions.json")
    return {
        "our-world-in-data": {
            code: _factor(row["carbon_intensity"] / 1000, row["year"]) for code, row in countries.items()
        },
        "epa-egrid": {
            f"US-{row['regionCode']}": _factor(row["emissions"] * GRAMS_PER_POUND / 1e6, 2023)
            for name, row in states.items()
            if not name.startswith("_")
        },
        "nordic-zones": _zones(grid / "nordic_emissions.json"),
        "china-provinces": _zones(grid / "2023" / "china_provincial_emissions.json"),
        "cloud-regions": _cloud_regions(folder / "cloud" / "impact.csv"),
    }


def load_cpus(folder: Path) -> list[Cpu]:
    """Every CPU with a usable thermal design power; the table has rows such as `27.29.5`."""
    with (folder / "hardware" / "cpu_power.csv").open(encoding="utf-8", newline="") as file:
        cpus = [(row["Name"], _number(row["TDP"])) for row in csv.DictReader(file)]
    return [Cpu(name, watts) for name, watts in cpus if watts is not None]


def results(factors: Factors, cpus: list[Cpu], count: int, source: str) -> Iterator[dict[str, Any]]:
    """*count* calculation results: a year of one CPU in one region."""
    now = datetime.now(UTC)
    pairs = islice(product(cpus, sorted(factors)), count)
    for number, (cpu, region) in enumerate(pairs):
        yield {
            "calculation_id": f"calc-{number:06}",
            "tenant_id": f"tenant-{number % 4}",
            "cpu": cpu.name,
            "region": region,
            "energy_kwh": yearly_kwh(cpu),
            "emissions_kg_co2e": round(yearly_kwh(cpu) * factors[region]["kg_co2e_per_kwh"], 3),
            "factor_source": source,
            "factor_version": tables_version(),
            "calculated_at": now.isoformat(),
        }


def yearly_kwh(cpu: Cpu) -> float:
    """Energy one CPU uses in a year."""
    return cpu.watts * MEAN_LOAD * HOURS_PER_YEAR / 1000


def rows(factors: Factors, cpus: list[Cpu]) -> Iterator[bytes]:
    """The whole table, every CPU in every region, as CSV in pieces of one CPU."""
    yield b"cpu,region,kg_co2e_per_year\n"
    regions = [(region, factor["kg_co2e_per_kwh"]) for region, factor in sorted(factors.items())]
    for cpu in cpus:
        kwh, name = yearly_kwh(cpu), cpu.name.replace(",", " ")
        yield "".join(f"{name},{region},{kwh * factor:.3f}\n" for region, factor in regions).encode()


def _zones(path: Path) -> Factors:
    return {
        zone: _factor(row["emission_factor"] / 1000, row["year"]) for zone, row in _json(path)["data"].items()
    }


def _cloud_regions(path: Path) -> Factors:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {
            f"{row['provider']}/{row['region']}": _factor(float(row["impact"]) / 1000, None)
            for row in csv.DictReader(file)
            if row["impact"]
        }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _factor(kilograms: float, year: int | None) -> dict[str, Any]:
    return {"kg_co2e_per_kwh": round(kilograms, 6), "year": year}


def _json(path: Path) -> Any:  # noqa: ANN401  # whatever the table is
    return json.loads(path.read_text(encoding="utf-8"))
