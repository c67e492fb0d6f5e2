"""Makes pages of the site out of the files that stand beside docs/."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parents[1]
_PAGES = {
  'README.md': 'index.md',
  'SECURITY.md': 'SECURITY.md',
  'CONTRIBUTING.md': 'CONTRIBUTING.md',
  'CHANGELOG.md': 'CHANGELOG.md',
}
# What is no page and yet linked.
_FILES = ('LICENSE', 'CITATION.cff', 'dbc_jax/configs/common.py')


def on_files(files: Files, config: Any) -> Files:
  """Adds them; links among them lead from docs/ now."""
  for name, page in _PAGES.items():
    text = (_ROOT / name).read_text('utf-8').replace('](docs/', '](')
    files.append(File.generated(config, page, content=text))
  for name in _FILES:
    source = str(_ROOT / name)
    files.append(File.generated(config, name, abs_src_path=source))
  return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
  """Links out of docs/ lead to what was added."""
  if page.file.src_uri.count('/'):
    return markdown
  return re.sub(r'\]\(\.\./', '](', markdown)
