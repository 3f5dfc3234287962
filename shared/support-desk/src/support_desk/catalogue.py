"""The gear that Northpeak sells: what order lines are made of. Prices are in euros; currencies have fixed factors."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from support_desk.money import Currency, Money

SKU_PATTERN = r"^[A-Z]{3}-\d{3}$"
Sku = Annotated[str, StringConstraints(pattern=SKU_PATTERN)]


class Category(StrEnum):
    TENTS = "tents"
    SLEEPING = "sleeping"
    PACKS = "packs"
    CLOTHING = "clothing"
    FOOTWEAR = "footwear"
    COOKING = "cooking"
    LIGHTING = "lighting"
    CLIMBING = "climbing"
    WATER = "water"
    NAVIGATION = "navigation"


class Product(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: Sku
    name: str
    category: Category
    price_eur: Decimal
    recall: str | None = None
    """Why the product is recalled, in a sentence; None where it is not."""

    def price_in(self, currency: Currency) -> Money:
        """The shop's price in `currency`: whole kroner and kronor, elsewhere a multiple of five cents."""
        amount = self.price_eur * _FACTORS[currency]
        if currency in (Currency.NOK, Currency.SEK):
            return Money.of(amount.quantize(Decimal(1)), currency)
        return Money.of((amount * 20).quantize(Decimal(1)) / 20, currency)


# The shop's price list, not exchange rates: fixed, so that the order book never changes by itself.
_FACTORS = {
    Currency.EUR: Decimal("1.00"),
    Currency.USD: Decimal("1.10"),
    Currency.GBP: Decimal("0.88"),
    Currency.NOK: Decimal("11.60"),
    Currency.SEK: Decimal("11.30"),
    Currency.CHF: Decimal("0.98"),
    Currency.CAD: Decimal("1.50"),
}


def _product(sku: str, name: str, category: Category, price: str, recall: str | None = None) -> Product:
    return Product(sku=sku, name=name, category=category, price_eur=Decimal(price), recall=recall)


PRODUCTS: tuple[Product, ...] = (
    _product("TNT-201", "Fjell 2 two-person tent", Category.TENTS, "329.00"),
    _product("TNT-204", "Fjell 4 family tent", Category.TENTS, "549.00"),
    _product("TNT-110", "Stormly 1 solo tent", Category.TENTS, "269.00"),
    _product("TNT-305", "Basin tarp 3 x 3 m", Category.TENTS, "89.00"),
    _product("TNT-901", "Titanium tent pegs, set of 8", Category.TENTS, "34.90"),
    _product("SLP-101", "Drift 0 down sleeping bag", Category.SLEEPING, "379.00"),
    _product("SLP-107", "Drift +7 synthetic sleeping bag", Category.SLEEPING, "149.00"),
    _product("SLP-220", "Airloft insulated mat", Category.SLEEPING, "129.00"),
    _product("SLP-225", "Foam roll mat", Category.SLEEPING, "29.90"),
    _product("SLP-310", "Silk liner", Category.SLEEPING, "49.90"),
    _product("PCK-028", "Scree 28 day pack", Category.PACKS, "119.00"),
    _product("PCK-045", "Scree 45 trekking pack", Category.PACKS, "189.00"),
    _product("PCK-065", "Traverse 65 expedition pack", Category.PACKS, "259.00"),
    _product("PCK-110", "Roll-top dry bag 20 l", Category.PACKS, "32.50"),
    _product("PCK-140", "Rain cover 30-50 l", Category.PACKS, "24.90"),
    _product("CLO-301", "Squall three-layer shell jacket", Category.CLOTHING, "349.00"),
    _product("CLO-305", "Squall shell trousers", Category.CLOTHING, "229.00"),
    _product("CLO-320", "Cairn down jacket", Category.CLOTHING, "279.00"),
    _product("CLO-340", "Merino 200 base layer top", Category.CLOTHING, "84.90"),
    _product("CLO-341", "Merino 200 base layer leggings", Category.CLOTHING, "79.90"),
    _product("CLO-370", "Trail softshell trousers", Category.CLOTHING, "139.00"),
    _product("CLO-390", "Merino beanie", Category.CLOTHING, "29.90"),
    _product("CLO-395", "Ridge insulated gloves", Category.CLOTHING, "64.90"),
    _product("FTW-410", "Granite GTX hiking boots", Category.FOOTWEAR, "239.00"),
    _product("FTW-415", "Granite Mid approach shoes", Category.FOOTWEAR, "169.00"),
    _product("FTW-430", "Pebble trail running shoes", Category.FOOTWEAR, "134.90"),
    _product("FTW-450", "Merino hiking socks, 2 pairs", Category.FOOTWEAR, "27.90"),
    _product("FTW-460", "Snowline gaiters", Category.FOOTWEAR, "54.90"),
    _product("STV-501", "Pika gas stove", Category.COOKING, "59.90"),
    _product(
        "STV-505",
        "Ember 2 gas stove",
        Category.COOKING,
        "94.90",
        "The valve of the Ember 2 gas stove can leak when the cartridge is changed.",
    ),
    _product("STV-520", "Hard-anodised pot set 2 l", Category.COOKING, "69.90"),
    _product("STV-540", "Titanium mug 450 ml", Category.COOKING, "36.90"),
    _product("STV-560", "Insulated bottle 1 l", Category.COOKING, "39.90"),
    _product("LGT-601", "Beacon 400 headlamp", Category.LIGHTING, "64.90"),
    _product("LGT-604", "Beacon 700 rechargeable headlamp", Category.LIGHTING, "109.00"),
    _product("LGT-620", "Camp lantern", Category.LIGHTING, "44.90"),
    _product("CLM-701", "Sika climbing harness", Category.CLIMBING, "74.90"),
    _product("CLM-705", "Sika 9.8 mm rope 60 m", Category.CLIMBING, "169.00"),
    _product("CLM-710", "Screwgate carabiner", Category.CLIMBING, "14.90"),
    _product("CLM-730", "Alpine helmet", Category.CLIMBING, "79.90"),
    _product("CLM-750", "Glacier crampons", Category.CLIMBING, "149.00"),
    _product("WTR-801", "Clearstream water filter", Category.WATER, "49.90"),
    _product("WTR-805", "Hydration bladder 2 l", Category.WATER, "34.90"),
    _product("NAV-901", "Bearing compass", Category.NAVIGATION, "42.90"),
    _product("NAV-910", "Waymark GPS watch", Category.NAVIGATION, "399.00"),
)

PRODUCTS_BY_SKU = {product.sku: product for product in PRODUCTS}
