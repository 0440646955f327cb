"""Countries: capitals, currencies and two-letter codes, one to three at a time."""

from __future__ import annotations

import random

from herdwise.experts.families.item import Family, Item, Split
from herdwise.experts.families.wording import listed, say

#: Country, capital, currency (ISO 4217), code (ISO 3166-1 alpha-2).
_TABLE = """
Albania,Tirana,ALL,AL;Algeria,Algiers,DZD,DZ;Angola,Luanda,AOA,AO;Argentina,Buenos Aires,ARS,AR;
Armenia,Yerevan,AMD,AM;Australia,Canberra,AUD,AU;Austria,Vienna,EUR,AT;Azerbaijan,Baku,AZN,AZ;
Bahrain,Manama,BHD,BH;Bangladesh,Dhaka,BDT,BD;Belarus,Minsk,BYN,BY;Belgium,Brussels,EUR,BE;
Brazil,Brasilia,BRL,BR;Cambodia,Phnom Penh,KHR,KH;Canada,Ottawa,CAD,CA;Chile,Santiago,CLP,CL;
China,Beijing,CNY,CN;Colombia,Bogota,COP,CO;Cuba,Havana,CUP,CU;Cyprus,Nicosia,EUR,CY;
Czechia,Prague,CZK,CZ;Denmark,Copenhagen,DKK,DK;Ecuador,Quito,USD,EC;Egypt,Cairo,EGP,EG;
Estonia,Tallinn,EUR,EE;Ethiopia,Addis Ababa,ETB,ET;Finland,Helsinki,EUR,FI;France,Paris,EUR,FR;
Georgia,Tbilisi,GEL,GE;Germany,Berlin,EUR,DE;Ghana,Accra,GHS,GH;Greece,Athens,EUR,GR;
Guatemala,Guatemala City,GTQ,GT;Haiti,Port-au-Prince,HTG,HT;Honduras,Tegucigalpa,HNL,HN;
Hungary,Budapest,HUF,HU;Iceland,Reykjavik,ISK,IS;India,New Delhi,INR,IN;Indonesia,Jakarta,IDR,ID;
Iran,Tehran,IRR,IR;Iraq,Baghdad,IQD,IQ;Ireland,Dublin,EUR,IE;Israel,Jerusalem,ILS,IL;Italy,Rome,EUR,IT;
Jamaica,Kingston,JMD,JM;Japan,Tokyo,JPY,JP;Jordan,Amman,JOD,JO;Kenya,Nairobi,KES,KE;
Kuwait,Kuwait City,KWD,KW;Laos,Vientiane,LAK,LA;Latvia,Riga,EUR,LV;Lebanon,Beirut,LBP,LB;
Libya,Tripoli,LYD,LY;Lithuania,Vilnius,EUR,LT;Luxembourg,Luxembourg,EUR,LU;Malawi,Lilongwe,MWK,MW;
Malta,Valletta,EUR,MT;Mexico,Mexico City,MXN,MX;Moldova,Chisinau,MDL,MD;Mongolia,Ulaanbaatar,MNT,MN;
Morocco,Rabat,MAD,MA;Mozambique,Maputo,MZN,MZ;Namibia,Windhoek,NAD,NA;Nepal,Kathmandu,NPR,NP;
Netherlands,Amsterdam,EUR,NL;Nicaragua,Managua,NIO,NI;Nigeria,Abuja,NGN,NG;Norway,Oslo,NOK,NO;
Oman,Muscat,OMR,OM;Pakistan,Islamabad,PKR,PK;Panama,Panama City,PAB,PA;Paraguay,Asuncion,PYG,PY;
Peru,Lima,PEN,PE;Philippines,Manila,PHP,PH;Poland,Warsaw,PLN,PL;Portugal,Lisbon,EUR,PT;
Qatar,Doha,QAR,QA;Romania,Bucharest,RON,RO;Russia,Moscow,RUB,RU;Rwanda,Kigali,RWF,RW;
Senegal,Dakar,XOF,SN;Serbia,Belgrade,RSD,RS;Slovakia,Bratislava,EUR,SK;Slovenia,Ljubljana,EUR,SI;
Somalia,Mogadishu,SOS,SO;Spain,Madrid,EUR,ES;Sudan,Khartoum,SDG,SD;Sweden,Stockholm,SEK,SE;
Switzerland,Bern,CHF,CH;Syria,Damascus,SYP,SY;Thailand,Bangkok,THB,TH;Tunisia,Tunis,TND,TN;
Turkey,Ankara,TRY,TR;Uganda,Kampala,UGX,UG;Ukraine,Kyiv,UAH,UA;Uruguay,Montevideo,UYU,UY;
Uzbekistan,Tashkent,UZS,UZ;Venezuela,Caracas,VES,VE;Vietnam,Hanoi,VND,VN;Zambia,Lusaka,ZMW,ZM
"""
COUNTRIES = tuple(tuple(entry.strip().split(",")) for entry in _TABLE.split(";"))
_PHRASINGS = {
    "capital": (
        "capital of {list}",
        "what is the capital of {list}",
        "{list} -> capital",
        "which city rules {list}",
        "give me the capital for {list}",
        "name the seat of government of {list}",
        "write the capital of {list}",
    ),
    "currency": (
        "currency of {list}",
        "what is the money code of {list}",
        "{list} -> currency",
        "how do i pay in {list}",
        "give me the currency code for {list}",
        "convert {list} to its currency",
    ),
    "code": (
        "country code of {list}",
        "two letters for {list}",
        "{list} -> iso code",
        "short form of {list}",
        "iso code of {list}",
        "write {list} as iso letters",
    ),
    "country": (
        "which country has the capital {list}",
        "{list} is the capital of",
        "country of {list}",
        "where is {list}",
        "{list} -> country",
    ),
}
_COLUMN = {"capital": 1, "currency": 2, "code": 3}


def _draw(rng: random.Random, _split: Split) -> Item:
    rows = rng.sample(COUNTRIES, rng.choice((1, 1, 2, 2, 3)))
    kind = rng.choice(("capital", "capital", "currency", "code", "country"))
    asked = [row[1 if kind == "country" else 0] for row in rows]
    said = [row[_COLUMN.get(kind, 0)] for row in rows]
    query, phrasing = say(rng, "countries", _PHRASINGS[kind], list=listed(rng, asked))
    content = f"{kind} {' '.join(sorted(row[3] for row in rows))}"
    return Item(query, ", ".join(said), "countries", content, len(rows), f"{phrasing}/{kind}")


FAMILY = Family("countries", "capitals, currencies and codes of a hundred countries", _draw)
