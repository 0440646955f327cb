"""One thing out of a sentence: a name, an e-mail address, an amount, an order number, a day."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import say
from herdwise.experts.families.words import FIRST_NAMES, LAST_NAMES, WORDS

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DOMAINS = ("mail.com", "post.org", "work.net", "firm.eu", "box.io")
_SENTENCES: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (text, frozenset(fields.split()))
    for text, fields in (
        ("{name} paid {amount} on {day}", "name amount day"),
        ("order {order} of {name} comes to {amount}", "order name amount"),
        ("write to {name} at {email} by {day}", "name email day"),
        ("{amount} were sent by {name} ({email})", "amount name email"),
        ("on {day} {email} asked about order {order}", "day email order"),
        ("invoice {order}: {amount}, due {day}", "order amount day"),
        ("{name} cancelled {order} on {day}", "name order day"),
        ("refund {amount} to {email} for {order}", "amount email order"),
    )
)
_ASKED = {
    "name": ("the name", "who", "the customer", "the person"),
    "email": ("the email", "the mail address", "the address"),
    "amount": ("the amount", "how much", "the price", "the sum"),
    "order": ("the order number", "the number", "the id"),
    "day": ("the day", "when", "the weekday"),
}
_PHRASINGS = (
    "extract {asked}: {text}",
    "{asked} in: {text}",
    "find {asked} in this: {text}",
    "{text} - {asked}?",
    "{text}. what is {asked}",
    "give me {asked} from '{text}'",
    "read this and write {asked}: {text}",
)


def _draw(rng: random.Random, _split: Split) -> Item:
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    user = rng.choice((f"{first}.{last}".lower(), f"{rng.choice(WORDS)}{rng.randrange(10, 100)}"))
    fields = {
        "name": f"{first} {last}",
        "email": f"{user}@{rng.choice(_DOMAINS)}",
        "amount": f"${rng.randrange(1, 900)}.{rng.randrange(100):02d}",
        "order": f"{rng.choice('ABCDEF')}{rng.randrange(1000, 10000)}",
        "day": rng.choice(_DAYS),
    }
    sentence, held = rng.choice(_SENTENCES)
    asked = rng.choice(sorted(held))
    text = sentence.format(**fields)
    query, phrasing = say(rng, "extract", _PHRASINGS, asked=rng.choice(_ASKED[asked]), text=text)
    content = " ".join(fields[name] for name in sorted(held))
    return Item(query, fields[asked], "extract", content, 2 if asked in {"email", "amount"} else 1, phrasing)


FAMILY = Family("extract", "a name, address, amount, number or day out of a sentence", _draw)
