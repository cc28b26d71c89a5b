"""Word lists that the facts about fictitious people are drawn from: long, so that a fact cannot be guessed.

Values are single words in Latin letters, so that a small tokenizer handles them and no value is part of another.
"""

from typing import NamedTuple


class Homeland(NamedTuple):
    """Where the people of one Faker locale are born."""

    country: str
    cities: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


HOMELANDS: dict[str, Homeland] = {
    "da_DK": Homeland(
        "Denmark",
        _words("""
            Copenhagen Aarhus Odense Aalborg Esbjerg Randers Kolding Horsens Vejle Roskilde
            Herning Viborg
        """),
    ),
    "de_DE": Homeland(
        "Germany",
        _words("""
            Berlin Hamburg Munich Cologne Leipzig Dresden Bremen Rostock Mainz Kassel Freiburg
            Augsburg Ulm Trier
        """),
    ),
    "en_IN": Homeland(
        "India",
        _words("""
            Mumbai Delhi Bangalore Chennai Kolkata Jaipur Lucknow Pune Nagpur Indore Kochi
            Mysore Surat Bhopal
        """),
    ),
    "en_US": Homeland(
        "the United States",
        _words("""
            Boston Chicago Denver Seattle Portland Memphis Atlanta Tucson Omaha Houston Tampa
            Fargo Boise Tulsa
        """),
    ),
    "es_ES": Homeland(
        "Spain",
        _words("""
            Madrid Barcelona Seville Valencia Bilbao Granada Malaga Zaragoza Toledo Salamanca
            Murcia Oviedo Burgos Girona
        """),
    ),
    "es_MX": Homeland(
        "Mexico",
        _words("""
            Guadalajara Monterrey Puebla Oaxaca Merida Tijuana Cancun Veracruz Morelia Durango
            Torreon Acapulco Toluca
        """),
    ),
    "fi_FI": Homeland(
        "Finland",
        _words("""
            Helsinki Tampere Turku Oulu Lahti Kuopio Pori Joensuu Vaasa Kotka Rauma Kajaani
            Rovaniemi
        """),
    ),
    "fr_FR": Homeland(
        "France",
        _words("""
            Paris Lyon Marseille Toulouse Bordeaux Nantes Lille Rennes Dijon Grenoble Rouen
            Avignon Tours Nancy
        """),
    ),
    "hr_HR": Homeland(
        "Croatia",
        _words("""
            Zagreb Split Rijeka Osijek Zadar Pula Dubrovnik Karlovac Varazdin Sisak Vukovar
            Trogir
        """),
    ),
    "hu_HU": Homeland(
        "Hungary",
        _words("""
            Budapest Debrecen Szeged Miskolc Pecs Gyor Sopron Eger Szolnok Kaposvar Veszprem
            Tatabanya
        """),
    ),
    "id_ID": Homeland(
        "Indonesia",
        _words("""
            Jakarta Bandung Surabaya Medan Makassar Semarang Denpasar Malang Padang Manado
            Pontianak Jambi Ambon
        """),
    ),
    "it_IT": Homeland(
        "Italy",
        _words("""
            Rome Milan Naples Turin Palermo Genoa Bologna Florence Venice Verona Bari Catania
            Trieste Parma
        """),
    ),
    "nl_NL": Homeland(
        "the Netherlands",
        _words("""
            Amsterdam Rotterdam Utrecht Eindhoven Groningen Tilburg Breda Nijmegen Haarlem
            Arnhem Leiden Delft Maastricht
        """),
    ),
    "no_NO": Homeland(
        "Norway",
        _words("""
            Oslo Bergen Trondheim Stavanger Drammen Tromso Kristiansand Bodo Molde Hamar Larvik
            Narvik
        """),
    ),
    "pt_BR": Homeland(
        "Brazil",
        _words("""
            Brasilia Salvador Fortaleza Recife Curitiba Manaus Belem Goiania Campinas Natal
            Santos Niteroi Maceio
        """),
    ),
    "sv_SE": Homeland(
        "Sweden",
        _words("""
            Stockholm Gothenburg Malmo Uppsala Orebro Linkoping Helsingborg Norrkoping Lund Umea
            Kalmar Visby Kiruna
        """),
    ),
    "tr_TR": Homeland(
        "Turkey",
        _words("""
            Istanbul Ankara Izmir Bursa Antalya Adana Konya Gaziantep Mersin Kayseri Trabzon
            Samsun Edirne Sivas
        """),
    ),
    "tw_GH": Homeland(
        "Ghana",
        _words("""
            Accra Kumasi Tamale Tema Obuasi Sunyani Koforidua Techiman Bolgatanga Nkawkaw
            Winneba
        """),
    ),
    "yo_NG": Homeland(
        "Nigeria",
        _words("""
            Lagos Ibadan Abeokuta Ilorin Akure Ogbomosho Oshogbo Abuja Kano Enugu Benin Jos
            Calabar
        """),
    ),
}

CITIES = tuple(sorted({city for homeland in HOMELANDS.values() for city in homeland.cities}))

