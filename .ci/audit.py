"""Known vulnerabilities of an environment's packages, by pip-audit.

  PYTHON .ci/audit.py SITE_PACKAGES

Exits with 1 for an advisory, or where pip-audit itself fails. Without a
network, or where the index serves no advisories, it says that it was skipped.
"""

import json
import re
import subprocess
import sys

# Of requests, which pip-audit asks by.
_UNREACHABLE = re.compile(
  r'\.(ConnectionError|ProxyError|SSLError|ConnectTimeout|ReadTimeout): '
  r'|pip_audit\S*\.ConnectionError'
)


def verdict(status: int, output: str, errors: str) -> tuple[int, str]:
  """Exit status and a line, of those of `pip-audit -f json`."""
  try:
    found = json.loads(output)['dependencies']
  except (ValueError, KeyError, TypeError):
    if status and _UNREACHABLE.search(errors):
      return 0, 'skipped: there is no network to advisories'
    return 1, f'pip-audit failed: {errors.strip()[-2000:]}'
  known = [
    f'{each["name"]} {each["version"]}: {", ".join(x["id"] for x in vulns)}'
    for each in found
    if (vulns := each.get('vulns'))
  ]
  if known or status:
    return 1, '\n'.join(known) or f'pip-audit failed: {errors.strip()[-2000:]}'
  audited = [each for each in found if 'skip_reason' not in each]
  if not audited:
    return 0, f'skipped: the index has advisories of none of {len(found)}'
  left = [each['name'] for each in found if 'skip_reason' in each]
  rest = f'; not of {", ".join(left)}, which it does not have' if left else ''
  return 0, f'{len(audited)} packages, no advisory{rest}'


def main(site_packages: str) -> int:
  """Audits what is installed there."""
  command = [sys.executable, '-m', 'pip_audit', '-f', 'json']
  command += ['--progress-spinner=off', '--path', site_packages]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  status, line = verdict(done.returncode, done.stdout, done.stderr)
  print(line)
  return status


if __name__ == '__main__':
  sys.exit(main(sys.argv[1]))
