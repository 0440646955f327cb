"""Chemical elements: symbols, atomic numbers and names, one to three at a time."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import listed, say

_TABLE = (
    "H hydrogen,He helium,Li lithium,Be beryllium,B boron,C carbon,N nitrogen,O oxygen,F fluorine,Ne neon,"
    "Na sodium,Mg magnesium,Al aluminium,Si silicon,P phosphorus,S sulfur,Cl chlorine,Ar argon,K potassium,"
    "Ca calcium,Sc scandium,Ti titanium,V vanadium,Cr chromium,Mn manganese,Fe iron,Co cobalt,Ni nickel,"
    "Cu copper,Zn zinc,Ga gallium,Ge germanium,As arsenic,Se selenium,Br bromine,Kr krypton,Rb rubidium,"
    "Sr strontium,Y yttrium,Zr zirconium,Nb niobium,Mo molybdenum,Tc technetium,Ru ruthenium,Rh rhodium,"
    "Pd palladium,Ag silver,Cd cadmium,In indium,Sn tin,Sb antimony,Te tellurium,I iodine,Xe xenon,"
    "Cs caesium,Ba barium,La lanthanum,Ce cerium,Pr praseodymium,Nd neodymium,Pm promethium,Sm samarium,"
    "Eu europium,Gd gadolinium,Tb terbium,Dy dysprosium,Ho holmium,Er erbium,Tm thulium,Yb ytterbium,"
    "Lu lutetium,Hf hafnium,Ta tantalum,W tungsten,Re rhenium,Os osmium,Ir iridium,Pt platinum,Au gold,"
    "Hg mercury,Tl thallium,Pb lead,Bi bismuth,Po polonium,At astatine,Rn radon,Fr francium,Ra radium,"
    "Ac actinium,Th thorium,Pa protactinium,U uranium,Np neptunium,Pu plutonium"
)
#: (symbol, name), the atomic number is the place counted from 1.
ELEMENTS = tuple((symbol, name) for symbol, name in (entry.split() for entry in _TABLE.split(",")))
_SYMBOL = (
    "symbol of {list}",
    "chemical symbol for {list}",
    "what is the sign of {list}",
    "write {list} as in the periodic table",
    "how do chemists write {list}",
    "{list} -> symbol",
    "convert {list} to symbols",
    "short form of {list}",
    "{list}, the chemical letters",
)
_NUMBER = (
    "atomic number of {list}",
    "what number is {list} in the periodic table",
    "how many protons has {list}",
    "count the protons of {list}",
    "{list} -> atomic number",
    "give me the number of {list}",
)
_NAME = (
    "which element is {list}",
    "name of the element {list}",
    "what does {list} stand for in chemistry",
    "{list} -> element",
    "write out the element {list}",
    "convert {list} to a name",
)


def _draw(rng: random.Random, _split: Split) -> Item:
    places = rng.sample(range(len(ELEMENTS)), rng.choice((1, 1, 2, 2, 3)))
    kind = rng.choice(("symbol", "symbol", "number", "name"))
    symbols, names = [ELEMENTS[i][0] for i in places], [ELEMENTS[i][1] for i in places]
    phrasings: tuple[str, ...]
    if kind == "symbol":
        asked, phrasings, said = names, _SYMBOL, symbols
    elif kind == "number":
        asked, phrasings, said = names, _NUMBER, [str(i + 1) for i in places]
    else:
        asked, phrasings, said = symbols, _NAME, names
    query, phrasing = say(rng, "elements", phrasings, list=listed(rng, asked))
    content = f"{kind} {' '.join(sorted(symbols))}"
    return Item(query, ", ".join(said), "elements", content, len(places), f"{phrasing}/{kind}")


FAMILY = Family("elements", "symbols, atomic numbers and names of chemical elements", _draw)
