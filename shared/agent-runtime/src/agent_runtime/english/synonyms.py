"""Everyday English words for one thing, so that `hire` finds `rental` and `money back` finds `refund`.

The groups are of the language as shops and offices speak it, not of one company. They are loose: whoever uses them
counts a synonym for less than the word itself.
"""

from functools import lru_cache

from agent_runtime.english.tokens import stem, words

_GROUPS = """
    accident mishap | account profile login | adult grown-up | afternoon pm | aircraft airline flight fly plane
    allow permit let | amount sum total | angry unhappy upset furious | answer reply respond react
    apologise apology sorry | approve approval authorise permission | arrive arrival come delivered
    aside reserve | ask request enquire enquiry | baby toddler infant child kid | bag sack pouch | bicycle bike
    bill invoice | blotch stain spot mark | book reserve booking reservation | boss manager supervisor superior
    box carton package packaging | break damage crack tear rip snap defective faulty fault defect flaw
    bring return | business company firm | buy purchase order | buyer customer shopper client purchaser
    cancel withdraw abort | cap limit maximum most | car vehicle van lorry truck | carrier courier
    change alter modify amend switch | cheap discount reduced | check inspect examine verify | choose pick select
    clean wash launder laundry | clothes garment clothing apparel | collect fetch pick-up
    colleague employee staff worker coworker | complain complaint | consent permission agree | contact reach
    copy duplicate | cost price fee charge | country abroad foreign overseas international | crest emblem logo
    cut trim shorten | daily day | date day | dead die deceased death | deadline due | decide decision
    delay late overdue | delete erase remove erasure | deliver ship send dispatch post mail
    details information data | different other another | dirt mud dirty muddy | discount rebate reduction
    dispute chargeback contest | disappear vanish lose lost missing | doctor medical physician
    document paper certificate | dollar usd | doorstep kerb curb roadside | duty customs import
    email e-mail mail message | emergency urgent | empty used-up | enlarge big large | enrol join register
    error mistake wrong incorrect | euro eur | evening tonight night | evidence proof prove | exchange swap replace
    expensive dear costly | expire lapse expiry | extend prolong extension longer | facebook instagram tiktok social
    fast quick rapid soon speed | finish end stop cease | fire flame burn | fit size measure | fix repair mend
    food meal | fraud scam fraudster hacker hacked | free gratis | friend neighbour | fuel gas petrol
    gasket seal | get receive obtain | gift present | glue adhesive | goods article item product
    guarantee warranty | half 50 | handover handoff | hang keep hold store storage | heat hot warm
    help assist support | hire rent rental lease | hole puncture | holiday vacation | home house
    hurt injury injured wound | identity id passport | ill sick illness | instalment installment
    insult abuse swear abusive | insurance insured insure | job task | journalist press media reporter
    kilo kg kilogram | language translate translation | last latest | lawyer legal court | leave quit
    lock block | log record | loyalty membership member club | luggage baggage | marketing newsletter advertising
    marketplace seller vendor | mobile phone telephone call | money funds | monthly month | mould mouldy mildew
    name surname | need require must | new unused unworn | nobody none | number code | obligation duty
    offer quote quotation | old age aged | open opening | opt-out unsubscribe | own owner | parcel package
    parent father mother | partner wife husband spouse | password login | pause suspend | pay payment spend
    people person | photo picture image photograph | plan schedule | polite courteous | postcode zip
    postpone delay | pound gbp | prior before advance upfront | private personal | protect protection
    purchase buy bought | quantity amount | rain rainy wet | reason cause | recall recalled
    receipt invoice | refund reimburse | refuse reject decline deny | relative family | reminder remind
    report notify tell inform | restock stock available | rota shift shifts timetable
    rule policy | safe safety | salary wage | school pupil student teacher | season spring summer autumn winter
    rucksack backpack | second twice again repeat | sell sale | separate split | serial batch | shelter tent
    shoe footwear trainers sneakers boots | shop store branch | show display | shut close | sign signature
    small little | soaked wet damp moist | soap detergent | sole outsole | spare replacement substitute
    speak talk | stairs floor upstairs | start begin commence | steal stolen theft thief | storm weather
    stove burner cooker | street address | subscribe subscription | tag label | tax vat | team group
    temperature degrees | thread seam stitch stitching | ticket case | track tracking trace | trainee beginner
    transport transit | travel trip journey | trial try test | trousers pants | uninjured unhurt
    unopened sealed | update change
    visit come | wait waiting | warehouse stockroom storeroom
    weigh weight heavy | worn used | year annual yearly | zip zipper
"""
_PHRASES = {
    "bring back": "return",
    "cash back": "refund",
    "get back to": "answer reply",
    "get rid of": "delete remove",
    "gave back": "return",
    "give back": "return",
    "go back": "return",
    "hand in": "submit",
    "hang on to": "keep",
    "hold on to": "keep",
    "log in": "account",
    "logged in": "account",
    "look after": "care",
    "money back": "refund",
    "money returned": "refund",
    "own pocket": "pay",
    "paid back": "refund",
    "pay back": "refund",
    "pick up": "collect",
    "picked up": "collect",
    "post back": "return",
    "posted back": "return",
    "put aside": "reserve keep",
    "run out": "expire",
    "send back": "return",
    "sending back": "return",
    "sent back": "return",
    "set aside": "reserve keep",
    "shut down": "close",
    "sign up": "register join",
    "take back": "return",
    "throw away": "dispose",
    "turn up": "arrive deliver",
    "turned up": "arrive deliver",
    "up front": "advance",
    "used up": "empty",
    "wear out": "worn",
    "works out": "calculate",
    "write back": "answer reply",
    "writing back": "answer reply",
}

_BETWEEN = frozenset({"it", "them", "this", "that", "these", "those", "one", "my", "the", "her", "his"})


@lru_cache(maxsize=4096)
def synonyms_of(word: str) -> frozenset[str]:
    """Other words for a word or for any form of it; without the word itself."""
    return _by_stem().get(stem(word), frozenset()) - {word}


@lru_cache(maxsize=4096)
def synonym_stems(stemmed: str) -> frozenset[str]:
    """The stems of other words for the word of a stem; without the stem itself."""
    return frozenset(stem(other) for other in _by_stem().get(stemmed, ())) - {stemmed}


def phrase_synonyms(text: str) -> dict[str, frozenset[str]]:
    """For phrases of the text (`money back`), by the first word of each: the words that say the same."""
    said = words(text)
    # "Send it back" is "send back".
    plain = f" {' '.join(said)} | {' '.join(word for word in said if word not in _BETWEEN)} "
    found: dict[str, frozenset[str]] = {}
    for phrase, others in _PHRASES.items():
        if f" {phrase} " in plain:
            first = phrase.split()[0]
            found[first] = found.get(first, frozenset()) | frozenset(others.split())
    return found


@lru_cache(maxsize=1)
def _by_stem() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for group in " | ".join(line.strip() for line in _GROUPS.strip().splitlines()).split("|"):
        members = [part for word in group.split() for part in words(word)]
        for member in members:
            table.setdefault(stem(member), set()).update(other for other in members if other != member)
    return {one: frozenset(others) for one, others in table.items()}
