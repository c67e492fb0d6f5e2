"""Fields that all configs share, at the papers' values.

`base(dataset)` knows what differs between data sets. A config file adds what
differs between papers: `cluster.criterion` and `cluster.reg_weight`.
"""

from typing import Any

import ml_collections

from dbc_jax.data import find_reader, reader_names

DATASETS = reader_names()
VIDEO_DATASETS = tuple(
  name for name in DATASETS if find_reader(name).RELEASE.is_video
)
IMAGE_DATASETS = tuple(name for name in DATASETS if name not in VIDEO_DATASETS)


def base(dataset: str) -> Any:
  """The config of one data set, without a merging criterion.

  Args:
    dataset: one of DATASETS or 'package.module', a reader of your own. With
      ',small' behind it, a small network and a schedule that starts from random
      weights. '' means demo.

  Raises:
    ValueError: an unknown data set, a module that is no reader, or an unknown
      word behind it.
  """
  dataset, comma, size = (dataset or 'demo').partition(',')
  is_known = dataset in DATASETS or '.' in dataset
  if not is_known or (comma and size != 'small'):
    raise ValueError(
      f'got {dataset + comma + size!r} after the colon of --config; expected '
      f'one of {", ".join(DATASETS)}, or package.module with a reader of your '
      "own, or one of them with ',small' behind it"
    )
  release = find_reader(dataset).RELEASE
  config: Any = ml_collections.ConfigDict()
  config.seed = 0
  config.camera_rule = True  # scores leave out a query's own camera
  # Scores leave out the gallery's images of the same pixels as a query.
  config.leave_one_out = False
  config.profile = False  # a trace of some steps, in WORKDIR/profile
  config.checkpoint_minutes = 10.0  # between two within a stage
  config.extract_batch_size = 64  # rows of a forward pass without gradient

  config.data = ml_collections.ConfigDict()
  config.data.name = dataset
  config.data.root = ''  # folder of the files
  config.data.num_identities = 0  # 0: all; else a reduced set (image sets)
  config.data.identities_seed = 0  # which identities a reduced set has
  config.data.csv = ''  # folder: file that lists path, camid, tracklet, ...
  config.data.pattern = ''  # folder: 'cam{camid}/{tracklet}_{frame}', of paths
  # File of a,b,same or a,b,different that a run begins with; its workdir keeps
  # corrections.csv.
  config.data.corrections = ''
  # File of a,b,seconds: nobody walks from camera a to camera b in less.
  config.data.walks = ''
  config.data.forgotten = ''  # set by a run: what dbc forget wrote
  config.data.tracklets = False  # folder: each sub-folder is one tracklet
  config.data.drop_queries = False  # mars: take queries out of the gallery
  config.data.skip_unreadable = False  # or an error that lists them
  config.data.memory_budget_gb = 0.0  # for images; 0: a quarter of the device's
  config.data.num_frames = 16  # drawn of a tracklet in training
  config.data.max_frames = 900  # of a tracklet in evaluation
  config.data.image_size = (256, 128)  # height, width the network sees
  # Height, width kept in memory.
  config.data.stored_size = release.image_size or config.data.image_size
  # Training crops: share of the area; height / width over the image's own.
  config.data.crop_area = (0.64, 1.0)
  config.data.crop_aspect = (1.0, 1.5)
  # Pixels of black around the image, out of which a crop of its size is cut, in
  # place of those crops; 0: none.
  config.data.crop_padding = 0
  # By training, merging where cluster.camera_centring says so; or 'True', or
  # 'auto': where the data set has them.
  config.data.use_cameras = 'False'
  # Where cameras are used: features by each camera's own BatchNorm statistics.
  config.data.camera_statistics = False
  config.data.erasing = 0.0  # share of images with a rectangle blanked out
  # Of the stages: those crops, or 'strong': smaller crops and other colours,
  # as the warm-up has them.
  config.data.views = 'mild'

  config.model = ml_collections.ConfigDict()
  config.model.name = 'resnet50'
  config.model.embedding_dim = 2048
  config.model.head_layers = 1
  config.model.dropout = 0.5
  config.model.last_stride = 2
  config.model.frozen_stages = 0
  config.model.pooling = 'mean'  # or 'gem', the generalised mean
  config.model.neck = False  # a BatchNorm behind the pooling
  config.model.parts = 1  # stripes of the last map, each pooled by itself
  config.model.parts_and_global = False  # and the whole map behind them
  config.model.dtype = 'float32'

  config.memory = ml_collections.ConfigDict()
  config.memory.temperature = 0.1
  config.memory.momentum = 0.5  # weight of the old row
  config.memory.init = 'centroid'  # or 'zeros', as BUC's corrected code
  config.memory.update_by = 'each'  # or 'hardest' or 'mean' of a batch's images

  config.train = ml_collections.ConfigDict()
  # Or 'self_supervised', a warm-up first; or a file of weights; or
  # hf:OWNER/NAME.
  config.train.init = 'random'
  # Workdir of another run, whose network, clusters and their numbers this one
  # goes on with; '' for none.
  config.train.continue_from = ''
  # Or a package.module with a `create`, or a sum: 'memory + 0.5 contrastive'.
  config.train.objective = 'memory'
  config.train.warmup_epochs = 20  # two views of each image in each
  config.train.batch_size = 16  # over all devices
  config.train.reference_batch_size = 16  # that the rates are for
  config.train.rate_warmup_epochs = 5  # of stage 0, with a larger batch
  config.train.images_per_cluster = 0  # in a batch; 0: images of any cluster
  config.train.num_stages = 0  # 0: until the papers' merges are done
  config.train.stage0_epochs = 20  # of single images; 0: from clusters at once
  config.train.stage_epochs = 2
  config.train.stage_steps = 0  # of each later stage; 0: its epochs
  config.train.optimizer = 'sgd'  # or 'adam'
  # Of the moving mean of the weights, by which stages embed; 0: the weights.
  config.train.teacher_momentum = 0.0
  config.train.learning_rate = 0.1
  config.train.drop_epoch = 15  # of stage 0
  config.train.dropped_learning_rate = 0.01
  config.train.later_learning_rate = 0.01
  config.train.later_decay = False  # linearly to zero within each later stage
  config.train.run_decay = False  # by a cosine over all later stages
  config.train.momentum = 0.9
  config.train.weight_decay = 5e-4
  config.train.backbone_multiplier = 0.1  # presumes pre-trained weights

  config.cluster = ml_collections.ConfigDict()
  # Or share, core, dense, geometric, dbscan, hdbscan, or a package.module.
  config.cluster.cut = 'papers'
  config.cluster.merge_percent = 0.05  # papers: merges a stage, of the images
  # First and last; core, share: images placed; geometric: clusters an image.
  config.cluster.share = (0.3, 0.9)
  config.cluster.min_size = 4  # not papers: images of a cluster, at least
  config.cluster.eps = 0.5  # dbscan: radius of a neighbourhood
  # Of the last stage, which then is the one that is kept; 0: as the cut says.
  config.cluster.num_clusters = 0
  # Or 'hard': two in one frame of a camera are two persons.
  config.cluster.frame_rule = 'off'
  config.cluster.anew = False  # merging starts from single images each time
  config.cluster.features = 'feature'  # or 'embedding'
  config.cluster.camera_centring = False  # less each camera's mean feature
  config.cluster.distance = 'euclidean'  # or 'jaccard', of neighbourhoods
  config.cluster.jaccard_k1 = 30  # neighbours looked at
  config.cluster.jaccard_k2 = 6  # neighbours averaged over
  config.cluster.intra = 'sum'  # dbc: 'sum' (Eq. 3) or 'mean'
  config.cluster.intra_update = 'exact'  # dbc: 'exact' or 'eq7', as printed
  config.cluster.ssd = 'sum'  # ecluster, estat: 'sum' or 'printed' (Eq. 8)
  config.cluster.merge = 'sequential'  # or 'ranked', as the public code
  config.cluster.memory_budget_gb = 0.0  # 0: half of the device's memory
  config.cluster.squared = False  # dbc, buc: squared distances, as their code

  if release.is_video:
    config.train.stage_epochs = 5
    config.model.frozen_stages = (
      2  # the stem, too; presumes pre-trained weights
    )
  if size == 'small':
    _small_from_scratch(config)
  elif dataset in ('demo', 'demo_video'):
    _demo(config)
  if dataset == 'demo_video':
    config.data.num_frames = 4
    config.train.batch_size = 16
    config.train.reference_batch_size = 16
  return config


