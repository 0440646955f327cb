"""Irregular English verbs: past tense, participle and base form, one to three at a time."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import listed, say

_TABLE = """
be was been,become became become,begin began begun,bend bent bent,bite bit bitten,bleed bled bled,
blow blew blown,break broke broken,breed bred bred,bring brought brought,build built built,
buy bought bought,catch caught caught,choose chose chosen,come came come,cling clung clung,
creep crept crept,deal dealt dealt,dig dug dug,do did done,draw drew drawn,drink drank drunk,
drive drove driven,eat ate eaten,fall fell fallen,feed fed fed,feel felt felt,fight fought fought,
find found found,flee fled fled,fling flung flung,fly flew flown,forbid forbade forbidden,
forget forgot forgotten,forgive forgave forgiven,freeze froze frozen,get got got,give gave given,
go went gone,grind ground ground,grow grew grown,hang hung hung,have had had,hear heard heard,
hide hid hidden,hold held held,keep kept kept,kneel knelt knelt,know knew known,lay laid laid,
lead led led,leave left left,lend lent lent,light lit lit,lose lost lost,make made made,
mean meant meant,meet met met,pay paid paid,ride rode ridden,ring rang rung,rise rose risen,
run ran run,say said said,see saw seen,seek sought sought,sell sold sold,send sent sent,
shake shook shaken,shine shone shone,shoot shot shot,shrink shrank shrunk,sing sang sung,
sink sank sunk,sit sat sat,sleep slept slept,slide slid slid,speak spoke spoken,spend spent spent,
spin spun spun,spring sprang sprung,stand stood stood,steal stole stolen,stick stuck stuck,
sting stung stung,strike struck struck,strive strove striven,swear swore sworn,sweep swept swept,
swim swam swum,swing swung swung,take took taken,teach taught taught,tear tore torn,tell told told,
think thought thought,throw threw thrown,understand understood understood,wake woke woken,
wear wore worn,weave wove woven,weep wept wept,win won won,wind wound wound,write wrote written
"""
VERBS = tuple(tuple(entry.split()) for entry in _TABLE.split(","))
_PHRASINGS = {
    1: (
        "past tense of {list}",
        "past of {list}",
        "what is the past form of {list}",
        "i {list} today, what did i do yesterday",
        "{list} -> past",
        "put {list} in the past",
        "convert {list} to the past tense",
        "write {list} as of yesterday",
    ),
    2: (
        "participle of {list}",
        "past participle for {list}",
        "third form of {list}",
        "{list} -> participle",
        "what follows i have: {list}",
        "write {list} as a participle",
        "give me {list} in the perfect",
    ),
    0: (
        "base form of {list}",
        "infinitive of {list}",
        "{list} -> infinitive",
        "which verb is {list}",
        "write {list} in the present",
        "convert {list} to the base form",
    ),
}


def _draw(rng: random.Random, _split: Split) -> Item:
    verbs = rng.sample(VERBS, rng.choice((1, 1, 2, 2, 3)))
    form = rng.choice((1, 1, 2, 0))
    asked = [verb[1] if form == 0 else verb[0] for verb in verbs]
    query, phrasing = say(rng, "verbs", _PHRASINGS[form], list=listed(rng, asked))
    content = f"{form} {' '.join(sorted(verb[0] for verb in verbs))}"
    return Item(
        query, ", ".join(verb[form] for verb in verbs), "verbs", content, len(verbs), f"{phrasing}/{form}"
    )


FAMILY = Family("verbs", "past tense, participle and base form of irregular English verbs", _draw)
