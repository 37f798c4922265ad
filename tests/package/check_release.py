"""Run by `nox -s release`: what is in its wheel. Arguments: the wheel, and the names of the libraries that it brings."""

import re
import sys
import zipfile
from pathlib import Path

#: Libraries whose files are called otherwise.
FILES = {"ipsec-mb": "IPSec_MB"}


def main(path: Path, libraries: list[str]) -> None:
    """The libraries and their licences are inside, and the name says for which systems it is."""
    assert re.search(r"-cp311-abi3-manylinux_2_\d+_\w+\.whl$", path.name), path.name
    names = zipfile.ZipFile(path).namelist()
    for library in libraries:
        stem = re.escape(FILES.get(library, library.removeprefix("lib")))
        file = re.compile(rf"wdasync\.libs/lib{stem}-\w+\.so")
        assert any(map(file.match, names)), f"{path.name} does not bring {library}"
        assert any(name.endswith(f".dist-info/licenses/{library}.txt") for name in names), (
            f"no licence of {library}"
        )
    print(f"{path.name} brings {', '.join(libraries)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
