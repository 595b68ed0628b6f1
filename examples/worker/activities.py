"""The uploads of this example: CSV tables of activities, and the report on one of them. Pure functions."""

from __future__ import annotations

import csv
import io
from decimal import Decimal, InvalidOperation

HEADER = ["activity", "amount", "unit", "kg_co2e_per_unit"]
MAX_BYTES = 16 * 1024 * 1024


def parse(data: bytes) -> list[tuple[str, Decimal]]:
    """Activity and emissions in kg of each row; `ValueError` names the line that is wrong."""
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"))))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    if not lines or lines[0] != HEADER:
        raise ValueError(f"line 1 must be {','.join(HEADER)}")
    return [_row(number, line) for number, line in enumerate(lines[1:], start=2)]


def _row(number: int, line: list[str]) -> tuple[str, Decimal]:
    if len(line) != len(HEADER):
        raise ValueError(f"line {number} has {len(line)} columns, not {len(HEADER)}")
    try:
        amount, factor = Decimal(line[1]), Decimal(line[3])
    except InvalidOperation:
        raise ValueError(f"line {number}: amount and factor must be numbers") from None
    if not (amount.is_finite() and factor.is_finite() and amount >= 0):
        raise ValueError(f"line {number}: amount {amount} must be finite and not below 0")
    return line[0], amount * factor


def report(rows: list[tuple[str, Decimal]]) -> bytes:
    """Emissions by activity, and their sum, as CSV."""
    totals: dict[str, Decimal] = {}
    for activity, emissions in rows:
        totals[activity] = totals.get(activity, Decimal(0)) + emissions
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["activity", "kg_co2e"])
    writer.writerows(sorted(totals.items()))
    writer.writerow(["total", sum(totals.values(), Decimal(0))])
    return text.getvalue().encode()


def example(number: int) -> bytes:
    """The upload of client *number*; every hundredth one is broken."""
    amount = "much" if number % 100 == 99 else str(number)
    rows = [
        ["electricity", amount, "kWh", "0.4"],
        ["diesel", str(number % 7), "l", "2.68"],
        ["diesel", "1", "l", "2.68"],
    ]
    return "\n".join(",".join(row) for row in [HEADER, *rows]).encode()