def _small_images(config: Any) -> None:
  """What both small schedules share: 64 x 32, and nothing is pre-trained."""
  config.extract_batch_size = 128
  config.model.frozen_stages = 0
  config.data.stored_size = (64, 32)
  config.data.image_size = (64, 32)
  config.train.backbone_multiplier = 1.0
  config.train.stage_epochs = 4


def _small_from_scratch(config: Any) -> None:
  """A small network without pre-trained weights, for real crops on a CPU.

  docs/from_scratch.md has what it was chosen by.
  """
  _small_images(config)
  config.model.name = 'resnet8'
  config.model.embedding_dim = 256
  config.train.stage0_epochs = 80
  config.train.drop_epoch = 60
  config.train.later_learning_rate = 0.03


def _demo(config: Any) -> None:
  """Minutes on two cores; docs/from_scratch.md says why so."""
  _small_images(config)
  config.data.crop_area = (0.9, 1.0)
  config.data.crop_aspect = (0.9, 1.1)
  config.model.name = 'resnet_tiny'
  config.model.head_layers = 0  # the feature itself meets the memory
  config.model.dropout = 0.0
  config.train.batch_size = 64
  config.train.reference_batch_size = 64
  config.train.stage0_epochs = 10
  config.train.drop_epoch = 8
  config.train.learning_rate = 0.05
  config.train.dropped_learning_rate = 0.005
  config.train.later_learning_rate = 0.02
  config.train.later_decay = True