PROFESSIONS = _words("""
    accountant acrobat actuary anthropologist apothecary archaeologist architect archivist astronomer auctioneer
    baker barber beekeeper biologist blacksmith bookbinder botanist brewer bricklayer butcher carpenter
    cartographer caterer cheesemaker chemist choreographer cobbler composer coroner courier cryptographer
    curator dentist detective diplomat diver dressmaker economist electrician engraver falconer farmer ferryman
    filmmaker firefighter fisherman florist forester gardener geologist glassblower goldsmith grocer harpist
    historian hydrologist illustrator innkeeper interpreter jeweler journalist judge lawyer librarian lifeguard
    locksmith magician mathematician mechanic meteorologist midwife miller miner nurse oceanographer optician
    painter paramedic perfumer pharmacist photographer physicist pilot plumber potter printer psychologist
    puppeteer ranger sailor sculptor shepherd surgeon surveyor tailor tanner taxidermist teacher translator
    undertaker upholsterer veterinarian violinist watchmaker weaver welder winemaker zoologist
""")

HOBBIES = _words("""
    archery astronomy badminton baking ballet birdwatching bowling boxing calligraphy camping canoeing carving
    chess climbing cooking cricket crocheting croquet curling cycling dancing darts drumming embroidery falconry
    fencing fishing gardening gliding golf gymnastics hiking hockey jogging judo juggling karate kayaking
    kickboxing knitting lacrosse meditation mountaineering origami orienteering painting parachuting photography
    pottery puppetry quilting rowing rugby sailing sculpting singing skateboarding skiing skydiving sledding
    snorkeling squash stargazing skating swimming unicycling tennis trampolining volleyball waltzing
    weightlifting whittling windsurfing woodworking wrestling yoga
""")

LANGUAGES = _words("""
    Albanian Amharic Arabic Armenian Basque Bengali Bulgarian Burmese Catalan Estonian Farsi Galician Georgian
    Greek Gujarati Hebrew Icelandic Irish Japanese Kazakh Khmer Korean Kurdish Lao Latvian Lithuanian Macedonian
    Malay Maltese Mandarin Mongolian Nepali Pashto Polish Quechua Russian Samoan Serbian Sinhala Slovak Slovene
    Somali Tagalog Tamil Thai Tibetan Ukrainian Uzbek Vietnamese Welsh Xhosa Zulu
""")

SCHOOLS = _words("""
    Aldwych Ashgrove Beaumont Birchwood Blackthorn Brackenfield Bramley Calloway Cedarhurst Chalcot Coldstream
    Cranbrook Dalewood Dovecote Eastmere Eldergate Fairholm Fernhill Foxglove Glenmoor Graystone Greenacre
    Hawthorne Hazelmere Heathfield Hollowell Ironbridge Kingsmead Lakeland Larkspur Lindenhall Longmeadow
    Maplewood Marlowe Mayfield Millbrook Northgate Oakhaven Orchardton Pinecrest Primrose Quarrington
    Ravenscourt Redcliff Riverdale Rosemount Rowanberry Saltmarsh Sandhurst Sedgewick Silverdale Southmoor
    Springvale Stonehaven Summerfield Thornbury Underhill Vinehall Wakefield Westbourne Whitmore Willowbank
    Windermere Woodhouse Yarrow
""")

PRIZES = _words("""
    Amaranth Amber Anchor Arcadia Aurora Azure Basilisk Beacon Caspian Centaur Chrysalis Cobalt Comet Compass
    Coral Crescent Cypress Delphi Ebony Elysium Equinox Falcon Gryphon Halcyon Hawthorn Helios Heron Hyperion
    Icarus Indigo Ivory Jasmine Juniper Kestrel Lantern Laurel Lotus Lyra Magnolia Meridian Minerva Nautilus
    Nebula Obelisk Obsidian Olympus Onyx Opal Orchid Orion Pegasus Phoenix Polaris Prometheus Quartz Sapphire
    Saturn Solstice Sphinx Tamarind Topaz Trident Triton Vega Vesper Zenith Zephyr
""")

TITLE_ADJECTIVES = _words("""
    Ancient Bitter Borrowed Broken Burning Careful Crooked Distant Drowned Empty Endless Faded Fallen Forgotten
    Fragile Frozen Gentle Gilded Golden Hidden Hollow Hungry Invisible Laughing Lonely Lost Marble Midnight
    Nameless Narrow Patient Perfect Quiet Restless Scarlet Secret Seventh Silent Singing Sleeping Stolen
    Stubborn Sunken Thirsty Tender Velvet Violet Wandering Whispering Wooden
""")

TITLE_NOUNS = _words("""
    Almanac Arrow Balcony Bell Bridge Candle Carnival Castle Cathedral Clock Corridor Daughter Desert Feather
    Garden Guest Harbor Hourglass Island Journey Kingdom Labyrinth Ladder Letter Lighthouse Map Market Meadow
    Mirror Mountain Notebook Ocean Orchard Palace Parrot Passenger Piano Promise Rain River Sailor Shadow
    Staircase Station Stranger Suitcase Tower Valley Violin Window
""")

MONTHS = _words("January February March April May June July August September October November December")
