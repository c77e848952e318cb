"""Whether a source archive and a wheel hold what they should: python .ci/contents.py FILE.whl FILE.tar.gz"""

import email
import re
import subprocess
import sys
import tarfile
import zipfile

ONLY_IN_THE_REPOSITORY = re.compile(r"\.ci/|\.gitignore")
WANTED = ["Summary", "Author", "License-Expression", "License-File", "Keywords", "Project-URL", "Requires-Python"]


def check(what, found, wanted):
    missing, unasked = sorted(wanted - found), sorted(found - wanted)
    assert not missing and not unasked, f"{what}: {missing} are missing, {unasked} should not be there"


tracked = set(subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines())
tracked = {name for name in tracked if not ONLY_IN_THE_REPOSITORY.match(name)}
for path in sys.argv[1:]:
    if path.endswith(".whl"):
        with zipfile.ZipFile(path) as wheel:
            names = {name for name in wheel.namelist() if ".dist-info/" not in name}
            (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            about = email.message_from_bytes(wheel.read(metadata))
        check(path, names, {name for name in tracked if name.startswith(("minigrad/", "wn/", "lessons/"))})
        assert all(about[key] for key in WANTED), [key for key in WANTED if not about[key]]
        description = about.get_payload(decode=True).decode()
        relative = re.findall(r"\]\((?!https?:|#)[^)]*\)", description)
        assert len(description) > 5000 and not relative, f"links that lead nowhere on an index: {relative}"
    else:
        with tarfile.open(path) as archive:
            names = {member.name.partition("/")[2] for member in archive if member.isfile()}
        check(path, {name for name in names if name != "PKG-INFO" and ".egg-info/" not in name}, tracked)
