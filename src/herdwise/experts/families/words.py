"""Plain words and names that several families draw from."""

_WORDS = (
    "account apple arrow banana basket battle beach bottle branch bridge button cable camera candle carpet "
    "castle cherry circle client cloud coffee column copper corner cotton country customer dinner doctor "
    "dragon engine event family feather field filter finger flower forest garden ginger guitar hammer harbor "
    "height history honey index island jacket jungle kettle kitchen ladder lemon letter library limit magnet "
    "market meadow message mirror monkey mountain number ocean office orange order paper parcel pencil "
    "pepper picture pillow planet pocket potato price queue rabbit record report river rocket sample school "
    "season shadow signal silver spider status street summer supplier table ticket timber token total tunnel "
    "update user value village violin wallet water weight window winter yellow zebra"
)

_FIRST_NAMES = (
    "Anna Ben Carla David Elena Felix Grace Hugo Irene Jonas Karin Liam Maria Noah Olga Peter Quinn Rosa "
    "Simon Tara Ursula Victor Wendy Xaver Yara Zoe Alan Beth Carl Dora Emil Fiona"
)

_LAST_NAMES = (
    "Adler Brown Castro Dunn Evans Fischer Garcia Huber Ivanov Jensen Kim Lopez Meyer Novak Olsen Patel "
    "Quist Rossi Silva Tanaka Urban Vogel Weber Young Zhang Ahmed Berg Cohen Diaz Engel Frank Gupta"
)

WORDS = tuple(_WORDS.split())
FIRST_NAMES = tuple(_FIRST_NAMES.split())
LAST_NAMES = tuple(_LAST_NAMES.split())
