"""Draws a synthetic pedestrian in a pose: a paper doll on a 3-D skeleton."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

from dbc_jax.data.synthetic.pedestrian import (
  BAG,
  EYE,
  FAR,
  HAIR,
  HAT,
  LOWER,
  SHOES,
  SKIN,
  STRAP,
  UPPER,
  Identity,
)

HEIGHT, WIDTH = 128, 64

# Drawn twice as large and reduced, which smooths the edges.
_ZOOM = 2
_ROWS = np.arange(HEIGHT * _ZOOM, dtype=np.float32)[:, None]
_COLS = np.arange(WIDTH * _ZOOM, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Pose:
  """How a person stands in one image; angles are in radians."""

  yaw: float  # Heading; 0 faces the camera, pi / 2 walks to the right.
  phase: float  # Of the gait.
  swing: float  # Size of the steps.
  # Where the feet are, in pixels of the image.
  centre: float
  foot: float
  scale: float  # Body height in pixels of an identity of height 1.
  shear: float  # Slant of the camera.
  taper: float  # Widening of the head over the feet.


def draw(identity: Identity, pose: Pose) -> np.ndarray:
  """The figure alone, as [128, 64, 4] uint8: colour and opacity."""
  figure = _Figure(identity, pose)
  figure.draw()
  parts = np.asarray(figure.canvas)
  parts = _add_patterns(parts, identity, figure)
  colours = np.full((len(identity.palette), 4), 255, np.uint8)
  colours[:, :3] = identity.palette
  colours[0, 3] = 0
  # One number a pixel is quicker to look up than four.
  pixels = colours.view(np.uint32)[parts].view(np.uint8)
  return np.asarray(Image.fromarray(pixels).reduce(_ZOOM))


def shadow(pose: Pose) -> np.ndarray:
  """How much light reaches the ground about the feet, [128, 64] of 0..1."""
  rows, cols = np.ogrid[:HEIGHT, :WIDTH]
  across = (cols - pose.centre) / (0.2 * pose.scale)
  down = (rows - pose.foot) / (0.035 * pose.scale)
  return 1 - 0.4 * np.clip(1.2 - across**2 - down**2, 0, 1)


def _add_patterns(
  parts: np.ndarray, identity: Identity, figure: '_Figure'
) -> np.ndarray:
  """Turns pixels of patterned garments into the garment's second colour."""
  u = (_COLS - figure.centre) / (figure.scale * identity.period)
  v = (_ROWS - figure.top) / (figure.scale * identity.period)
  rows, columns = v % 1 < 0.5, u % 1 < 0.4
  masks = {
    'rows': rows,
    'columns': columns,
    'checks': rows ^ (u % 1 < 0.5),
    'halves': v * identity.period > 0.33,
  }
  shifted = parts
  for part, pattern in (
    (UPPER, identity.upper_pattern),
    (LOWER, identity.lower_pattern),
  ):
    if pattern in masks:
      garment = (parts == part) | (parts == part + FAR)
      shifted = shifted + (garment & masks[pattern])
  return shifted


