"""Lasting looks of one synthetic pedestrian: build, clothes, hair, bag."""

import dataclasses

import numpy as np

_COLOURS = np.array(
  [
    (34, 34, 40),  # black
    (226, 224, 218),  # white
    (126, 128, 132),  # grey
    (188, 38, 42),  # red
    (224, 122, 40),  # orange
    (226, 198, 62),  # yellow
    (54, 128, 62),  # green
    (30, 138, 140),  # teal
    (40, 76, 172),  # blue
    (128, 172, 218),  # light blue
    (110, 58, 148),  # purple
    (224, 132, 166),  # pink
    (112, 74, 48),  # brown
    (200, 176, 134),  # beige
  ],
  np.float32,
)
# How often each colour is worn: garments below the waist are duller.
_UPPER_ODDS = np.array([12, 9, 8, 8, 4, 6, 6, 5, 8, 6, 5, 5, 4, 6], np.float64)
_LOWER_ODDS = np.array([14, 5, 9, 5, 2, 2, 5, 3, 12, 6, 3, 3, 6, 7], np.float64)
_SKINS = np.array(
  [(236, 192, 164), (214, 164, 126), (172, 120, 84), (112, 76, 54)], np.float32
)
_HAIRS = np.array(
  [(28, 24, 24), (72, 46, 30), (124, 84, 48), (206, 170, 98), (150, 148, 146)],
  np.float32,
)
# Standard deviation of a garment's shade around its base colour, 0..255.
_SHADE = 11.0

# Parts of the drawing; each is an index into an identity's palette. The
# second colour of a garment is its part + 1, and `+ FAR` is the darker twin
# for a limb on the far side.
SKIN, HAIR, UPPER, LOWER, SHOES = 1, 2, 3, 5, 7
BAG, STRAP, HAT, EYE = 8, 9, 10, 11
FAR = 12


@dataclasses.dataclass(frozen=True)
class Identity:
  """What stays with a person from camera to camera.

  `sample_identity` has the kinds of hair, hats, patterns, garments and bags. A
  pattern of 'halves' is two-tone; a 'logo' is on the chest alone.
  """

  # Relative build, about 1.
  height: float
  girth: float
  hair: str
  hat: str
  upper_pattern: str
  lower_pattern: str
  period: float  # Length of one repeat of the pattern, in body heights.
  long_sleeves: bool
  hem: float  # Where the upper garment ends, in body heights from the crown.
  lower: str
  bag: str
  bag_side: int  # +1 or -1.
  palette: np.ndarray  # [24, 3] uint8, colour of each part.


def sample_identity(rng: np.random.Generator) -> Identity:
  """Draws the lasting attributes of one person."""

  def choice(options: dict[str, int]) -> str:
    odds = np.array(list(options.values()), np.float64)
    return list(options)[rng.choice(len(odds), p=odds / odds.sum())]

  def shade(colour: np.ndarray) -> np.ndarray:
    return colour + rng.normal(0, _SHADE, 3)

  upper = rng.choice(len(_COLOURS), p=_UPPER_ODDS / _UPPER_ODDS.sum())
  lower = rng.choice(len(_COLOURS), p=_LOWER_ODDS / _LOWER_ODDS.sum())
  # The second colour differs from the first, so that a pattern shows.
  upper2 = (upper + rng.integers(1, len(_COLOURS))) % len(_COLOURS)
  lower2 = (lower + rng.integers(1, len(_COLOURS))) % len(_COLOURS)
  palette = np.zeros((2 * FAR, 3))
  palette[SKIN] = _SKINS[rng.integers(len(_SKINS))] + rng.normal(0, 5)
  palette[HAIR] = _HAIRS[rng.integers(len(_HAIRS))] + rng.normal(0, 5)
  palette[UPPER] = shade(_COLOURS[upper])
  palette[UPPER + 1] = shade(_COLOURS[upper2])
  palette[LOWER] = shade(_COLOURS[lower])
  # A quieter second colour: trousers rarely have a loud pattern.
  palette[LOWER + 1] = (palette[LOWER] + _COLOURS[lower2]) / 2
  palette[SHOES] = shade(_COLOURS[rng.choice([0, 1, 2, 3, 8, 12])])
  palette[BAG] = shade(_COLOURS[rng.integers(len(_COLOURS))])
  palette[STRAP] = palette[BAG] * 0.7
  palette[HAT] = shade(_COLOURS[rng.integers(len(_COLOURS))])
  palette[EYE] = 40
  palette[FAR:] = palette[:FAR] * 0.78
  return Identity(
    height=rng.uniform(0.92, 1.04),
    girth=rng.uniform(0.85, 1.25),
    hair=choice({'short': 5, 'long': 4, 'bun': 2, 'bald': 1}),
    hat=choice({'none': 8, 'cap': 1, 'beanie': 1}),
    upper_pattern=choice(
      {'plain': 7, 'rows': 3, 'columns': 2, 'checks': 2, 'halves': 3, 'logo': 3}
    ),
    lower_pattern=choice({'plain': 9, 'rows': 1, 'columns': 1, 'checks': 1}),
    period=rng.uniform(0.075, 0.115),
    long_sleeves=bool(rng.random() < 0.6),
    hem=rng.uniform(0.5, 0.6),
    lower=choice({'trousers': 6, 'shorts': 3, 'skirt': 2, 'long skirt': 1}),
    bag=choice({'none': 6, 'backpack': 3, 'shoulder': 2, 'hand': 2}),
    bag_side=int(rng.choice([-1, 1])),
    palette=np.clip(palette, 0, 255).astype(np.uint8),
  )
