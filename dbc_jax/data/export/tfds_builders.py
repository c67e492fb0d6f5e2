"""The data sets that read files, as builders of TensorFlow Datasets (TFDS).

`tfds.builder` knows their names once this module is imported. TensorFlow itself
is not needed.
"""

import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds

from dbc_jax.data import find_reader, load_dataset, reader_names
from dbc_jax.data.export.stored_frames import digest_files, read_stored
from dbc_jax.data.loading import raise_unreadable
from dbc_jax.data.samples import SPLITS, Dataset, GroundTruth

# The number of shards is not known before the last is written.
_SHARD_NAME = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}'


class ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Splits of images, in the order of our reader of the same name.

  `manual_dir` is the root that the reader takes. An example has `image`,
  `name` (path from the root, UTF-8), `pid` and `camid`, which are -1 where
  they are not known; in the gallery pid -1 is junk too. The metadata have the
  `root` and a `digest` of the files there.
  """

  VERSION = tfds.core.Version('1.0.0')
  MANUAL_DOWNLOAD_INSTRUCTIONS = 'manual_dir is the root of the data set.'
  # Nothing is downloaded. To look for checksums, TFDS needs a package that it
  # does not install.
  url_infos = None
  IS_VIDEO = False
  # Examples. A shard is in memory before it is written, some 40 to 100 MB.
  SHARD_LENGTH = 16384

  def __init__(self, *, file_format: str = 'array_record', **kwargs: Any):
    """As in TFDS, whose default format would need TensorFlow."""
    super().__init__(file_format=file_format, **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    image = tfds.features.Image()
    features = {
      'name': tfds.features.Text(),
      'pid': np.int32,
      'camid': np.int32,
    }
    if self.IS_VIDEO:
      features['frames'] = tfds.features.Sequence(image)
    else:
      features['image'] = image
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(features),
      metadata=tfds.core.MetadataDict(),
      disable_shuffling=True,
    )

  def _download_and_prepare(
    self,
    dl_manager: tfds.download.DownloadManager,
    download_config: tfds.download.DownloadConfig,
  ) -> None:
    """Writes shard after shard.

    TFDS itself would gather a whole split in memory and, beyond 1 GB, import
    TensorFlow for its temporary files.
    """
    splits = [
      self._write_split(split, examples)
      for split, examples in self._split_generators(dl_manager).items()
    ]
    self.info.set_splits(tfds.core.SplitDict(splits))

  def _write_split(
    self, split: str, examples: Iterator[tuple[int, dict[str, Any]]]
  ) -> tfds.core.SplitInfo:
    info: Any = self.info  # It is complete by now, unlike its types.
    features, file_format = info.features, info.file_format
    serializer = tfds.core.ExampleSerializer(features.get_serialized_info())
    writer = tfds.core.ExampleWriter(file_format)
    template = tfds.core.ShardedFileTemplate(
      dataset_name=self.name,
      data_dir=self.data_path,
      split=split,
      filetype_suffix=file_format.file_suffix,
      template=_SHARD_NAME,
    )
    lengths, num_bytes = [], 0
    while shard := list(itertools.islice(examples, self.SHARD_LENGTH)):
      path = template.sharded_filepath(
        shard_index=len(lengths), num_shards=None
      )
      records = (
        (key, serializer.serialize_example(features.encode_example(example)))
        for key, example in shard
      )
      try:
        writer.write(path, records)
      except RuntimeError as error:  # Of array_record, on a full disk.
        raise ValueError(
          f'{self.name} cannot be written: {error}. Make room, or choose '
          'another data_dir.'
        ) from error
      lengths.append(len(shard))
      num_bytes += path.stat().length
    return tfds.core.SplitInfo(
      name=split,
      shard_lengths=lengths,
      num_bytes=num_bytes,
      filename_template=template,
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
    root = Path(dl_manager.manual_dir)
    dataset, truth = load_dataset(self.name, root)
    digest = digest_files(root, dataset, truth)
    cast(dict, self.info.metadata).update(root=str(root), digest=digest)
    return {
      split: self._generate_examples(root, split, dataset, truth)
      for split in SPLITS
      if len(dataset.of(split))
    }

  def _generate_examples(
    self, root: Path, split: str, dataset: Dataset, truth: GroundTruth
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    samples = dataset.of(split)
    pids, camids = (
      np.full(len(samples), -1) if values is None else values
      for values in truth.of(split)
    )
    unreadable = []
    stored = read_stored(root, samples, f'Preparing {split}')
    for i, frames in enumerate(stored):
      broken = [frame for frame in frames if isinstance(frame, str)]
      unreadable += broken
      if broken:
        continue
      example = {
        'name': samples.names[i].encode('utf-8', 'surrogateescape'),
        'pid': int(pids[i]),
        'camid': int(camids[i]),
      }
      pictures = {'frames': frames} if self.IS_VIDEO else {'image': frames[0]}
      yield i, example | pictures
    raise_unreadable(unreadable, samples.num_frames)


class TrackletBuilder(ImageBuilder, skip_registration=True):
  """Splits of tracklets: `frames`, a list of images, in place of `image`."""

  IS_VIDEO = True
  SHARD_LENGTH = 64


def _make_builder(name: str) -> type[ImageBuilder]:
  """The builder of a reader; making it registers its name."""
  release = find_reader(name).RELEASE
  base = TrackletBuilder if release.is_video else ImageBuilder
  fields = {
    'name': name,
    '__doc__': release.description,
    '__module__': __name__,
  }
  made = type(name.title().replace('_', ''), (base,), fields)
  return cast(type[ImageBuilder], made)


# By name, all whose reader takes a root.
BUILDERS = {
  name: _make_builder(name)
  for name in reader_names()
  if 'root' in inspect.signature(find_reader(name).load).parameters
}
# Pickle looks for classes here, such as Market1501.
globals().update({builder.__name__: builder for builder in BUILDERS.values()})