class _Figure:
  """One drawing. Points are (x, y, z): to the left, down, forward."""

  def __init__(self, identity: Identity, pose: Pose) -> None:
    self.identity, self.pose = identity, pose
    self.canvas = Image.new('L', (WIDTH * _ZOOM, HEIGHT * _ZOOM))
    self.pen = ImageDraw.Draw(self.canvas)
    self.scale = pose.scale * identity.height * _ZOOM
    self.centre = pose.centre * _ZOOM
    self.top = pose.foot * _ZOOM - self.scale
    self.sin, self.cos = np.sin(pose.yaw), np.cos(pose.yaw)

  def project(self, x: float, y: float, z: float = 0.0) -> tuple[int, int]:
    across = x * self.cos + z * self.sin
    across *= 1 + self.pose.taper * (0.5 - y)
    across += self.pose.shear * (1 - y)
    # Whole pixels: the same picture whatever the platform's last digit.
    return (
      round(self.centre + self.scale * across),
      round(self.top + self.scale * y),
    )

  def breadth(self, side: float, front: float) -> float:
    """Half the visible width of a body part `side` wide, `front` deep."""
    return float(np.hypot(side * self.cos, front * self.sin))

  def disc(self, point: tuple, rx: float, ry: float, part: int) -> None:
    x, y = self.project(*point)
    rx, ry = round(rx * self.scale), round(ry * self.scale)
    self.pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=part)

  def limb(self, start: tuple, end: tuple, width: float, part: int) -> None:
    line = [self.project(*start), self.project(*end)]
    self.pen.line(line, fill=part, width=max(round(width * self.scale), 1))
    self.disc(start, width / 2, width / 2, part)
    self.disc(end, width / 2, width / 2, part)

  def band(self, levels: list[tuple[float, float]], part: int) -> None:
    """A shape symmetric about the spine: (y, half width) from top down."""
    points = []
    for sign in (1, -1):
      for y, half in levels[::sign]:
        x, row = self.project(0, y)
        points.append((x + sign * round(half * self.scale), row))
    self.pen.polygon(points, fill=part)

  def _rounded(self, box: tuple[int, int, int, int], part: int) -> None:
    x0, y0, x1, y1 = box
    # Before release 13, Pillow draws corners larger than the box otherwise.
    radius = min(6, (x1 - x0) / 2, (y1 - y0) / 2)
    self.pen.rounded_rectangle(box, radius=radius, fill=part)

  def draw(self) -> None:
    identity = self.identity
    far = 1 if self.sin > 0 else -1  # the side whose limbs lie behind
    bag_behind = {'none': False, 'backpack': self.cos > 0}.get(
      identity.bag, identity.bag_side == far
    )
    self.arm(far, FAR)
    if bag_behind:
      self.bag()
    self.leg(far, FAR)
    self.leg(-far, 0)
    self.torso()
    if identity.bag in ('backpack', 'shoulder'):
      self.straps()
    if not bag_behind and identity.bag == 'backpack':
      self.bag()
    self.head()
    self.arm(-far, 0)
    if not bag_behind and identity.bag != 'backpack':
      self.bag()

  def leg(self, side: int, far: int) -> None:
    identity, pose = self.identity, self.pose
    girth = identity.girth
    angle = side * pose.swing * np.sin(pose.phase)
    bend = pose.swing * max(0.0, side * np.cos(pose.phase))
    hip = (side * 0.055 * girth, 0.51, 0.0)
    knee = (hip[0], 0.51 + 0.22 * np.cos(angle), 0.22 * np.sin(angle))
    shin = angle - bend
    foot = (
      hip[0],
      knee[1] + 0.22 * np.cos(shin),
      knee[2] + 0.22 * np.sin(shin),
    )
    toe = (foot[0] * 1.2, foot[1] + 0.012, foot[2] + 0.055)
    bare = identity.lower in ('shorts', 'skirt')
    thigh_part = (SKIN if identity.lower == 'skirt' else LOWER) + far
    shin_part = (SKIN if bare else LOWER) + far
    self.limb(foot, toe, 0.042, SHOES + far)
    self.limb(knee, foot, (0.055 if bare else 0.075) * girth, shin_part)
    self.limb(hip, knee, 0.098 * girth, thigh_part)

  def arm(self, side: int, far: int) -> None:
    identity = self.identity
    elbow, wrist = self.arm_joints(side)
    shoulder = (side * 0.118 * identity.girth, 0.195, 0.0)
    lower = (UPPER if identity.long_sleeves else SKIN) + far
    self.limb(elbow, wrist, 0.05, lower)
    self.disc(wrist, 0.026, 0.026, SKIN + far)
    self.limb(shoulder, elbow, 0.068 * identity.girth, UPPER + far)

  def arm_joints(self, side: int) -> tuple[tuple, tuple]:
    pose, girth = self.pose, self.identity.girth
    angle = -0.8 * side * pose.swing * np.sin(pose.phase)
    x = side * 0.135 * girth
    elbow = (x, 0.195 + 0.15 * np.cos(angle), 0.15 * np.sin(angle))
    angle += 0.35
    wrist = (
      x * 1.05,
      elbow[1] + 0.14 * np.cos(angle),
      elbow[2] + 0.14 * np.sin(angle),
    )
    return elbow, wrist

  def torso(self) -> None:
    identity = self.identity
    girth, hem = identity.girth, identity.hem
    shoulder = self.breadth(0.125 * girth, 0.075 * girth)
    waist = self.breadth(0.1 * girth, 0.075 * girth)
    hips = self.breadth(0.112 * girth, 0.085 * girth)
    if identity.lower in ('skirt', 'long skirt'):
      end = 0.7 if identity.lower == 'skirt' else 0.9
      flare = hips + (end - 0.5) * 0.25
      self.band([(0.45, waist), (0.52, hips), (end, flare)], LOWER)
    else:
      self.band([(0.45, waist), (0.5, hips), (0.55, hips)], LOWER)
    self.limb((0, 0.1, 0), (0, 0.16, 0), 0.055, SKIN)
    self.band(
      [
        (0.145, shoulder * 0.45),
        (0.175, shoulder),
        (0.34, (shoulder + waist) / 2),
        (0.42, waist),
        (hem, hips * 1.04),
      ],
      UPPER,
    )
    if identity.upper_pattern == 'logo' and self.cos > 0.15:
      half = 0.065 * girth
      corners = [(-half, 0.23), (half, 0.23), (half, 0.34), (-half, 0.34)]
      points = [self.project(x, y, 0.06) for x, y in corners]
      self.pen.polygon(points, fill=UPPER + 1)

  def head(self) -> None:
    identity = self.identity
    self.disc((0, 0.07, 0.01), 0.05, 0.064, SKIN)
    if identity.hair != 'bald':
      self.disc((0, 0.052, -0.018), 0.05, 0.052, HAIR)
      # Seen from behind the hair hides the face; from ahead, only its rim.
      if self.cos > -0.3:
        self.disc((0, 0.08, 0.028), 0.042, 0.048, SKIN)
      else:
        self.disc((0, 0.068, -0.01), 0.05, 0.058, HAIR)
    if identity.hair == 'long':
      for x in (-0.045, 0.045):
        self.limb((x, 0.06, -0.03), (x * 1.2, 0.185, -0.035), 0.034, HAIR)
      if self.cos < 0:
        self.limb((0, 0.07, -0.03), (0, 0.19, -0.035), 0.09, HAIR)
    elif identity.hair == 'bun':
      self.disc((0, 0.012, -0.05), 0.028, 0.026, HAIR)
    if self.cos > 0.1:
      for x in (-0.018, 0.018):
        self.disc((x, 0.078, 0.05), 0.006, 0.007, EYE)
    if identity.hat != 'none':
      x, y = self.project(0, 0.055, -0.005)
      rx, ry = round(0.058 * self.scale), round(0.064 * self.scale)
      dome = (x - rx, y - ry, x + rx, y + ry)
      self.pen.pieslice(dome, 180, 360, fill=HAT)
      if identity.hat == 'cap':
        self.limb((0, 0.05, 0.03), (0, 0.054, 0.085), 0.02, HAT)

  def straps(self) -> None:
    girth, side = self.identity.girth, self.identity.bag_side
    if self.identity.bag == 'shoulder':
      reach = (-side * 0.09 * girth, 0.165), (side * 0.12 * girth, 0.46)
      self.limb((*reach[0], 0), (*reach[1], 0), 0.02, STRAP)
    elif self.cos > 0:
      for x in (-0.075 * girth, 0.075 * girth):
        self.limb((x, 0.165, 0.03), (x, 0.36, 0.04), 0.024, STRAP)

  def bag(self) -> None:
    identity, side = self.identity, self.identity.bag_side
    if identity.bag == 'backpack':
      half = self.breadth(0.095, 0.055)
      middle, up, down = (0, 0.3, -0.115), 0.125, 0.125
    elif identity.bag == 'shoulder':
      half = self.breadth(0.05, 0.085)
      middle, up, down = (side * 0.135 * identity.girth, 0.5, 0), 0.055, 0.06
    else:
      half = self.breadth(0.03, 0.075)
      _, (x, y, z) = self.arm_joints(side)
      middle, up, down = (x, y + 0.1, z), 0.06, 0.06
      self.limb((x, y, z), (x, y + 0.05, z), 0.02, STRAP)
    x, y = self.project(*middle)
    half, up, down = (round(size * self.scale) for size in (half, up, down))
    box = (x - half, y - up, x + half, y + down)
    self._rounded(box, BAG)
    lid = (x - half, y - up, x + half, y - up // 3)
    if identity.bag != 'hand':
      self._rounded(lid, STRAP)
