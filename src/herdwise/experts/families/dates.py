"""Dates from one way of writing to another, and the day after or before."""

from __future__ import annotations

import datetime as dt
import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
_TARGETS = {
    "iso": ("ISO", "iso format", "YYYY-MM-DD", "year-month-day", "the database format"),
    "us": ("US format", "MM/DD/YYYY", "american style", "month/day/year"),
    "dots": ("german format", "DD.MM.YYYY", "dotted form", "day.month.year"),
    "words": ("words", "long form", "a written out date", "full text"),
}
_PHRASINGS = (
    "convert {date} to {target}",
    "write {date} as {target}",
    "what is {date} in {target}",
    "{date} to {target}",
    "change the date {date} to {target}",
    "sort out this date as {target}: {date}",
    "give me {date} in {target}",
    "{date} -> {target}",
    "extract the day from {date} and put it in {target}",
    "rewrite {date} as {target}",
)
_BARE = ("{date} ->", "{date} =", "date: {date}", "normalise {date}", "convert {date}")
_NEXT = {
    1: ("the day after {date}", "what date follows {date}", "{date} plus one day", "add a day to {date}"),
    -1: ("the day before {date}", "what date comes before {date}", "{date} minus one day"),
}


def written(day: dt.date, form: str, *, style: int = 0) -> str:
    """A date in one of the forms ``iso``, ``us``, ``dots`` or ``words`` (in one of four styles)."""
    month = _MONTHS[day.month - 1]
    if form == "iso":
        return day.isoformat()
    if form == "us":
        return f"{day.month:02d}/{day.day:02d}/{day.year}"
    if form == "dots":
        return f"{day.day:02d}.{day.month:02d}.{day.year}"
    return (
        f"{day.day} {month} {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{month[:3]} {day.day} {day.year}",
        f"{day.day} {month[:3].lower()} {day.year}",
    )[style]


def _draw(rng: random.Random, _split: Split) -> Item:
    day = dt.date(1950, 1, 1) + dt.timedelta(days=rng.randrange(365 * 100))
    kind = rng.random()
    if kind < 0.2:
        step = rng.choice((1, -1))
        query, phrasing = say(rng, "dates", _NEXT[step], date=day.isoformat())
        answer = (day + dt.timedelta(days=step)).isoformat()
        return Item(query, answer, "dates", f"{day} {step:+d}", 3, f"{phrasing}/{step:+d}")
    source = rng.choice(("iso", "us", "dots", "words", "words"))
    shown = written(day, source, style=rng.randrange(4))
    if kind < 0.35 and source != "iso":
        query, phrasing = say(rng, "dates", _BARE, date=shown)
        return Item(query, day.isoformat(), "dates", str(day), 1, f"{phrasing}/bare")
    target = rng.choice([form for form in _TARGETS if form != source])
    query, phrasing = say(rng, "dates", _PHRASINGS, date=shown, target=rng.choice(_TARGETS[target]))
    return Item(query, written(day, target), "dates", str(day), 2 if target == "words" else 1, phrasing)


FAMILY = Family("dates", "dates from one way of writing to another, and the day after or before", _draw)
